"""The first tables of a gatherer database, its partition function and its roles.

Revision gatherer_0001, the first of its branch. Frozen: it says what was released, not what the schema says today.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from kalshi_platform.database import ddl_v1
from kalshi_platform.database.column_types import XID8

revision: str = "gatherer_0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = ("gatherer",)
depends_on: Sequence[str] | None = None

TIMESTAMP = postgresql.TIMESTAMP(timezone=True)
TRANSACTION = sa.text("pg_current_xact_id()")
NOW = sa.text("now()")

STREAMS = ("trades", "orderbook_deltas", "orderbook_snapshots", "tickers")
TABLES = (*STREAMS, "rejected_messages", "capture_gaps", "ingest_batches")
WRITER, READER = "kalshi_gatherer", "kalshi_sync"


def upgrade() -> None:
    """Make everything; streams are partitioned by UTC day, and found by transaction by the deduplicator."""
    _trades()
    _orderbook_deltas()
    _orderbook_snapshots()
    _tickers()
    _rejected_messages()
    _capture_gaps()
    _ingest_batches()
    op.execute(ddl_v1.ENSURE_PARTITION)
    op.execute(ddl_v1.COMMENT_ENSURE_PARTITION)
    op.execute(ddl_v1.RESERVE_ENSURE_PARTITION)
    _grant()


def downgrade() -> None:
    """Drop everything, rows included; the roles stay where another database or a member needs them."""
    op.execute(ddl_v1.DROP_ENSURE_PARTITION)
    for table in reversed(TABLES):
        op.drop_table(table)
    for role in (WRITER, READER):
        op.execute(f"REVOKE ALL ON alembic_version FROM {role}")
        op.execute(f"REVOKE ALL ON SCHEMA public FROM {role}")
        op.execute(ddl_v1.revoke_database(role))
        op.execute(ddl_v1.drop_role(role))


def _grant() -> None:
    """Let the writer add rows and partitions, and the reader read; neither may change or remove anything."""
    for role in (WRITER, READER):
        op.execute(ddl_v1.create_role(role))
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        op.execute(f"GRANT SELECT ON alembic_version, {', '.join(TABLES)} TO {role}")
    op.execute(f"GRANT INSERT ON {', '.join(TABLES)} TO {WRITER}")
    op.execute(f"GRANT EXECUTE ON FUNCTION public.kalshi_ensure_partition(text, date) TO {WRITER}")
    op.execute(ddl_v1.grant_temporary(WRITER))


def _trades() -> None:
    op.create_table(
        "trades",
        sa.Column(
            "exchange_ts", TIMESTAMP, nullable=False, comment="The exchange's time of the trade, in whole milliseconds."
        ),
        sa.Column(
            "trade_id", sa.Uuid(), nullable=False, comment="The exchange's id, the same over REST and the socket."
        ),
        sa.Column("ticker", sa.Text(), nullable=False, comment="Market ticker, the exchange's name."),
        sa.Column("price", sa.Integer(), nullable=False, comment="Yes price, micro-dollars."),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="Contracts traded, hundredths."),
        sa.Column("taker_side", sa.Boolean(), nullable=True, comment="Outcome the taker bought: true is yes."),
        sa.Column("is_block_trade", sa.Boolean(), nullable=False, comment="Negotiated off the book; has no delta."),
        sa.Column(
            "received_at",
            TIMESTAMP,
            nullable=False,
            comment="When the gatherer's socket got it, by the gatherer's clock.",
        ),
        sa.Column(
            "ingest_xid",
            XID8(),
            nullable=False,
            server_default=TRANSACTION,
            comment="Transaction that wrote the row; the deduplicator's cursor.",
        ),
        sa.PrimaryKeyConstraint("exchange_ts", "trade_id"),
        sa.CheckConstraint("price BETWEEN 0 AND 1000000", name="trades_price_within_a_dollar"),
        comment="Every trade.",
        postgresql_partition_by="RANGE (exchange_ts)",
    )
    op.create_index("trades_ingest_xid", "trades", ["ingest_xid"])


def _orderbook_deltas() -> None:
    op.create_table(
        "orderbook_deltas",
        sa.Column(
            "exchange_ts",
            TIMESTAMP,
            nullable=False,
            comment="The exchange's time of the change, in whole milliseconds.",
        ),
        sa.Column("ticker", sa.Text(), nullable=False, comment="Market ticker, the exchange's name."),
        sa.Column("side", sa.Boolean(), nullable=False, comment="Side of the book: true is yes, false is no."),
        sa.Column(
            "price", sa.Integer(), nullable=False, comment="Price of the level in its own side's frame, micro-dollars."
        ),
        sa.Column(
            "size_delta",
            sa.BigInteger(),
            nullable=False,
            comment="Signed change of the level, hundredths of a contract.",
        ),
        sa.Column(
            "occurrence",
            sa.Integer(),
            nullable=False,
            comment="How many equal deltas the stream had shown for this millisecond.",
        ),
        sa.Column(
            "position",
            sa.Integer(),
            nullable=False,
            comment="Index among the market's deltas of this millisecond; orders them.",
        ),
        sa.Column(
            "seq",
            sa.BigInteger(),
            nullable=False,
            comment="Sequence number on one subscription; provenance, never identity.",
        ),
        sa.Column("sid", sa.BigInteger(), nullable=False, comment="Subscription id on the gatherer's connection."),
        sa.Column(
            "received_at",
            TIMESTAMP,
            nullable=False,
            comment="When the gatherer's socket got it, by the gatherer's clock.",
        ),
        sa.Column(
            "ingest_xid",
            XID8(),
            nullable=False,
            server_default=TRANSACTION,
            comment="Transaction that wrote the row; the deduplicator's cursor.",
        ),
        sa.PrimaryKeyConstraint("exchange_ts", "ticker", "side", "price", "size_delta", "occurrence"),
        sa.CheckConstraint("price BETWEEN 0 AND 1000000", name="orderbook_deltas_price_within_a_dollar"),
        comment="Every signed change of one price level, exactly as the exchange sent it.",
        postgresql_partition_by="RANGE (exchange_ts)",
    )
    op.create_index("orderbook_deltas_ingest_xid", "orderbook_deltas", ["ingest_xid"])


def _orderbook_snapshots() -> None:
    op.create_table(
        "orderbook_snapshots",
        sa.Column(
            "snapshot_ts",
            TIMESTAMP,
            nullable=False,
            comment="A checkpoint holds every delta before this moment and none after.",
        ),
        sa.Column("ticker", sa.Text(), nullable=False, comment="Market ticker, the exchange's name."),
        sa.Column("source", sa.Text(), nullable=False, comment="ws, rest or checkpoint."),
        sa.Column(
            "gatherer_id",
            sa.Text(),
            nullable=False,
            comment="Who took it; empty for a checkpoint, because three must be one.",
        ),
        sa.Column(
            "yes_prices",
            postgresql.ARRAY(sa.Integer()),
            nullable=False,
            comment="Yes levels, ascending, micro-dollars.",
        ),
        sa.Column(
            "yes_sizes",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="Contracts at each yes level, hundredths.",
        ),
        sa.Column(
            "no_prices", postgresql.ARRAY(sa.Integer()), nullable=False, comment="No levels, ascending, micro-dollars."
        ),
        sa.Column(
            "no_sizes",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="Contracts at each no level, hundredths.",
        ),
        sa.Column("best_yes_bid", sa.Integer(), nullable=True, comment="Highest yes level, micro-dollars."),
        sa.Column(
            "best_yes_ask", sa.Integer(), nullable=True, comment="One dollar less the highest no level, micro-dollars."
        ),
        sa.Column(
            "received_at",
            TIMESTAMP,
            nullable=False,
            comment="When the gatherer's socket got it, by the gatherer's clock.",
        ),
        sa.Column(
            "ingest_xid",
            XID8(),
            nullable=False,
            server_default=TRANSACTION,
            comment="Transaction that wrote the row; the deduplicator's cursor.",
        ),
        sa.PrimaryKeyConstraint("snapshot_ts", "ticker", "source", "gatherer_id"),
        sa.CheckConstraint(
            "best_yes_bid BETWEEN 0 AND 1000000", name="orderbook_snapshots_best_yes_bid_within_a_dollar"
        ),
        sa.CheckConstraint(
            "best_yes_ask BETWEEN 0 AND 1000000", name="orderbook_snapshots_best_yes_ask_within_a_dollar"
        ),
        comment="Whole books: as sent by the exchange (ws, rest), or kept by a gatherer "
        "at a round moment (checkpoint).",
        postgresql_partition_by="RANGE (snapshot_ts)",
    )
    op.create_index("orderbook_snapshots_ingest_xid", "orderbook_snapshots", ["ingest_xid"])


def _tickers() -> None:
    op.create_table(
        "tickers",
        sa.Column(
            "exchange_ts",
            TIMESTAMP,
            nullable=False,
            comment="The exchange's time of the update, in whole milliseconds.",
        ),
        sa.Column("ticker", sa.Text(), nullable=False, comment="Market ticker, the exchange's name."),
        sa.Column("last_price", sa.Integer(), nullable=True, comment="Price of the last trade, micro-dollars."),
        sa.Column("yes_bid", sa.Integer(), nullable=True, comment="Best yes bid, micro-dollars."),
        sa.Column("yes_ask", sa.Integer(), nullable=True, comment="Best yes ask, micro-dollars."),
        sa.Column("yes_bid_size", sa.BigInteger(), nullable=True, comment="Contracts at the best yes bid, hundredths."),
        sa.Column("yes_ask_size", sa.BigInteger(), nullable=True, comment="Contracts at the best yes ask, hundredths."),
        sa.Column(
            "last_trade_size", sa.BigInteger(), nullable=True, comment="Contracts of the last trade, hundredths."
        ),
        sa.Column("volume", sa.BigInteger(), nullable=True, comment="Contracts traded so far, hundredths."),
        sa.Column("open_interest", sa.BigInteger(), nullable=True, comment="Contracts open, hundredths."),
        sa.Column("dollar_volume", sa.BigInteger(), nullable=True, comment="Whole dollars traded so far."),
        sa.Column("dollar_open_interest", sa.BigInteger(), nullable=True, comment="Whole dollars open."),
        sa.Column(
            "digest",
            sa.BigInteger(),
            nullable=False,
            comment="Hash of the values and of how often they came in this millisecond.",
        ),
        sa.Column(
            "received_at",
            TIMESTAMP,
            nullable=False,
            comment="When the gatherer's socket got it, by the gatherer's clock.",
        ),
        sa.Column(
            "ingest_xid",
            XID8(),
            nullable=False,
            server_default=TRANSACTION,
            comment="Transaction that wrote the row; the deduplicator's cursor.",
        ),
        sa.PrimaryKeyConstraint("exchange_ts", "ticker", "digest"),
        sa.CheckConstraint("last_price BETWEEN 0 AND 1000000", name="tickers_last_price_within_a_dollar"),
        sa.CheckConstraint("yes_bid BETWEEN 0 AND 1000000", name="tickers_yes_bid_within_a_dollar"),
        sa.CheckConstraint("yes_ask BETWEEN 0 AND 1000000", name="tickers_yes_ask_within_a_dollar"),
        comment="Every ticker update: best prices, last trade, volume and open interest.",
        postgresql_partition_by="RANGE (exchange_ts)",
    )
    op.create_index("tickers_ingest_xid", "tickers", ["ingest_xid"])


def _rejected_messages() -> None:
    op.create_table(
        "rejected_messages",
        sa.Column(
            "received_at",
            TIMESTAMP,
            nullable=False,
            comment="When the gatherer's socket got it, by the gatherer's clock.",
        ),
        sa.Column(
            "digest",
            sa.BigInteger(),
            nullable=False,
            comment="Hash of the frame; tells apart frames of one microsecond.",
        ),
        sa.Column("connection", sa.Text(), nullable=False, comment="Connection or file that it came from."),
        sa.Column(
            "reason", sa.Text(), nullable=False, comment="A short code: not_json, unknown_type, bad_price and so on."
        ),
        sa.Column("detail", sa.Text(), nullable=False, comment="What exactly did not fit."),
        sa.Column("raw", postgresql.BYTEA(), nullable=False, comment="The frame as it came."),
        sa.Column(
            "ingest_xid",
            XID8(),
            nullable=False,
            server_default=TRANSACTION,
            comment="Transaction that wrote the row; the deduplicator's cursor.",
        ),
        sa.PrimaryKeyConstraint("received_at", "digest", "connection"),
        comment="Frames that could not be used, whole, with the reason. Nothing is dropped in silence.",
    )


def _capture_gaps() -> None:
    op.create_table(
        "capture_gaps",
        sa.Column("detected_at", TIMESTAMP, nullable=False, comment="When the gap was seen, by the gatherer's clock."),
        sa.Column("connection", sa.Text(), nullable=False, comment="Connection on which it was seen."),
        sa.Column("sid", sa.BigInteger(), nullable=False, comment="Subscription whose sequence broke."),
        sa.Column("channel", sa.Text(), nullable=False, comment="Channel of the subscription."),
        sa.Column("expected_seq", sa.BigInteger(), nullable=False, comment="The number that should have come."),
        sa.Column("seen_seq", sa.BigInteger(), nullable=False, comment="The number that came."),
        sa.Column("markets", sa.Integer(), nullable=False, comment="How many markets the subscription covered."),
        sa.Column(
            "ingest_xid",
            XID8(),
            nullable=False,
            server_default=TRANSACTION,
            comment="Transaction that wrote the row; the deduplicator's cursor.",
        ),
        sa.PrimaryKeyConstraint("detected_at", "connection", "sid", "seen_seq"),
        comment="Holes in a subscription's sequence: which numbers were missed, where, and when it was seen.",
    )


def _ingest_batches() -> None:
    op.create_table(
        "ingest_batches",
        sa.Column("table_name", sa.Text(), nullable=False, comment="Table that the flush wrote to."),
        sa.Column(
            "ingest_xid", XID8(), nullable=False, server_default=TRANSACTION, comment="Transaction of the flush."
        ),
        sa.Column("row_count", sa.Integer(), nullable=False, comment="Rows that were new; 0 in a heartbeat."),
        sa.Column("min_ts", TIMESTAMP, nullable=True, comment="Earliest time among the rows."),
        sa.Column("max_ts", TIMESTAMP, nullable=True, comment="Latest time among the rows."),
        sa.Column(
            "heard_until", TIMESTAMP, nullable=True, comment="All that was heard up to this exchange time is committed."
        ),
        sa.Column("written_at", TIMESTAMP, nullable=False, server_default=NOW, comment="Database time of the flush."),
        sa.PrimaryKeyConstraint("table_name", "ingest_xid"),
        comment="What each flush wrote: the deduplicator's time bound, its proof of completeness, and its watermark.",
    )
