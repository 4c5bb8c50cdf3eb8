"""Cursors by shard, for several deduplicators of one production, and a view of how far they are together.

Revision production_0007. Going down, what is cut for several shards is read from its beginning: one cursor cannot tell
whether they all read one history. What is read again is known. Frozen: it says what was released.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from kalshi_platform.database import ddl_coverage_v1

revision: str = "production_0007"
down_revision: str | None = "production_0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

DEDUP, EXPORT = "kalshi_dedup", "kalshi_export"
COMMENTS = {
    "shard": "Part of the tickers, by a hash; 1 where one deduplicator merges all.",
    "shards": "How many parts there are; a part beyond is merged no more.",
}

PROGRESS = """
CREATE VIEW public.sync_progress AS
SELECT gatherer_id, table_name,
       CASE WHEN min(source) FILTER (WHERE is_live) = max(source) FILTER (WHERE is_live) THEN min(source)
            FILTER (WHERE is_live) ELSE '' END AS source,
       (array_agg(next_xid ORDER BY next_xid) FILTER (WHERE is_live))[1] AS next_xid,
       CASE WHEN bool_and(watermark IS NOT NULL) FILTER (WHERE is_live)
            THEN min(watermark) FILTER (WHERE is_live) END AS watermark,
       sum(rows_read)::bigint AS rows_read, sum(rows_merged)::bigint AS rows_merged, max(updated_at) AS updated_at
FROM (SELECT *, shard <= shards AS is_live FROM public.sync_cursors) AS one GROUP BY gatherer_id, table_name
"""
COMMENT_PROGRESS = """
COMMENT ON VIEW public.sync_progress IS
'How far each gatherer''s tables are merged by all shards together: what lies before is in production.'
"""

TOGETHER = """
UPDATE sync_cursors AS one SET
    source = CASE WHEN shards = 1 THEN one.source ELSE '' END,
    next_xid = CASE WHEN shards = 1 THEN one.next_xid ELSE '0' END,
    witness = CASE WHEN shards = 1 THEN one.witness END,
    watermark = every.watermark, rows_read = every.rows_read, rows_merged = every.rows_merged
FROM sync_progress AS every
WHERE (one.gatherer_id, one.table_name) = (every.gatherer_id, every.table_name) AND one.shard = 1
"""


def upgrade() -> None:
    """Every cursor becomes that of the one shard there is."""
    for name, comment in COMMENTS.items():
        op.add_column(
            "sync_cursors",
            sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("1"), comment=comment),
        )
    _remake_key("gatherer_id", "table_name", "shard")
    op.execute(PROGRESS)
    op.execute(COMMENT_PROGRESS)
    op.execute(f"GRANT SELECT ON sync_progress TO {DEDUP}, {EXPORT}")
    _coverage_reads("sync_progress")


def downgrade() -> None:
    """Every gatherer's table has one cursor again."""
    _coverage_reads("sync_cursors")
    op.execute(TOGETHER)
    op.execute("DELETE FROM sync_cursors WHERE shard > 1")
    op.execute("DROP VIEW sync_progress")
    _remake_key("gatherer_id", "table_name")
    for name in reversed(COMMENTS):
        op.drop_column("sync_cursors", name)


def _remake_key(*columns: str) -> None:
    op.drop_constraint("sync_cursors_pkey", "sync_cursors", type_="primary")
    op.create_primary_key("sync_cursors_pkey", "sync_cursors", list(columns))


def _coverage_reads(name: str) -> None:
    """Let coverage ask another relation how far gatherers are merged."""
    function = ddl_coverage_v1.COVERAGE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
    op.execute(function.replace("public.sync_cursors", f"public.{name}"))
