"""What a gatherer notes of its own listening can be read by transaction, and is known by its gatherer's name too.

Revision gatherer_0004. Rows stay. Going down needs what holds for one gatherer anyway: no two rows of other names
under one old key. Frozen: it says what was released.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "gatherer_0004"
down_revision: str | None = "gatherer_0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEYS = {
    "capture_gaps": ("detected_at", "connection", "sid", "ticker", "cause", "seen_seq"),
    "capture_sessions": ("started_at", "connection", "channel", "ticker"),
    "book_differences": ("compared_at", "ticker"),
}
"""The keys before: a time, and what follows it."""


def upgrade() -> None:
    """Put the gatherer's name behind the time of each key, and index transactions."""
    for table, (time, *rest) in KEYS.items():
        _key(table, [time, "gatherer_id", *rest])
        op.create_index(f"{table}_ingest_xid", table, ["ingest_xid"])


def downgrade() -> None:
    """Take both away."""
    for table, key in KEYS.items():
        op.drop_index(f"{table}_ingest_xid", table)
        _key(table, list(key))


def _key(table: str, columns: list[str]) -> None:
    op.drop_constraint(f"{table}_pkey", table)
    op.create_primary_key(f"{table}_pkey", table, columns)
