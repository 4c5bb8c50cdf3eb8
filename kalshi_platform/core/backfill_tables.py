"""The tables of backfill jobs: what is to be fetched from the exchange's REST, how far each piece is, what is missing.

Part of the schema; import them from `core.schema`. Kept out: fetching.
"""

from kalshi_platform.core.columns import Column, ColumnType, Default, Home, Table, Unit

BACKFILL_JOBS = Table(
    "backfill_jobs",
    "What was asked to be fetched from the exchange's REST; the same request is the same job.",
    Home.PRODUCTION,
    (
        Column("job_id", ColumnType.TEXT, "Hash of the request."),
        Column("request", ColumnType.JSON, "Markets and range as they were asked for."),
        Column("created_at", ColumnType.TIMESTAMP, "When it was first asked for.", default=Default.NOW),
        Column(
            "planned_until",
            ColumnType.TIMESTAMP,
            "The chunks of the range up to here are in backfill_chunks; empty while none is.",
            nullable=True,
        ),
        Column(
            "finished_at",
            ColumnType.TIMESTAMP,
            "When nothing was left to fetch and nothing was missing; empty while something is.",
            nullable=True,
        ),
    ),
    ("job_id",),
)

BACKFILL_CHUNKS = Table(
    "backfill_chunks",
    "The pieces of a job, each one market and a month at the most, and how far they are fetched.",
    Home.PRODUCTION,
    (
        Column("job_id", ColumnType.TEXT, "Job that it is a piece of."),
        Column("ticker", ColumnType.TEXT, "Market; empty for every market of the exchange."),
        Column("start_at", ColumnType.TIMESTAMP, "First second of the piece."),
        Column("end_at", ColumnType.TIMESTAMP, "Second behind its last."),
        Column("left_until", ColumnType.TIMESTAMP, "What is left to fetch lies between start_at and here."),
        Column("attempts", ColumnType.INT32, "How often it was queued; more than once where a day was incomplete."),
        Column("inserted", ColumnType.INT64, "Trades that production did not have."),
        Column("known", ColumnType.INT64, "Trades that it had already."),
        Column("conflicts", ColumnType.INT64, "Trades that it had with another content; see merge_conflicts."),
        Column("first_at", ColumnType.TIMESTAMP, "Earliest trade that came.", nullable=True),
        Column("last_at", ColumnType.TIMESTAMP, "Latest trade that came.", nullable=True),
        Column(
            "expected",
            ColumnType.INT64,
            "Contracts in the exchange's candles of a day of which something is missing, hundredths; else empty.",
            unit=Unit.SIZE,
            nullable=True,
        ),
        Column(
            "found",
            ColumnType.INT64,
            "Contracts that production held of that day when they were compared, hundredths; else empty.",
            unit=Unit.SIZE,
            nullable=True,
        ),
        Column("updated_at", ColumnType.TIMESTAMP, "When it last moved.", default=Default.NOW),
    ),
    ("job_id", "ticker", "start_at"),
)
