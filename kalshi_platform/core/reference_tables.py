"""The tables beside the streams: what the exchange says of its markets, and how the streams are kept.

Part of the schema; import them from `core.schema`. Kept out: streams, and what gatherers note of their own work.
"""

from kalshi_platform.core.columns import Column, ColumnType, Home, Table, Unit

TABLE_POLICIES = Table(
    "table_policies",
    "How each stream table is cut, compressed and kept; an owner changes it, what is there already stays as it is.",
    Home.BOTH,
    (
        Column("table_name", ColumnType.TEXT, "A table with partitions."),
        Column("partition_hours", ColumnType.INT32, "Hours in each partition to come: 24, or 1 where volume asks."),
        Column("keep_days", ColumnType.INT32, "Days that rows are kept; empty: for ever.", nullable=True),
        Column(
            "compress_hours",
            ColumnType.INT32,
            "Hours after which TimescaleDB compresses; empty: never. Without TimescaleDB it means nothing.",
            nullable=True,
        ),
    ),
    ("table_name",),
)

LAKE_PROOFS = Table(
    "lake_proofs",
    "Files of the lake that were read again and held what production held; only what is proven may be dropped.",
    Home.PRODUCTION,
    (
        Column("table_name", ColumnType.TEXT, "Table whose rows the file holds."),
        Column("window_start", ColumnType.TIMESTAMP, "Earliest moment whose rows it holds."),
        Column("window_end", ColumnType.TIMESTAMP, "First moment whose rows it does not hold."),
        Column("row_count", ColumnType.INT64, "Rows in the file, and in production when it was checked."),
        Column("sha256", ColumnType.TEXT, "Hash of the file's bytes, in hexadecimal."),
        Column("path", ColumnType.TEXT, "Where the file is."),
        Column("checked_at", ColumnType.TIMESTAMP, "When file and table were compared."),
        Column(
            "dropped_at",
            ColumnType.TIMESTAMP,
            "When production dropped the rows; the file is the only copy since and must never be written anew.",
            nullable=True,
        ),
    ),
    ("table_name", "window_start"),
)

_UPDATED_TS = Column(
    "updated_ts", ColumnType.TIMESTAMP, "The exchange's own stamp of the last change; never goes back.", nullable=True
)
_SEEN_AT = Column("seen_at", ColumnType.TIMESTAMP, "When we asked and were told so; never goes back.")
_OBJECT = Column("object", ColumnType.JSON, "The whole object as the exchange sent it.")


def _text(name: str, comment: str, *, nullable: bool = True) -> Column:
    return Column(name, ColumnType.TEXT, comment, nullable=nullable)


def _time(name: str, comment: str) -> Column:
    return Column(name, ColumnType.TIMESTAMP, comment, nullable=True)


def _number(name: str, comment: str) -> Column:
    return Column(name, ColumnType.DECIMAL, comment, nullable=True)


SERIES = Table(
    "series",
    "Families of events under one set of rules, as the exchange last described them.",
    Home.PRODUCTION,
    (
        _text("ticker", "Series ticker, the exchange's name.", nullable=False),
        _text("title", "Name for people."),
        _text("category", "The exchange's category."),
        _text("frequency", "How often events come."),
        _text("fee_type", "How fees are reckoned."),
        _number("fee_multiplier", "What the fee is multiplied by."),
        _UPDATED_TS,
        _SEEN_AT,
        _OBJECT,
    ),
    ("ticker",),
)

EVENTS = Table(
    "events",
    "Things that will happen, as the exchange last described them.",
    Home.PRODUCTION,
    (
        _text("event_ticker", "Event ticker, the exchange's name.", nullable=False),
        _text("series_ticker", "Series that it belongs to.", nullable=False),
        _text("title", "Name for people."),
        _text("sub_title", "More of the name."),
        _text("category", "The exchange's category."),
        Column("mutually_exclusive", ColumnType.BOOL, "At most one of its markets settles yes.", nullable=True),
        _time("strike_date", "When it is decided, where that is one moment."),
        _UPDATED_TS,
        _SEEN_AT,
        _OBJECT,
    ),
    ("event_ticker",),
)

MARKETS = Table(
    "markets",
    "Markets, as the exchange last described them.",
    Home.PRODUCTION,
    (
        Column("ticker", ColumnType.TEXT, "Market ticker, the exchange's name."),
        _text("event_ticker", "Event that it belongs to.", nullable=False),
        _text("status", "Its status when it was last seen; market_statuses has the history.", nullable=False),
        _text("market_type", "binary or scalar."),
        _text("yes_sub_title", "What yes means."),
        _text("no_sub_title", "What no means."),
        _time("open_time", "When trading began or begins."),
        _time("close_time", "When trading ended or ends."),
        _time("expected_expiration_time", "When the outcome is expected."),
        _time("latest_expiration_time", "When the outcome is known at the latest."),
        _time("settlement_ts", "When it was settled."),
        _text("result", "yes, no or scalar; empty while undecided."),
        Column(
            "settlement_value",
            ColumnType.INT32,
            "What a yes contract paid, micro-dollars.",
            unit=Unit.PRICE,
            nullable=True,
        ),
        _text("strike_type", "How the strikes are meant: greater, less, between and so on."),
        _number("floor_strike", "Lower strike."),
        _number("cap_strike", "Upper strike."),
        _UPDATED_TS,
        _SEEN_AT,
        _OBJECT,
    ),
    ("ticker",),
)

MARKET_STATUSES = Table(
    "market_statuses",
    "History of each market's status: when it was first seen in each, in whatever order the news came.",
    Home.PRODUCTION,
    (
        Column("ticker", ColumnType.TEXT, "Market ticker, the exchange's name."),
        _text("status", "The status.", nullable=False),
        Column("seen_at", ColumnType.TIMESTAMP, "When it was seen, by the clock of whoever saw it."),
        _text("source", "rest or lifecycle.", nullable=False),
    ),
    ("ticker", "seen_at"),
)
