"""The loops: one for each gatherer and table, so that a slow or dead gatherer delays nobody.

Each loop owns two connections, reads what is finished, merges it, and pauses only when there was little to do. Loops
of one table take turns at its insert in the order in which they ask, and a turn is short (`portion`); tables do not
wait for each other. Kept out: how a merge is made exact.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import structlog

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import CAPTURE_SESSIONS, Table
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.deduplicator.cursors import Cursor, CursorMovedError
from kalshi_platform.deduplicator.merge import Merged, Merger
from kalshi_platform.deduplicator.portion import Portion
from kalshi_platform.deduplicator.shards import WHOLE, Shard
from kalshi_platform.deduplicator.source import NO_ROWS, copy_out, next_window, own_name, refuse_replica
from kalshi_platform.deduplicator.standby import NOTICES_DEAD_CLIENTS
from kalshi_platform.deduplicator.state import SyncState
from kalshi_platform.deduplicator.window import Window
from kalshi_platform.service.lifecycle import pause
from kalshi_platform.service.metrics import DeduplicatorMetrics

_TRIED_AGAIN: tuple[type[Exception], ...] = (*DATABASE_FAILURES, IntegrityError)
"""What ends a connection and not the loop: one gatherer's trouble, however odd, is not the others'."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """How a table is merged.

    Attributes:
        pause: Seconds to wait when everything is merged.
        most_rows: Rows of one merge at the most, which also bounds its memory.
    """

    pause: float
    most_rows: int


class SyncLoop:
    """Merges one table of one gatherer until told to stop.

    Args:
        gatherer_id: Name of the gatherer.
        source_url: Its database.
        production_url: Where to merge.
        table: Which table.
        pace: How often, how much.
        metrics: Told of each merge.
        retry_waits: Makes the waits between attempts, in seconds.
        now: The clock, seconds since 1970.
        shard: Which part of the table.
    """

    def __init__(
        self,
        gatherer_id: str,
        source_url: str,
        production_url: str,
        table: Table,
        pace: Pace,
        metrics: DeduplicatorMetrics,
        retry_waits: Callable[[], Iterator[float]],
        now: Callable[[], float],
        shard: Shard = WHOLE,
    ) -> None:
        self.gatherer_id = gatherer_id
        self.table = table
        self.state = SyncState(last_heard=now())
        self._source_url = source_url
        self._production_url = production_url
        self._pace = pace
        self._portion = Portion(pace.most_rows)
        self._metrics = metrics
        self._retry_waits = retry_waits
        self._now = now
        self.shard = shard
        self._labels = (gatherer_id, table.name)
        for counter in (metrics.conflicts, metrics.restarts, metrics.failures):
            counter.labels(*self._labels)  # 0, not absent: an alert on its increase needs a beginning

    async def run(self, stop: asyncio.Event) -> None:
        """Merge, and after any failure of a database connect anew, until `stop` is set."""
        waits = self._retry_waits()
        while not stop.is_set():
            try:
                async with self._connections() as (source, merger):
                    await refuse_replica(source)
                    identity = await source_identity(source)
                    while not stop.is_set():
                        is_full = await self.step(source, merger, identity)
                        self._connected(yes=True)
                        waits = self._retry_waits()
                        if not is_full:
                            await pause(stop, self._pace.pause)
            except _TRIED_AGAIN as error:
                self._failed(error)
                await pause(stop, next(waits))
            finally:
                self._connected(yes=False)

    async def step(self, source: asyncpg.Connection, merger: Merger, identity: str) -> bool:
        """One merge; true where more is waiting."""
        stored = await merger.cursor(source)
        cursor, most_rows = stored.on(identity), self._portion.rows * self.shard.of  # a shard's part is about as many
        window = await next_window(source, self.table, cursor.next_xid, most_rows, cursor.witness)
        self.state.horizon.saw(window.held_by, self._now())
        if not window.is_empty:
            self._begun(stored, window)
            with self._metrics.merge_seconds.labels(self.table.name).time():
                copied = NO_ROWS if window.rows == 0 else await copy_out(source, self.table, window, self.shard)
                merged = await merger.merge(stored, identity, window, copied)
            self._portion.took(copied.count, merged.turn_seconds, was_full=window.is_full)
            self._merged(window, copied.count, merged)
            if copied.dropped:
                self._passed_over(copied.dropped)
            if self.table is CAPTURE_SESSIONS and copied.count:
                self.state.own_name = await own_name(source)
        self.state.is_behind = window.is_full
        self.state.last_error = self.state.defect = ""
        return window.is_full

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[tuple[asyncpg.Connection, Merger]]:
        async with AsyncExitStack() as stack:
            source = await _connect(self._source_url, f"sync {self.table.name}", {})
            stack.callback(source.terminate)
            production = await _connect(
                self._production_url,
                f"merge {' '.join(self._labels)}",
                {"synchronous_commit": "off", **NOTICES_DEAD_CLIENTS},
            )
            stack.callback(production.terminate)
            yield source, Merger(production, self.gatherer_id, self.table, self.shard)

    def _connected(self, *, yes: bool) -> None:
        if yes and self.state.connected:
            return
        self.state.connected = yes
        self._metrics.connected.labels(*self._labels).set(int(yes))
        if not yes:
            self.state.horizon.saw(None, self._now())

    def _begun(self, stored: Cursor, window: Window) -> None:
        """Say so where a source that was merged before is read from its beginning."""
        if stored.source and window.first_xid < stored.next_xid:
            self._metrics.restarts.labels(*self._labels).inc()
            _log.warning(
                "the gatherer's database is another than before, or was restored to an earlier moment; reading all of "
                "it again",
                gatherer=self.gatherer_id,
                table=self.table.name,
            )

    def _merged(self, window: Window, read: int, merged: Merged) -> None:
        self.state.rows_read += read
        self.state.rows_merged += merged.new
        self._metrics.read.labels(*self._labels).inc(read)
        self._metrics.merged.labels(*self._labels).inc(merged.new)
        if merged.conflicts:
            self._conflicted(merged.conflicts)
        if merged.new:
            for moment in filter(None, (window.min_ts, window.max_ts)):
                self._metrics.lag.labels(self.table.name).observe(max(0.0, self._now() - moment.timestamp()))
        if window.heard_until is not None:
            self.state.watermark = max(window.heard_until, self.state.watermark or window.heard_until)
            self.state.last_heard = self._now()

    def _passed_over(self, rows: int) -> None:
        _log.warning(
            "rows are gone with partitions that the gatherer has dropped; `maintain` drops none before it is merged",
            gatherer=self.gatherer_id,
            table=self.table.name,
            rows=rows,
        )

    def _conflicted(self, conflicts: int) -> None:
        self._metrics.conflicts.labels(*self._labels).inc(conflicts)
        _log.error(
            "copies of one row do not agree; look at merge_conflicts",
            gatherer=self.gatherer_id,
            table=self.table.name,
            rows=conflicts,
        )

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            self._portion.failed()
        self._metrics.failures.labels(*self._labels).inc()
        self.state.last_error = f"{type(error).__name__}: {error}"
        is_lasting = isinstance(error, IntegrityError) and not isinstance(error, CursorMovedError)
        self.state.defect = str(error) if is_lasting else ""
        _log.warning("merge failed", gatherer=self.gatherer_id, table=self.table.name, error=self.state.last_error)


async def _connect(url: str, name: str, server_settings: dict[str, str]) -> asyncpg.Connection:
    return await asyncpg.connect(
        url, server_settings={"application_name": name, **server_settings}, command_timeout=60, timeout=10
    )
