"""The schema, written once as plain data.

SQLAlchemy tables, binary COPY, Parquet schemas, Dagster columns and the README's tables derive from it; a test holds
the migrations against it. Here belong tables, columns, keys and their meaning. Kept out: DDL and anything that
knows a database product.
"""

from kalshi_platform.core.backfill_tables import BACKFILL_CHUNKS, BACKFILL_JOBS
from kalshi_platform.core.columns import Column, ColumnType, Default, Home, Table, Unit
from kalshi_platform.core.merge_tables import COVERAGE_HOURS, MERGE_CONFLICTS, UNCOVERED_INTERVALS
from kalshi_platform.core.reference_tables import EVENTS, LAKE_PROOFS, MARKET_STATUSES, MARKETS, SERIES, TABLE_POLICIES

__all__ = [
    "BACKFILL_CHUNKS",
    "BACKFILL_JOBS",
    "BOOK_DIFFERENCES",
    "CAPTURE_GAPS",
    "CAPTURE_SESSIONS",
    "CAPTURE_TABLES",
    "COVERAGE_HOURS",
    "EVENTS",
    "INGEST_BATCHES",
    "LAKE_PROOFS",
    "MARKETS",
    "MARKET_STATUSES",
    "MERGE_CONFLICTS",
    "ORDERBOOK_DELTAS",
    "ORDERBOOK_SNAPSHOTS",
    "REJECTED_MESSAGES",
    "SERIES",
    "STREAM_TABLES",
    "SYNC_CURSORS",
    "TABLES",
    "TABLE_POLICIES",
    "TICKERS",
    "TRADES",
    "UNCOVERED_INTERVALS",
    "Column",
    "ColumnType",
    "Default",
    "Home",
    "Table",
    "Unit",
    "tables_of",
]


def _exchange_ts(meaning: str) -> Column:
    return Column("exchange_ts", ColumnType.TIMESTAMP, meaning)


_TICKER = Column("ticker", ColumnType.TEXT, "Market ticker, the exchange's name.")
_RECEIVED_AT = Column(
    "received_at", ColumnType.TIMESTAMP, "When the gatherer's socket got it, by the gatherer's clock."
)
_GATHERER_ID = Column("gatherer_id", ColumnType.TEXT, "Gatherer that saw it.")
_CONNECTION = Column("connection", ColumnType.TEXT, "Connection on which it was seen.")
_INGEST_XID = Column(
    "ingest_xid",
    ColumnType.XID,
    "Transaction that wrote the row; the deduplicator's cursor.",
    home=Home.GATHERER,
    default=Default.TRANSACTION,
)


def _price(name: str, comment: str, *, nullable: bool = False) -> Column:
    return Column(name, ColumnType.INT32, comment, unit=Unit.PRICE, nullable=nullable)


def _size(name: str, comment: str, *, nullable: bool = False) -> Column:
    return Column(name, ColumnType.INT64, comment, unit=Unit.SIZE, nullable=nullable)


ORDERBOOK_DELTAS = Table(
    "orderbook_deltas",
    "Every signed change of one price level, exactly as the exchange sent it.",
    Home.BOTH,
    (
        _exchange_ts("The exchange's time of the change, in whole milliseconds."),
        _TICKER,
        Column("side", ColumnType.BOOL, "Side of the book: true is yes, false is no."),
        _price("price", "Price of the level in its own side's frame, micro-dollars."),
        _size("size_delta", "Signed change of the level, hundredths of a contract."),
        Column("occurrence", ColumnType.INT32, "How many equal deltas the stream had shown for this millisecond."),
        Column("position", ColumnType.INT32, "Index among the market's deltas of this millisecond; orders them."),
        Column("seq", ColumnType.INT64, "Sequence number on one subscription; provenance, never identity."),
        Column("sid", ColumnType.INT64, "Subscription id on the gatherer's connection.", home=Home.GATHERER),
        _RECEIVED_AT,
        _INGEST_XID,
    ),
    ("exchange_ts", "ticker", "side", "price", "size_delta", "occurrence"),
    time_column="exchange_ts",
)

TRADES = Table(
    "trades",
    "Every trade.",
    Home.BOTH,
    (
        _exchange_ts("The exchange's time of the trade, in whole milliseconds."),
        Column("trade_id", ColumnType.UUID, "The exchange's id, the same over REST and the socket."),
        _TICKER,
        _price("price", "Yes price, micro-dollars."),
        _size("size", "Contracts traded, hundredths."),
        Column("taker_side", ColumnType.BOOL, "Outcome the taker bought: true is yes.", nullable=True),
        Column("is_block_trade", ColumnType.BOOL, "Negotiated off the book; has no delta."),
        _RECEIVED_AT,
        _INGEST_XID,
    ),
    ("exchange_ts", "trade_id"),
    time_column="exchange_ts",
)

TICKERS = Table(
    "tickers",
    "Every ticker update: best prices, last trade, volume and open interest.",
    Home.BOTH,
    (
        _exchange_ts("The exchange's time of the update, in whole milliseconds."),
        _TICKER,
        _price("last_price", "Price of the last trade, micro-dollars.", nullable=True),
        _price("yes_bid", "Best yes bid, micro-dollars.", nullable=True),
        _price("yes_ask", "Best yes ask, micro-dollars.", nullable=True),
        _size("yes_bid_size", "Contracts at the best yes bid, hundredths.", nullable=True),
        _size("yes_ask_size", "Contracts at the best yes ask, hundredths.", nullable=True),
        _size("last_trade_size", "Contracts of the last trade, hundredths.", nullable=True),
        _size("volume", "Contracts traded so far, hundredths.", nullable=True),
        _size("open_interest", "Contracts open, hundredths.", nullable=True),
        Column("dollar_volume", ColumnType.INT64, "Whole dollars traded so far.", nullable=True),
        Column("dollar_open_interest", ColumnType.INT64, "Whole dollars open.", nullable=True),
        Column("digest", ColumnType.INT64, "Hash of the values and of how often they came in this millisecond."),
        _RECEIVED_AT,
        _INGEST_XID,
    ),
    ("exchange_ts", "ticker", "digest"),
    time_column="exchange_ts",
)

ORDERBOOK_SNAPSHOTS = Table(
    "orderbook_snapshots",
    "Whole books: as sent by the exchange (ws, rest), or kept by a gatherer at a round moment (checkpoint).",
    Home.BOTH,
    (
        Column(
            "snapshot_ts", ColumnType.TIMESTAMP, "A checkpoint holds every delta before this moment and none after."
        ),
        _TICKER,
        Column("source", ColumnType.TEXT, "ws, rest or checkpoint."),
        Column("gatherer_id", ColumnType.TEXT, "Who took it; empty for a checkpoint, because three must be one."),
        Column("yes_prices", ColumnType.INT32_LIST, "Yes levels, ascending, micro-dollars.", unit=Unit.PRICE),
        Column("yes_sizes", ColumnType.INT64_LIST, "Contracts at each yes level, hundredths.", unit=Unit.SIZE),
        Column("no_prices", ColumnType.INT32_LIST, "No levels, ascending, micro-dollars.", unit=Unit.PRICE),
        Column("no_sizes", ColumnType.INT64_LIST, "Contracts at each no level, hundredths.", unit=Unit.SIZE),
        _price("best_yes_bid", "Highest yes level, micro-dollars.", nullable=True),
        _price("best_yes_ask", "One dollar less the highest no level, micro-dollars.", nullable=True),
        _RECEIVED_AT,
        _INGEST_XID,
    ),
    ("snapshot_ts", "ticker", "source", "gatherer_id"),
    time_column="snapshot_ts",
)

REJECTED_MESSAGES = Table(
    "rejected_messages",
    "Frames that could not be used, whole, with the reason. Nothing is dropped in silence.",
    Home.GATHERER,
    (
        _RECEIVED_AT,
        Column("digest", ColumnType.INT64, "Hash of the frame; tells apart frames of one microsecond."),
        Column("connection", ColumnType.TEXT, "Connection or file that it came from."),
        Column("reason", ColumnType.TEXT, "A short code: not_json, unknown_type, bad_price and so on."),
        Column("detail", ColumnType.TEXT, "What exactly did not fit."),
        Column("raw", ColumnType.BYTES, "The frame as it came."),
        _INGEST_XID,
    ),
    ("received_at", "digest", "connection"),
)

CAPTURE_GAPS = Table(
    "capture_gaps",
    "Holes in what was captured: who missed what, from when until when, and how it was healed.",
    Home.BOTH,
    (
        Column("detected_at", ColumnType.TIMESTAMP, "When the hole was seen, by the gatherer's clock."),
        _GATHERER_ID,
        _CONNECTION,
        Column("sid", ColumnType.INT64, "Subscription that missed something; 0 where it had none."),
        Column("channel", ColumnType.TEXT, "Channel of the subscription."),
        Column("ticker", ColumnType.TEXT, "Market that missed something; empty for every market of the subscription."),
        Column("cause", ColumnType.TEXT, "sequence, disconnected, ended, silent or rejected."),
        Column("expected_seq", ColumnType.INT64, "The number that should have come; 0 where no number told."),
        Column("seen_seq", ColumnType.INT64, "The number that came; 0 where no number told."),
        Column("markets", ColumnType.INT32, "How many markets the subscription covered."),
        Column("from_at", ColumnType.TIMESTAMP, "Receipt of the last frame before the hole, by the gatherer's clock."),
        Column(
            "until_at",
            ColumnType.TIMESTAMP,
            "When the last of its books was whole again, by the gatherer's clock; empty while one is not.",
            nullable=True,
        ),
        Column(
            "healed_by",
            ColumnType.TEXT,
            "snapshots, reconnect, late frames or unhealed; empty while nobody knows.",
            nullable=True,
        ),
        _INGEST_XID,
    ),
    ("detected_at", "gatherer_id", "connection", "sid", "ticker", "cause", "seen_seq"),
    revised=("until_at", "healed_by"),
)

CAPTURE_SESSIONS = Table(
    "capture_sessions",
    "Who was listening to what, from when until when: completeness as data.",
    Home.BOTH,
    (
        Column("started_at", ColumnType.TIMESTAMP, "When the subscription began, by the gatherer's clock."),
        _GATHERER_ID,
        _CONNECTION,
        Column("channel", ColumnType.TEXT, "Channel of the subscription."),
        Column("ticker", ColumnType.TEXT, "Market listened to; empty on channels that carry every market."),
        Column("sid", ColumnType.INT64, "Subscription id on the connection."),
        Column(
            "ended_at",
            ColumnType.TIMESTAMP,
            "When it ended, by the gatherer's clock; empty while it lasts.",
            nullable=True,
        ),
        Column(
            "ended_by",
            ColumnType.TEXT,
            "unsubscribed, disconnected, ended, stopped or process died; empty while it lasts.",
            nullable=True,
        ),
        _INGEST_XID,
    ),
    ("started_at", "gatherer_id", "connection", "channel", "ticker"),
    revised=("ended_at", "ended_by"),
)

BOOK_DIFFERENCES = Table(
    "book_differences",
    "Where a book kept from deltas was not the book that the exchange sent; each one is a proof of something missed.",
    Home.BOTH,
    (
        Column("compared_at", ColumnType.TIMESTAMP, "When the books were compared, by the gatherer's clock."),
        _GATHERER_ID,
        Column("connection", ColumnType.TEXT, "Connection whose book it was; empty where nobody knows."),
        _TICKER,
        Column("snapshot_ts", ColumnType.TIMESTAMP, "Moment of the exchange's book."),
        Column("levels", ColumnType.INT32, "How many levels differ."),
        _size("size", "Sum of the absolute differences, hundredths of a contract."),
        Column("detail", ColumnType.TEXT, "A few of the levels, for people."),
        _INGEST_XID,
    ),
    ("compared_at", "gatherer_id", "ticker"),
)

INGEST_BATCHES = Table(
    "ingest_batches",
    "What each flush wrote: the deduplicator's time bound, its proof of completeness, and its watermark.",
    Home.GATHERER,
    (
        Column("table_name", ColumnType.TEXT, "Table that the flush wrote to."),
        Column("ingest_xid", ColumnType.XID, "Transaction of the flush.", default=Default.TRANSACTION),
        Column("row_count", ColumnType.INT32, "Rows that were new; 0 in a heartbeat."),
        Column("min_ts", ColumnType.TIMESTAMP, "Earliest time among the rows.", nullable=True),
        Column("max_ts", ColumnType.TIMESTAMP, "Latest time among the rows.", nullable=True),
        Column(
            "heard_until",
            ColumnType.TIMESTAMP,
            "All that was heard up to this exchange time is committed.",
            nullable=True,
        ),
        Column("written_at", ColumnType.TIMESTAMP, "Database time of the flush.", default=Default.NOW),
    ),
    ("table_name", "ingest_xid"),
)

SYNC_CURSORS = Table(
    "sync_cursors",
    "How far each gatherer's tables are merged; moves in the same transaction as the rows.",
    Home.PRODUCTION,
    (
        Column("gatherer_id", ColumnType.TEXT, "Gatherer that is read."),
        Column("table_name", ColumnType.TEXT, "Table that is read."),
        Column("source", ColumnType.TEXT, "Cluster, timeline and database read; a change starts from 0."),
        Column("next_xid", ColumnType.XID, "First transaction not yet merged."),
        Column(
            "watermark", ColumnType.TIMESTAMP, "Exchange time up to which all that it heard is merged.", nullable=True
        ),
        Column("rows_read", ColumnType.INT64, "Rows read from this gatherer so far."),
        Column("rows_merged", ColumnType.INT64, "Rows among them that production did not have."),
        Column("updated_at", ColumnType.TIMESTAMP, "When the cursor last moved.", default=Default.NOW),
        Column(
            "witness",
            ColumnType.TEXT,
            "The last batch that was merged: its table, transaction and time; a source that does not have it was "
            "restored, and starts from 0.",
            nullable=True,
        ),
        Column(
            "shard",
            ColumnType.INT32,
            "Part of the tickers, by a hash; 1 where one deduplicator merges all.",
            default=Default.ONE,
        ),
        Column(
            "shards",
            ColumnType.INT32,
            "How many parts there are; a part beyond is merged no more.",
            default=Default.ONE,
        ),
    ),
    ("gatherer_id", "table_name", "shard"),
)

STREAM_TABLES: tuple[Table, ...] = (TRADES, ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, TICKERS)
"""The tables that gatherers fill, the deduplicator merges and the lake keeps."""

CAPTURE_TABLES: tuple[Table, ...] = (CAPTURE_GAPS, CAPTURE_SESSIONS, BOOK_DIFFERENCES)
"""What gatherers note of their own listening; merged too, each row under its gatherer's name."""

TABLES: tuple[Table, ...] = (
    *STREAM_TABLES,
    REJECTED_MESSAGES,
    CAPTURE_GAPS,
    CAPTURE_SESSIONS,
    BOOK_DIFFERENCES,
    INGEST_BATCHES,
    SYNC_CURSORS,
    TABLE_POLICIES,
    LAKE_PROOFS,
    SERIES,
    EVENTS,
    MARKETS,
    MARKET_STATUSES,
    MERGE_CONFLICTS,
    COVERAGE_HOURS,
    UNCOVERED_INTERVALS,
    BACKFILL_JOBS,
    BACKFILL_CHUNKS,
)
"""Every table of the platform."""


def tables_of(home: Home) -> tuple[Table, ...]:
    """The tables of one kind of database."""
    return tuple(table for table in TABLES if table.home.covers(home))
