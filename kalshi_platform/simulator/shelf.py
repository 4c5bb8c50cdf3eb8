"""Long lists whose founding members are worked out when asked for instead of being kept.

A million markets cost nothing until somebody looks at them. A member's place in the order never changes, which is what
pages of REST rely on. What the members are is `catalogue`'s business.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class Shelf(Sequence[T]):
    """Things in the order of listing: the founders by arithmetic, after them those who came later."""

    def __init__(self, founders: int, make: Callable[[int], T]) -> None:
        self._founders = founders
        self._make = make
        self._later: list[T] = []

    def append(self, member: T) -> int:
        """List one more; returns its place."""
        self._later.append(member)
        return len(self) - 1

    def __len__(self) -> int:
        return self._founders + len(self._later)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._make(place) if place < self._founders else self._later[place - self._founders]


class ByTicker(Mapping[str, T]):
    """Members of a shelf by name, in its order.

    Args:
        shelf: The members.
        place_of: The place of a founder with this name, None if there is none.
        ticker_at: The name of the founder at a place.
    """

    def __init__(
        self, shelf: Shelf[T], founders: int, place_of: Callable[[str], int | None], ticker_at: Callable[[int], str]
    ) -> None:
        self._shelf = shelf
        self._founders = founders
        self._place_of = place_of
        self._ticker_at = ticker_at
        self._later: dict[str, int] = {}

    def append(self, ticker: str, member: T) -> None:
        """List one more under its name."""
        self._later[ticker] = self._shelf.append(member)

    def place(self, ticker: str) -> int | None:
        """Where a name stands in the order; None if nobody has it."""
        place = self._place_of(ticker)
        return self._later.get(ticker) if place is None else place

    def __getitem__(self, ticker: str) -> T:
        place = self.place(ticker)
        if place is None:
            raise KeyError(ticker)
        return self._shelf[place]

    def __contains__(self, ticker: object) -> bool:
        return isinstance(ticker, str) and self.place(ticker) is not None

    def __iter__(self) -> Iterator[str]:
        yield from map(self._ticker_at, range(self._founders))
        yield from self._later

    def __len__(self) -> int:
        return self._founders + len(self._later)
