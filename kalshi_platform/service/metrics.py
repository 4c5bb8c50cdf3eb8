"""The only module that knows Prometheus: daemons report facts to these hooks.

Names follow Prometheus conventions; a test compares them with the README's table. Kept out: when to report what.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class GathererMetrics:
    """What a gatherer reports."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Counter("kalshi_gatherer_frames", "Frames received.", ["role"], registry=self.registry)
        self.rejected = Counter(
            "kalshi_gatherer_rejected_frames", "Frames put in quarantine.", ["reason"], registry=self.registry
        )
        self.rows = Counter(
            "kalshi_gatherer_rows_written", "Rows that were new to the database.", ["table"], registry=self.registry
        )
        self.queued = Gauge(
            "kalshi_gatherer_queued_rows", "Rows waiting to be written.", ["table"], registry=self.registry
        )
        self.write_failures = Counter(
            "kalshi_gatherer_write_failures",
            "Writes that failed and were tried again.",
            ["table"],
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
        self.lag = Histogram(
            "kalshi_gatherer_message_lag_seconds",
            "From the exchange's stamp to a stage.",
            ["stage"],
            buckets=_LAG_BUCKETS,
            registry=self.registry,
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
