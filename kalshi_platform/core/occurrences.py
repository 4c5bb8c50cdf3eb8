"""Numbers for equal things within one millisecond: what makes two equal changes two (design §3).

Kept out: what is counted.
"""

from collections import OrderedDict

_Older = OrderedDict[int, tuple[int, dict[tuple[object, ...], int]]]
"""Position and counts of milliseconds before the newest."""


_MANY = 1_000
"""Whenever so many more milliseconds are remembered, each is looked at, not only those in front."""


class Occurrences:
    """How many equal things one stream has shown in a millisecond of one market.

    Within a market the exchange's time never decreases (2,144,497 of 2,144,497 deltas of the recorded tape), so one
    millisecond's counts are enough, except while frames are awaited that fill a hole: then those since the hole are
    remembered, for a late frame must not take a number that is taken.
    """

    __slots__ = ("_counts", "_older", "_only", "ms", "position")

    def __init__(self) -> None:
        self.ms = 0
        self.position = -1
        self._only: tuple[object, ...] | None = None  # while a millisecond has shown one thing once, as most do
        self._counts: dict[tuple[object, ...], int] = {}
        self._older: _Older | None = None

    def count(self, ms: int, content: tuple[object, ...], remember_from: int | None = None) -> int:
        """The occurrence of `content` at `ms`, from 0; moves `position`, its index within the millisecond.

        Args:
            ms: The exchange's time.
            content: What is counted.
            remember_from: Milliseconds that are remembered; None for none before the newest.
        """
        if ms != self.ms:
            if ms > self.ms and self._older is None and (remember_from is None or self.ms < remember_from):
                self._begin(ms, content)
                return 0
            self._turn_to(ms, remember_from)
        self.position += 1
        if not self.position:
            self._only = content
            return 0
        self._spread_out()
        seen = self._counts.get(content, -1) + 1
        self._counts[content] = seen
        return seen

    def _begin(self, ms: int, content: tuple[object, ...]) -> None:
        """A millisecond begins, and none before it is remembered."""
        self.ms = ms
        self.position = 0
        self._only = content
        if self._counts:
            self._counts.clear()

    def _spread_out(self) -> None:
        """Move what was the only one to the counts."""
        if self._only is not None:
            self._counts[self._only] = 0
            self._only = None

    def _turn_to(self, ms: int, remember_from: int | None) -> None:
        self._spread_out()
        older = OrderedDict() if self._older is None else self._older
        older[self.ms] = (self.position, self._counts)
        self.position, self._counts = older.pop(ms, (-1, {}))
        self.ms = ms
        self._older = _remembered(older, ms, remember_from)


def _remembered(older: _Older, ms: int, remember_from: int | None) -> _Older | None:
    """What is still wanted; they stand nearly in order, and one that stands too late is kept a little longer."""
    if remember_from is None:
        newest = max(ms, *older)
        return None if newest == ms else OrderedDict({newest: older[newest]})
    while older and next(iter(older)) < remember_from:
        older.popitem(last=False)
    if len(older) % _MANY == 0:  # something far ahead may stand in front
        older = OrderedDict((at, kept) for at, kept in older.items() if at >= remember_from)
    return older or None
