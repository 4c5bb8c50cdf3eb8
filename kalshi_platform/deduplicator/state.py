"""What a loop last knew, for health, metrics and watermarks.

Kept out: the loop.
"""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Horizon:
    """For how long one transaction has held back what is younger.

    Attributes:
        held_by: The oldest transaction that runs at the gatherer; None where none does.
        since: When it was first seen to be the oldest, seconds since 1970.
    """

    held_by: int | None = None
    since: float = 0.0

    def saw(self, held_by: int | None, now: float) -> None:
        """The gatherer was asked."""
        if held_by != self.held_by:
            self.held_by, self.since = held_by, now

    def age(self, now: float) -> float:
        """Seconds; 0 where nothing is held back."""
        return 0.0 if self.held_by is None else max(0.0, now - self.since)


@dataclass(slots=True)
class SyncState:
    """What a loop last knew.

    Attributes:
        connected: Whether the last attempt succeeded: both databases answer, and what they say agrees.
        watermark: Exchange time up to which all that the gatherer heard is merged.
        last_heard: When that last moved, seconds since 1970; at first when the loop was made.
        is_behind: Whether more is waiting than one merge takes.
        rows_read: Rows read since the start.
        rows_merged: Rows among them that production did not have.
        last_error: Why the last attempt failed; empty after a success.
        own_name: What the gatherer calls itself, where the loop asks for that.
        defect: What does not agree at the gatherer, and stays so until a person acts; empty where all does.
    """

    connected: bool = False
    watermark: datetime | None = None
    last_heard: float = 0.0
    is_behind: bool = False
    rows_read: int = 0
    rows_merged: int = 0
    last_error: str = ""
    own_name: str | None = None
    defect: str = ""
    horizon: Horizon = field(default_factory=Horizon)

    def lag(self, now: float) -> float | None:
        """Seconds between what is merged and now; None where nobody knows."""
        return None if self.watermark is None else max(0.0, now - self.watermark.timestamp())

    def summary(self, now: float, silence: float, patience: float) -> str:
        """The state in a word or two.

        Args:
            now: The time, seconds since 1970.
            silence: Seconds after which nobody waits for the gatherer.
            patience: Seconds after which a held horizon is an alarm.
        """
        if self.defect:
            return "refused: see problems"
        if not self.connected:
            return "gone: nobody waits for it" if now - self.last_heard > silence else "unreachable"
        if self.horizon.age(now) > patience:
            return "held back by a transaction at the gatherer"
        if self.is_behind:
            return "catching up"
        return "silent: nobody waits for it" if now - self.last_heard > silence else "merging"
