"""The only module that knows Prometheus: daemons report facts to these hooks.

Names follow Prometheus conventions; a test compares them with the README's table. Kept out: when to report what.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kalshi_platform.service.tallies import SpreadHistogram, TallyCounter

_LAG_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0
)  # fmt: skip
"""Fine between 50 and 500 ms, where the budgets lie."""


class QueueFacts(Protocol):
    """What waits where, by table."""

    @property
    def queued(self) -> Mapping[str, int]:
        """Rows in memory."""

    @property
    def spooled(self) -> Mapping[str, int]:
        """Rows on disk."""

    @property
    def spooled_since(self) -> Mapping[str, float]:
        """When the oldest rows on disk were put there, seconds since 1970."""

    @property
    def spool_bytes(self) -> int:
        """Bytes that the spool holds."""

    @property
    def blocked_seconds(self) -> Mapping[str, float]:
        """For how long readers had to wait so far."""

    @property
    def is_blocked(self) -> Mapping[str, bool]:
        """Whether they are waiting now."""


@dataclass(frozen=True, slots=True)
class _Nothing:
    """Before there are queues."""

    queued: Mapping[str, int] = field(default_factory=dict)
    spooled: Mapping[str, int] = field(default_factory=dict)
    spooled_since: Mapping[str, float] = field(default_factory=dict)
    spool_bytes: int = 0
    blocked_seconds: Mapping[str, float] = field(default_factory=dict)
    is_blocked: Mapping[str, bool] = field(default_factory=dict)


class QueueCollector(Collector):
    """Looks at the queues whenever somebody asks, so that a writer that is stuck shows."""

    def __init__(self) -> None:
        self.read: Callable[[], QueueFacts] | None = None

    def collect(self) -> Iterable[Metric]:
        """The state of queues and spool."""
        facts = self.read() if self.read else _Nothing()
        now = time.time()
        ages = {table: now - since for table, since in facts.spooled_since.items()}
        yield _gauge("queued_rows", "Rows waiting in memory to be written.", facts.queued)
        yield _gauge("spooled_rows", "Rows waiting on disk for the database.", facts.spooled)
        yield _gauge("spool_oldest_age_seconds", "How long the oldest rows on disk have waited.", ages)
        yield GaugeMetricFamily("kalshi_gatherer_spool_bytes", "Bytes of the spool on disk.", facts.spool_bytes)
        state = "1 while sockets are not read because rows cannot be written."
        yield _gauge("back_pressure", state, facts.is_blocked)
        seconds = CounterMetricFamily(
            "kalshi_gatherer_back_pressure_seconds", "For how long sockets were not read for that.", labels=["table"]
        )
        for table, value in facts.blocked_seconds.items():
            seconds.add_metric([table], value)
        yield seconds


def _gauge(name: str, meaning: str, by_table: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"kalshi_gatherer_{name}", meaning, labels=["table"])
    for table, value in by_table.items():
        family.add_metric([table], value)
    return family


class GathererMetrics:
    """What a gatherer reports."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = TallyCounter("kalshi_gatherer_frames", "Frames received.", "role", self.registry)
        self.rejected = Counter(
            "kalshi_gatherer_rejected_frames", "Frames put in quarantine.", ["reason"], registry=self.registry
        )
        self.rows = Counter(
            "kalshi_gatherer_rows_written", "Rows that were new to the database.", ["table"], registry=self.registry
        )
        self.queues = QueueCollector()
        self.registry.register(self.queues)
        self.write_failures = Counter(
            "kalshi_gatherer_write_failures",
            "Batches that the database or the spool did not take; they were tried again.",
            ["table"],
            registry=self.registry,
        )
        self.refused = Counter(
            "kalshi_gatherer_refused_rows",
            "Rows that the database refused for their content; they are in rejected_messages.",
            ["table"],
            registry=self.registry,
        )
        self.questdb_rows = Counter(
            "kalshi_gatherer_questdb_rows",
            "Rows for QuestDB, where set: sent, refused by it, failed here, or dropped because too many waited.",
            ["outcome"],
            registry=self.registry,
        )
        self.gaps = Counter(
            "kalshi_gatherer_sequence_gaps",
            "Holes in what was heard; capture_gaps has a row for each.",
            ["channel"],
            registry=self.registry,
        )
        self.reconnects = Counter(
            "kalshi_gatherer_reconnects", "Connections that had to be made again.", ["role"], registry=self.registry
        )
        self.connections = Gauge(
            "kalshi_gatherer_websocket_connections",
            "Connections; the state is connecting, open or waiting for another attempt.",
            ["role", "state"],
            registry=self.registry,
        )
        self.crashes = Counter(
            "kalshi_gatherer_connection_crashes",
            "Defects that ended one connection, which was then made anew.",
            ["role"],
            registry=self.registry,
        )
        self.markets = Gauge(
            "kalshi_gatherer_markets_active", "Markets whose order book is followed.", registry=self.registry
        )
        self.listed = Gauge(
            "kalshi_gatherer_markets_listed",
            "Markets that the registry knows, by where they are in life.",
            ["state"],
            registry=self.registry,
        )
        self.listed_at = Gauge(
            "kalshi_gatherer_markets_listed_timestamp_seconds",
            "When the whole list of markets was last walked.",
            registry=self.registry,
        )
        self.exchange_active = Gauge(
            "kalshi_gatherer_exchange_active", "1 while the exchange says that it trades.", registry=self.registry
        )
        self.exchange_active.set(1)
        self.clock_ahead = Gauge(
            "kalshi_gatherer_clock_ahead_seconds",
            "How far this machine's clock is ahead of the exchange's, to the second.",
            registry=self.registry,
        )
        self.homeless = Counter(
            "kalshi_gatherer_markets_without_room",
            "Markets that no connection had room for.",
            registry=self.registry,
        )
        self.alarms = Counter(
            "kalshi_gatherer_book_alarms",
            "Negative levels, crossed books, late deltas.",
            ["kind"],
            registry=self.registry,
        )
        self.comparisons = Counter(
            "kalshi_gatherer_book_comparisons",
            "Live books held against REST's: equal, different, moved meanwhile, unknown.",
            ["result"],
            registry=self.registry,
        )
        self.snapshot_round = Gauge(
            "kalshi_gatherer_snapshot_round_seconds",
            "How long the last round of snapshots took.",
            registry=self.registry,
        )
        self.lag = SpreadHistogram(
            "kalshi_gatherer_message_lag_seconds",
            "From the exchange's stamp to a stage: sending, received, committed.",
            "stage",
            _LAG_BUCKETS,
            self.registry,
        )


class DeduplicatorMetrics:
    """What the deduplicator reports."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.read = Counter(
            "kalshi_deduplicator_rows_read",
            "Rows read from gatherers.",
            ["gatherer", "table"],
            registry=self.registry,
        )
        self.merged = Counter(
            "kalshi_deduplicator_rows_merged",
            "Rows that production did not have.",
            ["gatherer", "table"],
            registry=self.registry,
        )
        self.failures = Counter(
            "kalshi_deduplicator_failures",
            "Merges that failed and were tried again.",
            ["gatherer", "table"],
            registry=self.registry,
        )
        self.connected = Gauge(
            "kalshi_deduplicator_gatherer_connected",
            "1 while the gatherer's table is being read.",
            ["gatherer", "table"],
            registry=self.registry,
        )
        self.conflicts = Counter(
            "kalshi_deduplicator_conflicts",
            "Copies of a row that say something else; both stand in merge_conflicts.",
            ["gatherer", "table"],
            registry=self.registry,
        )
        self.restarts = Counter(
            "kalshi_deduplicator_restarts",
            "Times that a source was read from its beginning, because it was replaced or restored.",
            ["gatherer", "table"],
            registry=self.registry,
        )
        self.gatherers_connected = Gauge(
            "kalshi_deduplicator_gatherers_connected",
            "Gatherers all of whose tables are being read.",
            registry=self.registry,
        )
        self.gatherer_lag = Gauge(
            "kalshi_deduplicator_gatherer_lag_seconds",
            "How far what is merged of a gatherer lies behind now.",
            ["gatherer", "table"],
            registry=self.registry,
        )
        self.horizon_age = Gauge(
            "kalshi_deduplicator_horizon_age_seconds",
            "For how long one transaction has held back what a gatherer wrote after it.",
            ["gatherer"],
            registry=self.registry,
        )
        self.duplicate_share = Gauge(
            "kalshi_deduplicator_duplicate_share",
            "Share of the rows read since the start that production had already.",
            ["table"],
            registry=self.registry,
        )
        self.rows_per_second = Gauge(
            "kalshi_deduplicator_rows_per_second",
            "Rows read a second, over the last ten seconds.",
            ["table"],
            registry=self.registry,
        )
        self.uncovered = Gauge(
            "kalshi_deduplicator_uncovered_markets",
            "Markets with an interval that nobody heard, in the worst hour that was computed within the last one.",
            ["channel"],
            registry=self.registry,
        )
        self.active = Gauge(
            "kalshi_deduplicator_active",
            "1 while this process merges, 0 while it stands by for another.",
            ["shard"],
            registry=self.registry,
        )
        self.watermark = Gauge(
            "kalshi_deduplicator_watermark_timestamp_seconds",
            "Exchange time up to which every live gatherer is merged.",
            ["table"],
            registry=self.registry,
        )
        self.lag = Histogram(
            "kalshi_deduplicator_lag_seconds",
            "From the exchange's stamp to the commit in production.",
            ["table"],
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        self.merge_seconds = Histogram(
            "kalshi_deduplicator_merge_seconds",
            "Duration of one merge.",
            ["table"],
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )

    def forget(self) -> None:
        """Take back what gauges say of gatherers and tables, for a process that merges no more."""
        self.gatherers_connected.set(0)
        for gauge in (
            self.connected, self.gatherer_lag, self.horizon_age, self.duplicate_share, self.rows_per_second,
            self.uncovered, self.watermark,
        ):  # fmt: skip
            gauge.clear()


class MaintenanceMetrics:
    """What `maintain --every` reports."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.passes = Counter(
            "kalshi_maintenance_passes", "Passes by their end: done or failed.", ["result"], registry=self.registry
        )
        for result in ("done", "failed"):
            self.passes.labels(result)  # 0, not absent: an alert on its increase needs a beginning
        self.last_done = Gauge(
            "kalshi_maintenance_last_done_timestamp_seconds",
            "When a pass last came to its end.",
            registry=self.registry,
        )
        self.seconds = Gauge("kalshi_maintenance_pass_seconds", "How long the last pass took.", registry=self.registry)
        self.disputed = Gauge(
            "kalshi_maintenance_disputed_files",
            "Files of the lake that did not hold what production holds, in the last pass.",
            registry=self.registry,
        )
        self.kept = Gauge(
            "kalshi_maintenance_partitions_kept",
            "Partitions older than their policy that could not be dropped, in the last pass.",
            registry=self.registry,
        )
        self.dropped = Counter("kalshi_maintenance_partitions_dropped", "Partitions dropped.", registry=self.registry)
        self.forgotten = Counter(
            "kalshi_maintenance_rows_forgotten",
            "Old rows of a gatherer's notes that were deleted.",
            ["table"],
            registry=self.registry,
        )
