"""Views for people over what the merge says of itself: coverage, gaps, sessions, differences, conflicts.

Revision production_0006. Going down drops the views. Frozen: it says what was released.
"""

from collections.abc import Sequence

from alembic import op

from kalshi_platform.database import ddl_views_v1

revision: str = "production_0006"
down_revision: str | None = "production_0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ANALYST, EXPORT = "kalshi_analyst", "kalshi_export"


DOLLARS, CONTRACTS = "0.000001)::numeric(9, 6)", "0.01)::numeric(18, 2)"
LIST = (
    "(SELECT coalesce(jsonb_agg((one::numeric * {0} ORDER BY place), '[]') "
    "FROM jsonb_array_elements(value) WITH ORDINALITY AS item(one, place))"
)
READABLE = f"""
(SELECT jsonb_object_agg(key, CASE
    WHEN jsonb_typeof(value) = 'number' AND key IN ('price', 'best_yes_bid', 'best_yes_ask')
    THEN to_jsonb((value::numeric * {DOLLARS})
    WHEN jsonb_typeof(value) = 'number' AND key = 'size' THEN to_jsonb((value::numeric * {CONTRACTS})
    WHEN key IN ('yes_prices', 'no_prices') THEN {LIST.format(DOLLARS)}
    WHEN key IN ('yes_sizes', 'no_sizes') THEN {LIST.format(CONTRACTS)}
    ELSE value END) FROM jsonb_each({{0}})) AS {{0}}
"""  # noqa: S608 - names of ours
"""A row as JSON, in the units of people."""

VIEWS = {
    "coverage_hours": "hour, channel, markets, uncovered_markets, "
    "(uncovered_us * 0.000001)::numeric(18, 6) AS uncovered_seconds, gatherers, behind, is_stale, computed_at",
    "uncovered_intervals": "hour, channel, ticker, from_at, until_at, until_at - from_at AS lasted",
    "capture_gaps": "detected_at, gatherer_id, connection, sid, channel, ticker, cause, expected_seq, seen_seq, "
    "markets, from_at, until_at, until_at - from_at AS lasted, healed_by",
    "capture_sessions": "started_at, gatherer_id, connection, channel, ticker, sid, ended_at, ended_by",
    "book_differences": "compared_at, gatherer_id, connection, ticker, snapshot_ts, levels, "
    "(size * 0.01)::numeric(18, 2) AS size, detail",
    "merge_conflicts": f"table_name, row_key, gatherer_id, ticker, {READABLE.format('kept')}, "
    f"{READABLE.format('refused')}, found_at",
}
COMMENTS = {
    "coverage_hours.uncovered_seconds": "Length of all uncovered intervals, seconds.",
    "uncovered_intervals.lasted": "How long it is.",
    "capture_gaps.lasted": "How long it was; empty while it lasts.",
    "merge_conflicts.kept": "The row that stands in production, in dollars and contracts.",
    "merge_conflicts.refused": "The row that came later and says something else, in dollars and contracts.",
}


def upgrade() -> None:
    """Make the views."""
    for name, columns in VIEWS.items():
        op.execute(f"CREATE VIEW people.{name} AS SELECT {columns} FROM public.{name}")  # noqa: S608
    op.execute(ddl_views_v1.COMMENT_LIKE_TABLE)
    for column, text in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN people.{column} IS '{text}'")
    op.execute(f"GRANT SELECT ON {', '.join(f'people.{name}' for name in VIEWS)} TO {ANALYST}, {EXPORT}")


def downgrade() -> None:
    """Drop them."""
    for name in VIEWS:
        op.execute(f"DROP VIEW people.{name}")
