"""The sequence of one subscription.

`seq` is shared by all markets of a subscription and counts acknowledgements too (kalshi-protocol.md §3.6, facts 3-5),
so every frame of the subscription that carries one must pass through here. Kept out: what a gap means for books.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SequenceBreak:
    """A number that was not the next one: frames were lost, repeated or reordered."""

    expected: int
    seen: int


class SequenceCounter:
    """Counts one subscription's frames; a new subscription starts at 1 (fact 4)."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 1

    def observe(self, seq: int) -> SequenceBreak | None:
        """Take the next frame's number; whatever came, counting goes on behind the highest number seen."""
        expected = self._next
        self._next = max(seq + 1, expected)
        return None if seq == expected else SequenceBreak(expected, seq)
