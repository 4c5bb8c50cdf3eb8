"""Completeness as data: gaps say from when until when and how they were healed; sessions and book differences are new.

Revision gatherer_0002. `capture_gaps` is made anew under its name, because a primary key and the order of columns
change; its rows are kept. Those of gatherer_0001 carry no gatherer, are all holes in a sequence, and begin at the
moment they were seen, because nobody noted the frame before. Going down keeps the holes in a sequence and what
gatherer_0001 knows of them; everything else goes. Frozen: it says what was released.
"""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from kalshi_platform.database.column_types import XID8

revision: str = "gatherer_0002"
down_revision: str | None = "gatherer_0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TIMESTAMP = postgresql.TIMESTAMP(timezone=True)
WRITER, READER = "kalshi_gatherer", "kalshi_sync"
OF_BOTH = "detected_at, connection, sid, channel, expected_seq, seen_seq, markets, ingest_xid"

RENAME = (
    "ALTER TABLE public.capture_gaps RENAME TO capture_gaps_before",
    "ALTER TABLE public.capture_gaps_before RENAME CONSTRAINT capture_gaps_pkey TO capture_gaps_before_pkey",
)
KEEP_UP = f"""
INSERT INTO public.capture_gaps (gatherer_id, ticker, cause, from_at, {OF_BOTH})
SELECT '', '', 'sequence', detected_at, {OF_BOTH} FROM public.capture_gaps_before
"""  # noqa: S608 - names of ours
KEEP_DOWN = f"""
INSERT INTO public.capture_gaps ({OF_BOTH})
SELECT {OF_BOTH} FROM public.capture_gaps_before WHERE cause = 'sequence' ON CONFLICT DO NOTHING
"""  # noqa: S608 - names of ours
DROP_BEFORE = "DROP TABLE public.capture_gaps_before"


def upgrade() -> None:
    """Remake `capture_gaps` with its rows; make `capture_sessions` and `book_differences`."""
    _remake(_capture_gaps, KEEP_UP)
    _grant("capture_gaps", revised="until_at, healed_by, ingest_xid")
    _capture_sessions()
    _grant("capture_sessions", revised="ended_at, ended_by, ingest_xid")
    _book_differences()
    _grant("book_differences")


def downgrade() -> None:
    """Drop what is new; `capture_gaps` keeps its holes in a sequence."""
    op.drop_table("book_differences")
    op.drop_table("capture_sessions")
    _remake(_capture_gaps_0001, KEEP_DOWN)
    _grant("capture_gaps")


def _remake(create: Callable[[], None], keep: str) -> None:
    for statement in RENAME:
        op.execute(statement)
    create()
    op.execute(keep)
    op.execute(DROP_BEFORE)


def _grant(table: str, revised: str = "") -> None:
    """Let the writer add rows and fill in what a later version knows, and the reader read."""
    op.execute(f"GRANT SELECT ON {table} TO {WRITER}, {READER}")
    op.execute(f"GRANT INSERT ON {table} TO {WRITER}")
    if revised:
        op.execute(f"GRANT UPDATE ({revised}) ON {table} TO {WRITER}")


def _ingest_xid() -> "sa.Column[int]":
    return sa.Column(
        "ingest_xid",
        XID8(),
        nullable=False,
        server_default=sa.text("pg_current_xact_id()"),
        comment="Transaction that wrote the row; the deduplicator's cursor.",
    )


def _gatherer_id() -> "sa.Column[str]":
    return sa.Column("gatherer_id", sa.Text(), nullable=False, comment="Gatherer that saw it.")


def _connection() -> "sa.Column[str]":
    return sa.Column("connection", sa.Text(), nullable=False, comment="Connection on which it was seen.")


def _capture_gaps() -> None:
    op.create_table(
        "capture_gaps",
        sa.Column("detected_at", TIMESTAMP, nullable=False, comment="When the hole was seen, by the gatherer's clock."),
        _gatherer_id(),
        _connection(),
        sa.Column(
            "sid", sa.BigInteger(), nullable=False, comment="Subscription that missed something; 0 where it had none."
        ),
        sa.Column("channel", sa.Text(), nullable=False, comment="Channel of the subscription."),
        sa.Column(
            "ticker",
            sa.Text(),
            nullable=False,
            comment="Market that missed something; empty for every market of the subscription.",
        ),
        sa.Column("cause", sa.Text(), nullable=False, comment="sequence, disconnected, ended, silent or rejected."),
        sa.Column(
            "expected_seq",
            sa.BigInteger(),
            nullable=False,
            comment="The number that should have come; 0 where no number told.",
        ),
        sa.Column("seen_seq", sa.BigInteger(), nullable=False, comment="The number that came; 0 where no number told."),
        sa.Column("markets", sa.Integer(), nullable=False, comment="How many markets the subscription covered."),
        sa.Column(
            "from_at",
            TIMESTAMP,
            nullable=False,
            comment="Receipt of the last frame before the hole, by the gatherer's clock.",
        ),
        sa.Column(
            "until_at",
            TIMESTAMP,
            nullable=True,
            comment="When the last of its books was whole again, by the gatherer's clock; empty while one is not.",
        ),
        sa.Column(
            "healed_by",
            sa.Text(),
            nullable=True,
            comment="snapshots, reconnect, late frames or unhealed; empty while nobody knows.",
        ),
        _ingest_xid(),
        sa.PrimaryKeyConstraint("detected_at", "connection", "sid", "ticker", "cause", "seen_seq"),
        comment="Holes in what was captured: who missed what, from when until when, and how it was healed.",
    )


def _capture_gaps_0001() -> None:
    op.create_table(
        "capture_gaps",
        sa.Column("detected_at", TIMESTAMP, nullable=False, comment="When the gap was seen, by the gatherer's clock."),
        sa.Column("connection", sa.Text(), nullable=False, comment="Connection on which it was seen."),
        sa.Column("sid", sa.BigInteger(), nullable=False, comment="Subscription whose sequence broke."),
        sa.Column("channel", sa.Text(), nullable=False, comment="Channel of the subscription."),
        sa.Column("expected_seq", sa.BigInteger(), nullable=False, comment="The number that should have come."),
        sa.Column("seen_seq", sa.BigInteger(), nullable=False, comment="The number that came."),
        sa.Column("markets", sa.Integer(), nullable=False, comment="How many markets the subscription covered."),
        _ingest_xid(),
        sa.PrimaryKeyConstraint("detected_at", "connection", "sid", "seen_seq"),
        comment="Holes in a subscription's sequence: which numbers were missed, where, and when it was seen.",
    )


def _capture_sessions() -> None:
    op.create_table(
        "capture_sessions",
        sa.Column(
            "started_at", TIMESTAMP, nullable=False, comment="When the subscription began, by the gatherer's clock."
        ),
        _gatherer_id(),
        _connection(),
        sa.Column("channel", sa.Text(), nullable=False, comment="Channel of the subscription."),
        sa.Column(
            "ticker",
            sa.Text(),
            nullable=False,
            comment="Market listened to; empty on channels that carry every market.",
        ),
        sa.Column("sid", sa.BigInteger(), nullable=False, comment="Subscription id on the connection."),
        sa.Column(
            "ended_at",
            TIMESTAMP,
            nullable=True,
            comment="When it ended, by the gatherer's clock; empty while it lasts.",
        ),
        sa.Column(
            "ended_by",
            sa.Text(),
            nullable=True,
            comment="unsubscribed, disconnected, ended, stopped or process died; empty while it lasts.",
        ),
        _ingest_xid(),
        sa.PrimaryKeyConstraint("started_at", "connection", "channel", "ticker"),
        comment="Who was listening to what, from when until when: completeness as data.",
    )


def _book_differences() -> None:
    op.create_table(
        "book_differences",
        sa.Column(
            "compared_at", TIMESTAMP, nullable=False, comment="When the books were compared, by the gatherer's clock."
        ),
        _gatherer_id(),
        sa.Column(
            "connection",
            sa.Text(),
            nullable=False,
            comment="Connection whose book it was; empty where nobody knows.",
        ),
        sa.Column("ticker", sa.Text(), nullable=False, comment="Market ticker, the exchange's name."),
        sa.Column("snapshot_ts", TIMESTAMP, nullable=False, comment="Moment of the exchange's book."),
        sa.Column("levels", sa.Integer(), nullable=False, comment="How many levels differ."),
        sa.Column(
            "size",
            sa.BigInteger(),
            nullable=False,
            comment="Sum of the absolute differences, hundredths of a contract.",
        ),
        sa.Column("detail", sa.Text(), nullable=False, comment="A few of the levels, for people."),
        _ingest_xid(),
        sa.PrimaryKeyConstraint("compared_at", "ticker"),
        comment="Where a book kept from deltas was not the book that the exchange sent; each one is a proof of "
        "something missed.",
    )
