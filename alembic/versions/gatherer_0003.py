"""Views for people and policies for partitions; hypertables where TimescaleDB is installed.

Revision gatherer_0003. Tables that are there keep their rows, and without TimescaleDB their partitions. Going down
drops what is new. Frozen: it says what was released.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

from kalshi_platform.database import ddl_timescale_v1, ddl_v1, ddl_v2, ddl_views_v1

revision: str = "gatherer_0003"
down_revision: str | None = "gatherer_0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TEXT, INT = sa.Text(), sa.Integer()
WRITER, READER = "kalshi_gatherer", "kalshi_sync"
POLICIES = """
INSERT INTO table_policies (table_name, partition_hours, keep_days, compress_hours) VALUES
('trades', 24, 7, 24), ('orderbook_deltas', 24, 7, 24), ('orderbook_snapshots', 24, 7, 24), ('tickers', 24, 7, 24)
"""
INDEXES = ("CREATE INDEX {table}_ingest_xid ON public.{table} (ingest_xid)",)
GRANTS = (f"GRANT SELECT, INSERT ON public.{{table}} TO {WRITER}", f"GRANT SELECT ON public.{{table}} TO {READER}")
BOOK_DIFFERENCES = """
CREATE VIEW people.book_differences AS SELECT compared_at, gatherer_id, connection, ticker, snapshot_ts, levels,
(size * 0.01)::numeric(18, 2) AS size, detail FROM public.book_differences
"""


def upgrade() -> None:
    """Make what is new."""
    _table_policies()
    op.execute(POLICIES)
    op.execute(ddl_v2.ENSURE_PARTITION)
    op.execute(ddl_v2.COMMENT_ENSURE_PARTITION)
    ddl_timescale_v1.to_hypertables(op.get_bind(), INDEXES, GRANTS)
    op.execute(ddl_views_v1.CREATE_SCHEMA)
    op.execute(ddl_views_v1.COMMENT_SCHEMA)
    for statement in (*ddl_views_v1.VIEWS, BOOK_DIFFERENCES, ddl_views_v1.COMMENT_LIKE_TABLE, *ddl_views_v1.COMMENTS):
        op.execute(statement)
    _grant()


def downgrade() -> None:
    """Drop what is new; the record itself stays."""
    op.execute(ddl_views_v1.DROP_SCHEMA)
    ddl_timescale_v1.to_native(op.get_bind(), INDEXES, GRANTS)
    op.execute(ddl_v1.ENSURE_PARTITION.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    op.execute(ddl_v2.COMMENT_ENSURE_PARTITION_V1)
    op.drop_table("table_policies")


def _grant() -> None:
    for role in (WRITER, READER):
        op.execute(f"GRANT SELECT ON table_policies TO {role}")
        op.execute(f"GRANT USAGE ON SCHEMA people TO {role}")
        op.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA people TO {role}")
        op.execute(f"GRANT EXECUTE ON FUNCTION people.book_at(text, timestamptz) TO {role}")
    op.execute("REVOKE ALL ON FUNCTION people.book_at(text, timestamptz) FROM PUBLIC")


def _column(name: str, kind: "TypeEngine[object]", comment: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, kind, nullable=nullable, comment=comment)


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
