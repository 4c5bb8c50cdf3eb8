"""The sequence of one subscription: which numbers came, which are missing, which came twice.

`seq` is shared by all markets of a subscription and counts acknowledgements too (kalshi-protocol.md §3.6, facts 3-5),
so every frame of the subscription that carries one must pass through here. Kept out: what a gap means for books.
"""

from dataclasses import dataclass
from enum import Enum, auto

MOST_HOLES = 1024
"""Holes that are remembered; where there are more, the oldest is given up."""

RUN = 8
"""Numbers in a row that, coming from a hole's bottom, prove that the number which opened the hole was wrong."""


class Place(Enum):
    """Where a frame stands in its sequence."""

    NEXT = auto()
    """The number that was due."""
    AHEAD = auto()
    """Numbers before it are missing."""
    LATE = auto()
    """A number that was missing: this frame has not been seen."""
    REPEATED = auto()
    """A number that has passed already."""
    BEHIND = auto()
    """A number that was missing, in a run which shows that counting had jumped ahead by mistake."""


@dataclass(frozen=True, slots=True)
class SequenceBreak:
    """A number that was not the next one: frames were lost, repeated or reordered."""

    expected: int
    seen: int


@dataclass(slots=True)
class _Hole:
    first: int
    last: int


class SequenceCounter:
    """Counts one subscription's frames; a new subscription starts at 1 (fact 4)."""

    __slots__ = ("_has_given_up", "_holes", "_next", "_run")

    def __init__(self) -> None:
        self._next = 1
        self._holes: list[_Hole] = []
        self._has_given_up = False
        self._run = 0

    @property
    def expected(self) -> int:
        """The number that is due."""
        return self._next

    @property
    def has_holes(self) -> bool:
        """Whether numbers were passed over that may still come."""
        return bool(self._holes)

    @property
    def is_whole(self) -> bool:
        """Whether every number up to the highest has come."""
        return not self._holes and not self._has_given_up

    def advance(self, numbers: int = 1) -> None:
        """So many numbers came, the due one first and none left out."""
        self._next += numbers
        self._run = 0

    def observe(self, seq: int) -> Place:
        """Take the next frame's number; counting goes on behind the highest number seen."""
        if seq == self._next:
            self.advance()
            return Place.NEXT
        if seq > self._next:
            self._remember([*self._holes, _Hole(self._next, seq - 1)])
            self._next = seq + 1
            self._run = 0
            return Place.AHEAD
        return self._fill(seq)

    def _fill(self, seq: int) -> Place:
        for index in range(len(self._holes) - 1, -1, -1):
            hole = self._holes[index]
            if hole.first <= seq <= hole.last:
                return self._take(index, hole, seq)
        return Place.REPEATED

    def _take(self, index: int, hole: _Hole, seq: int) -> Place:
        is_last = index == len(self._holes) - 1
        self._run = self._run + 1 if is_last and seq == hole.first else 0
        rest = [_Hole(first, last) for first, last in ((hole.first, seq - 1), (seq + 1, hole.last)) if first <= last]
        self._remember([*self._holes[:index], *rest, *self._holes[index + 1 :]])
        only_one_above = hole.last + 2 == self._next
        if self._run < RUN or not rest or not only_one_above:
            return Place.LATE
        self._holes.pop()
        self._next = seq + 1
        self._run = 0
        return Place.BEHIND

    def _remember(self, holes: list[_Hole]) -> None:
        self._holes = holes[-MOST_HOLES:]
        self._has_given_up |= len(holes) > MOST_HOLES
