"""Which market is next: a seeded choice in which few markets take most of the traffic.

Knows weights and nothing of books or messages.
"""

from bisect import bisect_right
from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")

_REBUILD_SHARE = 0.25


class Activity(Generic[T]):
    """A weighted lottery over things that come and go; the weights follow a Zipf law of rank."""

    def __init__(self, random: Random, skew: float) -> None:
        self._random = random
        self._skew = skew
        self._members: list[T] = []
        self._weights: list[float] = []
        self._cumulative: list[float] = []
        self._retired: set[int] = set()

    def __len__(self) -> int:
        return len(self._members) - len(self._retired)

    @property
    def spread(self) -> float:
        """Among how many equal members the traffic might as well be shared."""
        total = sum(self._weights)
        return total * total / sum(weight * weight for weight in self._weights) if self._weights else 1.0

    def join(self, member: T, rank: int | None = None) -> None:
        """Add a member; without a rank it takes one at random, more often a busy one than not."""
        if rank is None:
            rank = int(self._random.random() ** 2 * len(self._members))
        weight = 1.0 / (rank + 1) ** self._skew
        self._members.append(member)
        self._weights.append(weight)
        self._cumulative.append((self._cumulative[-1] if self._cumulative else 0.0) + weight)

    def pick(self, is_gone: Callable[[T], bool] | None = None) -> T:
        """Draw by weight; members that turn out to be gone are taken out on the way.

        Raises:
            IndexError: nobody is left.
        """
        while True:
            position = self._pick_position()
            member = self._members[position]
            if is_gone is None or not is_gone(member):
                return member
            self._retire(position)

    def retire_any(self) -> T:
        """Take somebody out, everyone being equally likely, and return who it was.

        Raises:
            IndexError: nobody is left.
        """
        if not len(self):
            raise IndexError("nobody is left to retire")
        position = int(self._random.random() * len(self._members))
        while position in self._retired:
            position = int(self._random.random() * len(self._members))
        member = self._members[position]
        self._retire(position)
        return member

    def _retire(self, position: int) -> None:
        self._retired.add(position)
        if len(self._retired) > _REBUILD_SHARE * len(self._members):
            self._rebuild()

    def _pick_position(self) -> int:
        if not len(self):
            raise IndexError("nobody is left to pick")
        while True:
            draw = self._random.random() * self._cumulative[-1]
            position = min(bisect_right(self._cumulative, draw), len(self._members) - 1)
            if position not in self._retired:
                return position

    def _rebuild(self) -> None:
        """Forget the retired, so that a draw never has to be repeated often."""
        kept = [n for n in range(len(self._members)) if n not in self._retired]
        self._members = [self._members[n] for n in kept]
        self._weights = [self._weights[n] for n in kept]
        self._cumulative, total = [], 0.0
        for weight in self._weights:
            total += weight
            self._cumulative.append(total)
        self._retired.clear()
