"""Which connection follows which market: a stable hash, room for all, and moves where the spread has become uneven.

Pure. Kept out: connections themselves, which are places 0, 1, 2 … here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

UNEVEN = 1.25
"""A place with so many times the mean gives some away; below that, moving costs more than it brings."""

MOST_MOVES = 500


@dataclass(frozen=True, slots=True)
class Move:
    """A market that changes its place."""

    ticker: str
    old: int
    new: int


class Placement:
    """Where each market is followed. A restart changes nothing: a ticker's hash names its place, if that has room.

    Args:
        places: How many there are.
        most: Markets in one place at the most.
    """

    def __init__(self, places: int, most: int) -> None:
        self._home: dict[str, int] = {}
        self._counts = [0] * places
        self._limits = [most] * places
        self._most = most

    def __len__(self) -> int:
        return len(self._home)

    @property
    def counts(self) -> Sequence[int]:
        """Markets in each place."""
        return self._counts

    @property
    def tickers(self) -> Iterable[str]:
        """Every market that has a place, in the order in which they got one."""
        return self._home.keys()

    @property
    def room(self) -> int:
        """Markets for which there is a place yet."""
        return sum(max(0, most - count) for count, most in zip(self._counts, self._limits, strict=True))

    def add_place(self) -> None:
        """There is one place more; nobody moves for it."""
        self._counts.append(0)
        self._limits.append(self._most)

    def home(self, ticker: str) -> int | None:
        """A market's place; None where it has none."""
        return self._home.get(ticker)

    def place(self, tickers: Iterable[str]) -> tuple[dict[int, list[str]], list[str]]:
        """Find room for markets that have none; returns what each place gets, and those without room."""
        shares: dict[int, list[str]] = {}
        homeless: list[str] = []
        room = self.room
        for ticker in tickers:
            if ticker in self._home:
                continue
            place = self._choose(ticker) if room else None  # looking in vain takes a while, and may be for many
            if place is None:
                homeless.append(ticker)
                continue
            room -= 1
            self._settle(ticker, place)
            shares.setdefault(place, []).append(ticker)
        return shares, homeless

    def remove(self, ticker: str) -> int | None:
        """Give a market up; returns where it was."""
        place = self._home.pop(ticker, None)
        if place is not None:
            self._counts[place] -= 1
        return place

    def crowd_out(self, place: int, tickers: Iterable[str]) -> tuple[dict[int, list[str]], list[str]]:
        """The exchange will not have these in this place, nor any more than are left there; returned as by `place`."""
        moving = [ticker for ticker in tickers if self._home.get(ticker) == place]
        for ticker in moving:
            self.remove(ticker)
        self._limits[place] = max(1, self._counts[place])
        return self.place(moving)

    def even_out(self) -> list[Move]:
        """Moves from places with far more markets than the mean to the emptiest; the markets have moved already."""
        fair = len(self._home) / len(self._counts)
        surplus = {place: count - round(fair) for place, count in enumerate(self._counts) if count > UNEVEN * fair + 1}
        moving = [ticker for ticker, place in self._home.items() if place in surplus] if surplus else []
        moves: list[Move] = []
        for ticker in reversed(moving):  # the latest, which are the least active
            old = self._home[ticker]
            if surplus[old] <= 0 or len(moves) == MOST_MOVES:
                continue
            new = min(range(len(self._counts)), key=self._counts.__getitem__)
            if self._counts[new] >= min(fair, self._limits[new]):
                break
            surplus[old] -= 1
            self.remove(ticker)
            self._settle(ticker, new)
            moves.append(Move(ticker, old, new))
        return moves

    def _settle(self, ticker: str, place: int) -> None:
        self._home[ticker] = place
        self._counts[place] += 1

    def _choose(self, ticker: str) -> int | None:
        """The place that the ticker's hash picks, or the next one with room."""
        places = len(self._counts)
        first = int.from_bytes(blake2b(ticker.encode(), digest_size=8).digest(), "big") % places
        steps = ((first + step) % places for step in range(places))
        return next((place for place in steps if self._counts[place] < self._limits[place]), None)
