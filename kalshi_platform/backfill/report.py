"""What a backfill tells: how far it is while it runs, and what it did in the end. Kept out: how it is shown."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: `planning`, `fetching` or `checking`.
        done: Chunks that are fetched, or markets that are planned or checked.
        total: How many there are; 0 while nobody knows.
        trades: Trades that came in this run.
        inserted: Trades among them that production did not have.
        seconds: Since the run began.
        trouble: What the exchange does just now, and when it is asked again; usually empty.
    """

    stage: str
    done: int
    total: int
    trades: int
    inserted: int
    seconds: float
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """A market's day of which production holds less than the exchange's candles say; hundredths of a contract."""

    ticker: str
    day: date
    expected: int
    found: int


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What became of a job.

    Attributes:
        job_id: The job; rows of `backfill_jobs` and `backfill_chunks`.
        markets: Markets of which something was fetched, over all runs of the job; 0 where it was of all at once.
        chunks: Pieces of the job.
        inserted: Trades that production did not have, over all runs of the job.
        known: Trades that came and that it had.
        conflicts: Trades that it had with another content; both are in `merge_conflicts`.
        rejected: Trades of this run that could not be used.
        first_at: Earliest trade that came; None where none did.
        last_at: Latest trade that came.
        checked: Days of a market that were compared with candles in this run.
        gaps: Days among them of which something is missing still; the next run fetches them again.
        unchecked: Markets whose candles the exchange does not give.
        surplus: Days of which production holds more than the candles say.
        fetched_until: Up to when the job is fetched; before the request's end where that lay ahead.
        seconds: Duration of this run.
    """

    job_id: str
    markets: int
    chunks: int
    inserted: int
    known: int
    conflicts: int
    rejected: int
    first_at: datetime | None
    last_at: datetime | None
    checked: int
    gaps: tuple[Gap, ...]
    unchecked: int
    surplus: int
    fetched_until: datetime
    seconds: float

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, as far as the exchange's candles tell."""
        return not self.gaps
