"""One market as one subscription shows it: its book, since when it is certain, and what its checkpoints wait for.

Kept out: what changes it (capture, usual_changes).
"""

from dataclasses import dataclass

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.occurrences import Occurrences


@dataclass(slots=True)
class CaptureCounts:
    """What went wrong or right in one capture, for metrics and verdicts."""

    negative_levels: int = 0
    crossed_books: int = 0
    late_deltas: int = 0
    clock_regressions: int = 0
    checkpoints: int = 0


class MarketBook:
    """One market's book on one subscription, and when it last was certain.

    Attributes:
        valid_from: Millisecond from which the book is known; None while it cannot be trusted.
        due: Millisecond at which the next checkpoint stands out, before which all changes of the book are stamped; None
            where nothing changed since the last.
        emitted: Boundary of the last checkpoint.
        is_leaving: Whether to forget the market once its last checkpoint stands.
    """

    __slots__ = ("book", "due", "emitted", "is_leaving", "occurrences", "valid_from")

    def __init__(self) -> None:
        self.is_leaving = False
        self.book = OrderBook()
        self.valid_from: int | None = None
        self.due: int | None = None
        self.emitted = 0
        self.occurrences = Occurrences()
