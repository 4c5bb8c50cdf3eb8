"""One market's order book: two sides of resting bids that can neither go negative nor cross.

The book refuses what an exchange could never do, so that a fault in the order flow stops the run instead of being
published. Prices and sizes are the integers of `prices`; who trades why is `order_flow`'s business.
"""

from typing import Literal

from kalshi_platform.simulator.prices import DOLLAR

Side = Literal["yes", "no"]
OPPOSITE: dict[Side, Side] = {"yes": "no", "no": "yes"}


class ImpossibleBookError(Exception):
    """A change that would leave a negative level or a crossed book."""


class Book:
    """Resting size by price, for each side, with the best price at hand."""

    __slots__ = ("best", "levels")

    def __init__(self) -> None:
        self.levels: dict[Side, dict[int, int]] = {"yes": {}, "no": {}}
        self.best: dict[Side, int] = {"yes": 0, "no": 0}

    def apply(self, side: Side, price: int, change: int) -> None:
        """Add `change` to one level; a level that reaches nothing disappears.

        Raises:
            ImpossibleBookError: the level would go negative, or the book would cross; nothing was changed.
        """
        levels = self.levels[side]
        size = levels.get(price, 0) + change
        if size < 0:
            raise ImpossibleBookError(f"{side} {price} would hold {size}")
        if size and price + self.best[OPPOSITE[side]] >= DOLLAR:
            raise ImpossibleBookError(f"{side} {price} would cross {self.best[OPPOSITE[side]]}")
        if size:
            levels[price] = size
            self.best[side] = max(price, self.best[side])
        else:
            levels.pop(price, None)
            self._level_left(side, price)

    def _level_left(self, side: Side, price: int) -> None:
        if price == self.best[side]:
            self.best[side] = max(self.levels[side], default=0)

    def best_size(self, side: Side) -> int:
        """Size at the best price of a side; nothing on an empty one."""
        return self.levels[side].get(self.best[side], 0)

    def ladder(self, side: Side) -> list[tuple[int, int]]:
        """Levels of one side, ascending by price: the best stands last, as the exchange sends them."""
        return sorted(self.levels[side].items())

    def clear(self) -> None:
        """Cancel every resting order, as happens when a market closes."""
        for side in self.levels:
            self.levels[side].clear()
            self.best[side] = 0
