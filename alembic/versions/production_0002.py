"""Metadata with its history, views for people, policies, proofs of the lake, hypertables with TimescaleDB; two roles.

Revision production_0002. Tables that are there keep their rows, and without TimescaleDB their partitions; partitions to
come may be of an hour.
Going down drops what is new, rows included. Frozen: it says what was released.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from kalshi_platform.database import ddl_timescale_v1, ddl_v1, ddl_v2, ddl_views_v1

revision: str = "production_0002"
down_revision: str | None = "production_0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TIME = postgresql.TIMESTAMP(timezone=True)
TEXT, INT, BIG, NUMBER, BOOL, JSON = (
    sa.Text(),
    sa.Integer(),
    sa.BigInteger(),
    sa.Numeric(),
    sa.Boolean(),
    postgresql.JSONB(),
)
DEDUP, EXPORT, CATALOGUE, ANALYST = "kalshi_dedup", "kalshi_export", "kalshi_catalogue", "kalshi_analyst"
STREAMS = ("trades", "orderbook_deltas", "orderbook_snapshots", "tickers")
METADATA = ("series", "events", "markets", "market_statuses")
TABLES = (*METADATA, "lake_proofs", "table_policies")

POLICIES = """
INSERT INTO table_policies (table_name, partition_hours, keep_days, compress_hours) VALUES
('trades', 24, NULL, 48), ('orderbook_deltas', 1, 90, 6), ('orderbook_snapshots', 24, NULL, 48), ('tickers', 1, 30, 6)
"""
GRANTS = (f"GRANT SELECT, INSERT ON public.{{table}} TO {DEDUP}", f"GRANT SELECT ON public.{{table}} TO {EXPORT}")
VIEWS_OF_METADATA = (
    "CREATE VIEW people.series AS SELECT * FROM public.series",
    "CREATE VIEW people.events AS SELECT * FROM public.events",
    "CREATE VIEW people.markets AS SELECT m.ticker, m.event_ticker, e.series_ticker, m.status, m.market_type, "
    "m.yes_sub_title, m.no_sub_title, m.open_time, m.close_time, m.expected_expiration_time, "
    "m.latest_expiration_time, m.settlement_ts, m.result, "
    "(m.settlement_value * 0.000001)::numeric(9, 6) AS settlement_value, m.strike_type, m.floor_strike, m.cap_strike, "
    "m.updated_ts, m.seen_at, m.object FROM public.markets AS m LEFT JOIN public.events AS e USING (event_ticker)",
    "COMMENT ON COLUMN people.markets.series_ticker IS 'Series of its event; empty while the event is not known.'",
    "CREATE VIEW people.market_statuses AS SELECT ticker, status, seen_at, source, "
    "lead(seen_at) OVER (PARTITION BY ticker ORDER BY seen_at) AS until FROM ("
    "SELECT *, lag(status) OVER (PARTITION BY ticker ORDER BY seen_at) AS before FROM public.market_statuses) AS seen "
    "WHERE before IS DISTINCT FROM status",
    "COMMENT ON COLUMN people.market_statuses.until IS 'When it was first seen in the next; empty: it is so now.'",
)


def upgrade() -> None:
    """Make what is new; the stream tables get an index by ticker that is filled behind their writers."""
    _table_policies()
    _lake_proofs()
    _series()
    _events()
    _markets()
    _market_statuses()
    op.execute(POLICIES)
    op.execute(ddl_v2.ENSURE_PARTITION)
    op.execute(ddl_v2.COMMENT_ENSURE_PARTITION)
    op.execute(ddl_v2.BTREE_GIN)
    op.execute(ddl_v2.INDEX_RECENT)
    op.execute(ddl_v2.COMMENT_INDEX_RECENT)
    op.execute(ddl_v2.reserve("kalshi_index_recent(text)"))
    if not ddl_timescale_v1.to_hypertables(op.get_bind(), [ddl_v2.INDEX_BY_TICKER], GRANTS):
        for table in STREAMS:
            op.execute(ddl_v2.INDEX_BY_TICKER.format(table=table))
    _views()
    _grant()


def downgrade() -> None:
    """Drop what is new; the record itself stays."""
    op.execute(ddl_views_v1.DROP_SCHEMA)
    if not ddl_timescale_v1.to_native(op.get_bind(), [], GRANTS):
        for table in STREAMS:
            op.execute(f"DROP INDEX public.{table}_by_ticker")
    op.execute("DROP FUNCTION public.kalshi_index_recent(text)")
    op.execute(ddl_v2.DROP_BTREE_GIN)
    op.execute(ddl_v1.ENSURE_PARTITION.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    op.execute(ddl_v2.COMMENT_ENSURE_PARTITION_V1)
    for table in TABLES:
        op.drop_table(table)
    for role in (CATALOGUE, ANALYST):
        op.execute(f"REVOKE ALL ON alembic_version FROM {role}")
        op.execute(f"REVOKE ALL ON SCHEMA public FROM {role}")
        op.execute(ddl_v1.drop_role(role))


def _views() -> None:
    op.execute(ddl_views_v1.CREATE_SCHEMA)
    op.execute(ddl_views_v1.COMMENT_SCHEMA)
    for statement in (*ddl_views_v1.VIEWS, *VIEWS_OF_METADATA, ddl_views_v1.COMMENT_LIKE_TABLE, *ddl_views_v1.COMMENTS):
        op.execute(statement)


def _grant() -> None:
    """The analyst sees views and nothing else; the catalogue fills metadata and nothing else."""
    for role in (CATALOGUE, ANALYST):
        op.execute(ddl_v1.create_role(role))
    op.execute(f"GRANT USAGE ON SCHEMA people TO {ANALYST}, {EXPORT}")
    op.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA people TO {ANALYST}, {EXPORT}")
    op.execute("REVOKE ALL ON FUNCTION people.book_at(text, timestamptz) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION people.book_at(text, timestamptz) TO {ANALYST}, {EXPORT}")
    op.execute(f"GRANT SELECT ON {', '.join(TABLES)} TO {DEDUP}, {EXPORT}")
    op.execute(f"GRANT EXECUTE ON FUNCTION public.kalshi_index_recent(text) TO {DEDUP}")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {CATALOGUE}")
    op.execute(f"GRANT SELECT ON alembic_version TO {CATALOGUE}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(METADATA)} TO {CATALOGUE}")


def _column(name: str, kind: "TypeEngine[object]", comment: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, kind, nullable=nullable, comment=comment)


def _seen() -> tuple["sa.Column[object]", ...]:
    return (
        _column("updated_ts", TIME, "The exchange's own stamp of the last change; never goes back.", nullable=True),
        _column("seen_at", TIME, "When we asked and were told so; never goes back."),
        _column("object", JSON, "The whole object as the exchange sent it."),
    )


def _table_policies() -> None:
    op.create_table(
        "table_policies",
        _column("table_name", TEXT, "A table with partitions."),
        _column("partition_hours", INT, "Hours in each partition to come: 24, or 1 where volume asks."),
        _column("keep_days", INT, "Days that rows are kept; empty: for ever.", nullable=True),
        _column(
            "compress_hours",
            INT,
            "Hours after which TimescaleDB compresses; empty: never. Without TimescaleDB it means nothing.",
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("table_name"),
        sa.CheckConstraint("partition_hours IN (1, 24)", name="table_policies_partition_hours_is_an_hour_or_a_day"),
        sa.CheckConstraint("keep_days > 0", name="table_policies_keep_days_is_positive"),
        sa.CheckConstraint("compress_hours > 0", name="table_policies_compress_hours_is_positive"),
        comment="How each stream table is cut, compressed and kept; an owner changes it, what is there already stays "
        "as it is.",
    )


def _lake_proofs() -> None:
    op.create_table(
        "lake_proofs",
        _column("table_name", TEXT, "Table whose rows the file holds."),
        _column("window_start", TIME, "Earliest moment whose rows it holds."),
        _column("window_end", TIME, "First moment whose rows it does not hold."),
        _column("row_count", BIG, "Rows in the file, and in production when it was checked."),
        _column("sha256", TEXT, "Hash of the file's bytes, in hexadecimal."),
        _column("path", TEXT, "Where the file is."),
        _column("checked_at", TIME, "When file and table were compared."),
        _column(
            "dropped_at",
            TIME,
            "When production dropped the rows; the file is the only copy since and must never be written anew.",
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("table_name", "window_start"),
        comment="Files of the lake that were read again and held what production held; only what is proven may be "
        "dropped.",
    )


def _series() -> None:
    op.create_table(
        "series",
        _column("ticker", TEXT, "Series ticker, the exchange's name."),
        _column("title", TEXT, "Name for people.", nullable=True),
        _column("category", TEXT, "The exchange's category.", nullable=True),
        _column("frequency", TEXT, "How often events come.", nullable=True),
        _column("fee_type", TEXT, "How fees are reckoned.", nullable=True),
        _column("fee_multiplier", NUMBER, "What the fee is multiplied by.", nullable=True),
        *_seen(),
        sa.PrimaryKeyConstraint("ticker"),
        comment="Families of events under one set of rules, as the exchange last described them.",
    )


def _events() -> None:
    op.create_table(
        "events",
        _column("event_ticker", TEXT, "Event ticker, the exchange's name."),
        _column("series_ticker", TEXT, "Series that it belongs to."),
        _column("title", TEXT, "Name for people.", nullable=True),
        _column("sub_title", TEXT, "More of the name.", nullable=True),
        _column("category", TEXT, "The exchange's category.", nullable=True),
        _column("mutually_exclusive", BOOL, "At most one of its markets settles yes.", nullable=True),
        _column("strike_date", TIME, "When it is decided, where that is one moment.", nullable=True),
        *_seen(),
        sa.PrimaryKeyConstraint("event_ticker"),
        comment="Things that will happen, as the exchange last described them.",
    )
    op.create_index("events_series_ticker", "events", ["series_ticker"])


def _markets() -> None:
    op.create_table(
        "markets",
        _column("ticker", TEXT, "Market ticker, the exchange's name."),
        _column("event_ticker", TEXT, "Event that it belongs to."),
        _column("status", TEXT, "Its status when it was last seen; market_statuses has the history."),
        _column("market_type", TEXT, "binary or scalar.", nullable=True),
        _column("yes_sub_title", TEXT, "What yes means.", nullable=True),
        _column("no_sub_title", TEXT, "What no means.", nullable=True),
        _column("open_time", TIME, "When trading began or begins.", nullable=True),
        _column("close_time", TIME, "When trading ended or ends.", nullable=True),
        _column("expected_expiration_time", TIME, "When the outcome is expected.", nullable=True),
        _column("latest_expiration_time", TIME, "When the outcome is known at the latest.", nullable=True),
        _column("settlement_ts", TIME, "When it was settled.", nullable=True),
        _column("result", TEXT, "yes, no or scalar; empty while undecided.", nullable=True),
        _column("settlement_value", INT, "What a yes contract paid, micro-dollars.", nullable=True),
        _column("strike_type", TEXT, "How the strikes are meant: greater, less, between and so on.", nullable=True),
        _column("floor_strike", NUMBER, "Lower strike.", nullable=True),
        _column("cap_strike", NUMBER, "Upper strike.", nullable=True),
        *_seen(),
        sa.PrimaryKeyConstraint("ticker"),
        sa.CheckConstraint("settlement_value BETWEEN 0 AND 1000000", name="markets_settlement_value_within_a_dollar"),
        comment="Markets, as the exchange last described them.",
    )
    op.create_index("markets_event_ticker", "markets", ["event_ticker"])


def _market_statuses() -> None:
    op.create_table(
        "market_statuses",
        _column("ticker", TEXT, "Market ticker, the exchange's name."),
        _column("status", TEXT, "The status."),
        _column("seen_at", TIME, "When it was seen, by the clock of whoever saw it."),
        _column("source", TEXT, "rest or lifecycle."),
        sa.PrimaryKeyConstraint("ticker", "seen_at"),
        comment="History of each market's status: when it was first seen in each, in whatever order the news came.",
    )
