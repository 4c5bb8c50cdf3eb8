"""Backfill jobs: what is to be fetched from the exchange's REST, how far each piece is, what is missing.

Revision production_0005. Going down drops the jobs; the trades that they brought stay. Frozen: it says what was
released.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

revision: str = "production_0005"
down_revision: str | None = "production_0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TIME = postgresql.TIMESTAMP(timezone=True)
TEXT, INT, BIG, JSON = sa.Text(), sa.Integer(), sa.BigInteger(), postgresql.JSONB()
NOW = sa.text("now()")
DEDUP, EXPORT = "kalshi_dedup", "kalshi_export"
TABLES = ("backfill_jobs", "backfill_chunks")


def upgrade() -> None:
    """Make the tables of jobs and their pieces."""
    _jobs()
    _chunks()
    op.execute(f"GRANT SELECT ON {', '.join(TABLES)} TO {DEDUP}, {EXPORT}")
    op.execute(f"GRANT INSERT, UPDATE ON {', '.join(TABLES)} TO {DEDUP}")


def downgrade() -> None:
    """Drop them."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _column(
    name: str, kind: "TypeEngine[object]", comment: str, *, nullable: bool = False, now: bool = False
) -> "sa.Column[object]":
    return sa.Column(name, kind, nullable=nullable, comment=comment, server_default=NOW if now else None)


def _jobs() -> None:
    op.create_table(
        "backfill_jobs",
        _column("job_id", TEXT, "Hash of the request."),
        _column("request", JSON, "Markets and range as they were asked for."),
        _column("created_at", TIME, "When it was first asked for.", now=True),
        _column(
            "planned_until",
            TIME,
            "The chunks of the range up to here are in backfill_chunks; empty while none is.",
            nullable=True,
        ),
        _column(
            "finished_at",
            TIME,
            "When nothing was left to fetch and nothing was missing; empty while something is.",
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("job_id"),
        comment="What was asked to be fetched from the exchange's REST; the same request is the same job.",
    )


def _chunks() -> None:
    op.create_table(
        "backfill_chunks",
        _column("job_id", TEXT, "Job that it is a piece of."),
        _column("ticker", TEXT, "Market; empty for every market of the exchange."),
        _column("start_at", TIME, "First second of the piece."),
        _column("end_at", TIME, "Second behind its last."),
        _column("left_until", TIME, "What is left to fetch lies between start_at and here."),
        _column("attempts", INT, "How often it was queued; more than once where a day was incomplete."),
        _column("inserted", BIG, "Trades that production did not have."),
        _column("known", BIG, "Trades that it had already."),
        _column("conflicts", BIG, "Trades that it had with another content; see merge_conflicts."),
        _column("first_at", TIME, "Earliest trade that came.", nullable=True),
        _column("last_at", TIME, "Latest trade that came.", nullable=True),
        _column(
            "expected",
            BIG,
            "Contracts in the exchange's candles of a day of which something is missing, hundredths; else empty.",
            nullable=True,
        ),
        _column(
            "found",
            BIG,
            "Contracts that production held of that day when they were compared, hundredths; else empty.",
            nullable=True,
        ),
        _column("updated_at", TIME, "When it last moved.", now=True),
        sa.PrimaryKeyConstraint("job_id", "ticker", "start_at"),
        comment="The pieces of a job, each one market and a month at the most, and how far they are fetched.",
    )
