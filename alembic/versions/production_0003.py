"""What gatherers note of their own listening, merged; what disagreed; coverage by hour; the witness of each cursor.

Revision production_0003. Going down drops what is new, rows included; gatherers still have what was merged from them.
Frozen: it says what was released.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from kalshi_platform.database import ddl_coverage_v1

revision: str = "production_0003"
down_revision: str | None = "production_0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TIME = postgresql.TIMESTAMP(timezone=True)
TEXT, INT, BIG, BOOL, JSON = sa.Text(), sa.Integer(), sa.BigInteger(), sa.Boolean(), postgresql.JSONB()
NOW = sa.text("now()")
DEDUP, EXPORT = "kalshi_dedup", "kalshi_export"
TABLES = (
    "capture_gaps",
    "capture_sessions",
    "book_differences",
    "merge_conflicts",
    "coverage_hours",
    "uncovered_intervals",
)


def upgrade() -> None:
    """Make what is new."""
    _capture_gaps()
    _capture_sessions()
    _book_differences()
    _merge_conflicts()
    _coverage()
    op.add_column(
        "sync_cursors",
        _column(
            "witness",
            TEXT,
            "The last batch that was merged: its table, transaction and time; a source that does not have it was "
            "restored, and starts from 0.",
            nullable=True,
        ),
    )
    op.execute(ddl_coverage_v1.COVERAGE)
    op.execute(ddl_coverage_v1.COMMENT_COVERAGE)
    _grant()


def downgrade() -> None:
    """Drop what is new."""
    op.execute(ddl_coverage_v1.DROP_COVERAGE)
    op.drop_column("sync_cursors", "witness")
    for table in reversed(TABLES):
        op.drop_table(table)


def _grant() -> None:
    """Let the deduplicator add rows, fill in what a later version knows, and redo what it has worked out itself."""
    op.execute(f"GRANT SELECT ON {', '.join(TABLES)} TO {DEDUP}, {EXPORT}")
    op.execute(f"GRANT INSERT ON {', '.join(TABLES)} TO {DEDUP}")
    op.execute(f"GRANT UPDATE (until_at, healed_by) ON capture_gaps TO {DEDUP}")
    op.execute(f"GRANT UPDATE (ended_at, ended_by) ON capture_sessions TO {DEDUP}")
    op.execute(f"GRANT UPDATE ON coverage_hours TO {DEDUP}")
    op.execute(f"GRANT DELETE ON uncovered_intervals TO {DEDUP}")


def _column(
    name: str, kind: "TypeEngine[object]", comment: str, *, nullable: bool = False, now: bool = False
) -> "sa.Column[object]":
    return sa.Column(name, kind, nullable=nullable, comment=comment, server_default=NOW if now else None)


def _capture_gaps() -> None:
    op.create_table(
        "capture_gaps",
        _column("detected_at", TIME, "When the hole was seen, by the gatherer's clock."),
        _column("gatherer_id", TEXT, "Gatherer that saw it."),
        _column("connection", TEXT, "Connection on which it was seen."),
        _column("sid", BIG, "Subscription that missed something; 0 where it had none."),
        _column("channel", TEXT, "Channel of the subscription."),
        _column("ticker", TEXT, "Market that missed something; empty for every market of the subscription."),
        _column("cause", TEXT, "sequence, disconnected, ended, silent or rejected."),
        _column("expected_seq", BIG, "The number that should have come; 0 where no number told."),
        _column("seen_seq", BIG, "The number that came; 0 where no number told."),
        _column("markets", INT, "How many markets the subscription covered."),
        _column("from_at", TIME, "Receipt of the last frame before the hole, by the gatherer's clock."),
        _column(
            "until_at",
            TIME,
            "When the last of its books was whole again, by the gatherer's clock; empty while one is not.",
            nullable=True,
        ),
        _column(
            "healed_by",
            TEXT,
            "snapshots, reconnect, late frames or unhealed; empty while nobody knows.",
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("detected_at", "gatherer_id", "connection", "sid", "ticker", "cause", "seen_seq"),
        comment="Holes in what was captured: who missed what, from when until when, and how it was healed.",
    )


def _capture_sessions() -> None:
    op.create_table(
        "capture_sessions",
        _column("started_at", TIME, "When the subscription began, by the gatherer's clock."),
        _column("gatherer_id", TEXT, "Gatherer that saw it."),
        _column("connection", TEXT, "Connection on which it was seen."),
        _column("channel", TEXT, "Channel of the subscription."),
        _column("ticker", TEXT, "Market listened to; empty on channels that carry every market."),
        _column("sid", BIG, "Subscription id on the connection."),
        _column("ended_at", TIME, "When it ended, by the gatherer's clock; empty while it lasts.", nullable=True),
        _column(
            "ended_by",
            TEXT,
            "unsubscribed, disconnected, ended, stopped or process died; empty while it lasts.",
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("started_at", "gatherer_id", "connection", "channel", "ticker"),
        comment="Who was listening to what, from when until when: completeness as data.",
    )


def _book_differences() -> None:
    op.create_table(
        "book_differences",
        _column("compared_at", TIME, "When the books were compared, by the gatherer's clock."),
        _column("gatherer_id", TEXT, "Gatherer that saw it."),
        _column("connection", TEXT, "Connection whose book it was; empty where nobody knows."),
        _column("ticker", TEXT, "Market ticker, the exchange's name."),
        _column("snapshot_ts", TIME, "Moment of the exchange's book."),
        _column("levels", INT, "How many levels differ."),
        _column("size", BIG, "Sum of the absolute differences, hundredths of a contract."),
        _column("detail", TEXT, "A few of the levels, for people."),
        sa.PrimaryKeyConstraint("compared_at", "gatherer_id", "ticker"),
        comment="Where a book kept from deltas was not the book that the exchange sent; each one is a proof of "
        "something missed.",
    )


def _merge_conflicts() -> None:
    op.create_table(
        "merge_conflicts",
        _column("table_name", TEXT, "Table of the row."),
        _column("row_key", TEXT, "What both copies are known by, as a JSON list."),
        _column("gatherer_id", TEXT, "Gatherer that brought the copy which was not taken."),
        _column("ticker", TEXT, "Market ticker of the row that stands."),
        _column("kept", JSON, "The row that stands in production."),
        _column("refused", JSON, "The row that came later and says something else."),
        _column("found_at", TIME, "When they met.", now=True),
        sa.PrimaryKeyConstraint("table_name", "row_key", "gatherer_id"),
        comment="Copies of one row that do not agree: one trade id with two contents, two checkpoints of one moment.",
    )


def _coverage() -> None:
    op.create_table(
        "coverage_hours",
        _column("hour", TIME, "Beginning of the hour, UTC."),
        _column("channel", TEXT, "orderbook_delta, trade or ticker."),
        _column("markets", INT, "Markets that somebody should have heard; a whole channel counts as one."),
        _column("uncovered_markets", INT, "Markets among them with an uncovered interval."),
        _column("uncovered_us", BIG, "Length of all uncovered intervals, microseconds."),
        _column("gatherers", TEXT, "Who listened, separated by commas."),
        _column("behind", JSON, "Gatherers not merged to the hour's end, and how far they were; it is redone."),
        _column("is_stale", BOOL, "Whether rows came later that may change it; it is redone."),
        _column("computed_at", TIME, "When it was last computed.", now=True),
        sa.PrimaryKeyConstraint("hour", "channel"),
        comment="How completely each channel was heard in each hour that the watermark has passed.",
    )
    op.create_table(
        "uncovered_intervals",
        _column("hour", TIME, "Beginning of the hour, UTC."),
        _column("channel", TEXT, "orderbook_delta, trade or ticker."),
        _column("ticker", TEXT, "Market; empty for every market of the channel."),
        _column("from_at", TIME, "Where it begins, by the gatherers' clocks."),
        _column("until_at", TIME, "Where it ends, by the gatherers' clocks."),
        sa.PrimaryKeyConstraint("hour", "channel", "ticker", "from_at"),
        comment="When no gatherer heard a market without a gap: what the record may lack, and nobody can give.",
    )
