"""What the deduplicator says of itself: `/health` for people, gauges for Prometheus.

Kept out: anything that decides what is merged.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.deduplicator import advice
from kalshi_platform.deduplicator.shards import Shard
from kalshi_platform.deduplicator.standby import Role
from kalshi_platform.deduplicator.sync import SyncLoop
from kalshi_platform.deduplicator.watermark import watermark
from kalshi_platform.service.metrics import DeduplicatorMetrics

_RATE_SECONDS = 10.0
_IDLE: Mapping[Role, str] = {
    Role.STANDBY: "merged by another deduplicator",
    Role.REFUSED: "merged by other deduplicators",
    Role.CUT_OFF: "waits for production",
}
"""What is said of every gatherer while this process merges none."""


class Status:
    """The state of all loops.

    Args:
        loops: They.
        metrics: Where gauges are set.
        shard: Which part of the record they merge.
        silence: Seconds after which nobody waits for a silent gatherer.
        patience: Seconds for which a transaction may hold back a gatherer's rows.
    """

    def __init__(
        self, loops: Sequence[SyncLoop], metrics: DeduplicatorMetrics, shard: Shard, silence: float, patience: float
    ) -> None:
        self._loops = loops
        self._metrics = metrics
        self._shard = shard
        self._silence = silence
        self._patience = patience
        self._tables = list(dict.fromkeys(loop.table.name for loop in loops))
        self._counts: deque[tuple[float, dict[str, int]]] = deque()

    def watermarks(self, now: float) -> dict[str, datetime | None]:
        """Per stream table, the exchange time up to which all gatherers that are waited for were merged by us."""
        return {table.name: self._watermark(table, now) for table in STREAM_TABLES}

    def health(self, role: Role, now: float, more: Sequence[str] = ()) -> Mapping[str, Any]:
        """Each part's state; healthy while each table is merged from somebody and nothing is held back for long.

        Args:
            role: What this process does.
            now: The time, seconds since 1970.
            more: Problems that others know of.
        """
        is_at_work = role in (Role.STARTING, Role.ACTIVE)
        problems = [*more, *(advice.problems(self._loops, now, self._patience) if is_at_work else ())]
        return {
            "healthy": role in (Role.ACTIVE, Role.STANDBY) and not problems,
            "role": role.value,
            "shard": str(self._shard),
            "problems": problems,
            "warnings": advice.warnings(self._loops, now, self._silence) if role is Role.ACTIVE else [],
            "watermarks": self.watermarks(now),
            "gatherers": {f"{loop.gatherer_id}/{loop.table.name}": self._part(loop, role, now) for loop in self._loops},
        }

    def publish(self, role: Role, now: float) -> None:
        """Set the gauges."""
        self._metrics.active.labels(str(self._shard)).set(int(role is Role.ACTIVE))
        if role in (Role.STANDBY, Role.REFUSED):  # others tell; what we knew once would look like one that falls behind
            self._metrics.forget()
            self._counts.clear()
            return
        gatherers = advice.by_gatherer(self._loops)
        self._metrics.gatherers_connected.set(
            sum(all(loop.state.connected for loop in loops) for loops in gatherers.values())
        )
        for table, mark in self.watermarks(now).items():
            if mark is not None:
                self._metrics.watermark.labels(table).set(mark.timestamp())
        for loop in self._loops:
            lag = loop.state.lag(now)
            if lag is not None:
                self._metrics.gatherer_lag.labels(loop.gatherer_id, loop.table.name).set(lag)
        for name, loops in gatherers.items():
            self._metrics.horizon_age.labels(name).set(advice.horizon_age(loops, now))
        self._publish_rates(now)

    def _publish_rates(self, now: float) -> None:
        counts = {table: self._sum(table, "rows_read") for table in self._tables}
        self._counts.append((now, counts))
        while now - self._counts[0][0] > _RATE_SECONDS:
            self._counts.popleft()
        since, before = self._counts[0]
        for table, read in counts.items():
            seconds = now - since
            self._metrics.rows_per_second.labels(table).set((read - before[table]) / seconds if seconds else 0)
            known = read - self._sum(table, "rows_merged")
            self._metrics.duplicate_share.labels(table).set(known / read if read else 0)

    def _sum(self, table: str, count: str) -> int:
        return sum(getattr(loop.state, count) for loop in self._loops if loop.table.name == table)

    def _watermark(self, table: Table, now: float) -> datetime | None:
        states = [loop.state for loop in self._loops if loop.table.name == table.name]
        return watermark(states, now, self._silence)

    def _part(self, loop: SyncLoop, role: Role, now: float) -> Mapping[str, Any]:
        state = loop.state
        return {
            "state": _IDLE.get(role) or state.summary(now, self._silence, self._patience),
            "connected": state.connected,
            "watermark": state.watermark,
            "lag_seconds": state.lag(now),
            "behind_seconds": advice.behind(loop, self._loops),
            "horizon_age_seconds": state.horizon.age(now),
            "rows_read": state.rows_read,
            "rows_merged": state.rows_merged,
            "last_error": state.last_error,
        }
