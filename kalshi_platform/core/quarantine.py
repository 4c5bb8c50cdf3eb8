"""What is kept of rejected frames, and how they are counted.

Every rejected frame is counted; each is kept whole, except that of an unknown type only the first few are, because a
new channel of the exchange would otherwise fill the disk. Kept out: where rejected frames are stored.
"""

from collections import Counter

from kalshi_platform.core.errors import FrameRejected, Reason

KEPT_OF_A_TYPE = 10
"""Frames of one unknown type that are kept."""

_TYPES_COUNTED = 1000


class Quarantine:
    """Counts rejected frames and says which are to be kept.

    Attributes:
        counts: Frames rejected so far, by reason.
    """

    def __init__(self) -> None:
        self.counts: Counter[Reason] = Counter()
        self._kept: Counter[str] = Counter()

    def admit(self, rejection: FrameRejected) -> bool:
        """Count one rejection; true where the frame is to be kept."""
        self.counts[rejection.reason] += 1
        if rejection.reason is not Reason.UNKNOWN_TYPE:
            return True
        if len(self._kept) >= _TYPES_COUNTED and rejection.detail not in self._kept:
            return False
        self._kept[rejection.detail] += 1
        return self._kept[rejection.detail] <= KEPT_OF_A_TYPE
