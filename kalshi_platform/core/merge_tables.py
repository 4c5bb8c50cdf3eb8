"""The tables that the deduplicator writes about the merge itself: what disagreed, and what nobody heard.

Part of the schema; import them from `core.schema`. Kept out: what is merged, and cursors.
"""

from kalshi_platform.core.columns import Column, ColumnType, Default, Home, Table

MERGE_CONFLICTS = Table(
    "merge_conflicts",
    "Copies of one row that do not agree: one trade id with two contents, two checkpoints of one moment.",
    Home.PRODUCTION,
    (
        Column("table_name", ColumnType.TEXT, "Table of the row."),
        Column("row_key", ColumnType.TEXT, "What both copies are known by, as a JSON list."),
        Column("gatherer_id", ColumnType.TEXT, "Gatherer that brought the copy which was not taken."),
        Column("ticker", ColumnType.TEXT, "Market ticker of the row that stands."),
        Column("kept", ColumnType.JSON, "The row that stands in production."),
        Column("refused", ColumnType.JSON, "The row that came later and says something else."),
        Column("found_at", ColumnType.TIMESTAMP, "When they met.", default=Default.NOW),
    ),
    ("table_name", "row_key", "gatherer_id"),
)

COVERAGE_HOURS = Table(
    "coverage_hours",
    "How completely each channel was heard in each hour that the watermark has passed.",
    Home.PRODUCTION,
    (
        Column("hour", ColumnType.TIMESTAMP, "Beginning of the hour, UTC."),
        Column("channel", ColumnType.TEXT, "orderbook_delta, trade or ticker."),
        Column("markets", ColumnType.INT32, "Markets that somebody should have heard; a whole channel counts as one."),
        Column("uncovered_markets", ColumnType.INT32, "Markets among them with an uncovered interval."),
        Column("uncovered_us", ColumnType.INT64, "Length of all uncovered intervals, microseconds."),
        Column("gatherers", ColumnType.TEXT, "Who listened, separated by commas."),
        Column(
            "behind", ColumnType.JSON, "Gatherers not merged to the hour's end, and how far they were; it is redone."
        ),
        Column("is_stale", ColumnType.BOOL, "Whether rows came later that may change it; it is redone."),
        Column("computed_at", ColumnType.TIMESTAMP, "When it was last computed.", default=Default.NOW),
    ),
    ("hour", "channel"),
)

UNCOVERED_INTERVALS = Table(
    "uncovered_intervals",
    "When no gatherer heard a market without a gap: what the record may lack, and nobody can give.",
    Home.PRODUCTION,
    (
        Column("hour", ColumnType.TIMESTAMP, "Beginning of the hour, UTC."),
        Column("channel", ColumnType.TEXT, "orderbook_delta, trade or ticker."),
        Column("ticker", ColumnType.TEXT, "Market; empty for every market of the channel."),
        Column("from_at", ColumnType.TIMESTAMP, "Where it begins, by the gatherers' clocks."),
        Column("until_at", ColumnType.TIMESTAMP, "Where it ends, by the gatherers' clocks."),
    ),
    ("hour", "channel", "ticker", "from_at"),
)
