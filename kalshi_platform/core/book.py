"""One market's order book: two sides of bids, in integers.

A dict per side with its best price tracked: measured at 1.06 kB a deci-cent book and 2.9 times the speed of
cryptofeed's C book (ecosystem.md part 3, 5a). Kept out: time, sequence, and whether the book can be trusted.
"""

from collections.abc import Iterable, Mapping

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.units import DOLLAR, contracts_from_size, dollars_from_price

_NOBODY = -1
"""Best price of an empty side: below every other, so that comparing needs no case of its own."""


class NegativeLevel(IntegrityError):  # noqa: N818 - reads as a sentence where it is caught
    """A delta took more from a level than it held: a change was missed before it."""


class OrderBook:
    """Resting bids of one market; the ask of one side is a dollar less the best bid of the other."""

    __slots__ = ("_best_no", "_best_yes", "_no", "_yes")

    def __init__(self, yes: Iterable[tuple[int, int]] = (), no: Iterable[tuple[int, int]] = ()) -> None:
        self._yes = {price: size for price, size in yes if size}
        self._no = {price: size for price, size in no if size}
        self._best_yes = max(self._yes, default=_NOBODY)
        self._best_no = max(self._no, default=_NOBODY)

    @property
    def yes(self) -> Mapping[int, int]:
        """Yes bids: price in micro-dollars to size in hundredths of a contract."""
        return self._yes

    @property
    def no(self) -> Mapping[int, int]:
        """No bids: price in micro-dollars to size in hundredths of a contract."""
        return self._no

    @property
    def best_yes_bid(self) -> int | None:
        """Highest yes bid in micro-dollars; None on an empty side."""
        return None if self._best_yes == _NOBODY else self._best_yes

    @property
    def best_yes_ask(self) -> int | None:
        """Lowest price at which a yes can be bought, micro-dollars; None where nobody bids for no."""
        return None if self._best_no == _NOBODY else DOLLAR - self._best_no

    @property
    def is_empty(self) -> bool:
        """Whether nobody bids for anything."""
        return not self._yes and not self._no

    @property
    def is_crossed(self) -> bool:
        """Whether a bid meets an ask, which the exchange would have matched."""
        return self._best_yes + self._best_no >= DOLLAR

    def apply(self, side: bool, price: int, size_delta: int) -> None:
        """Add a signed change to one level (`side` true is yes); a level that reaches zero is gone.

        Raises:
            NegativeLevel: Where the level would hold less than nothing; the book is left as it was.
        """
        levels = self._yes if side else self._no
        size = levels.get(price, 0) + size_delta
        if size > 0:
            levels[price] = size
            if side:
                if price > self._best_yes:
                    self._best_yes = price
            elif price > self._best_no:
                self._best_no = price
        elif size == 0:
            levels.pop(price, None)
            self._lower_best(side, price, levels)
        else:
            raise NegativeLevel(
                f"{'yes' if side else 'no'} level {dollars_from_price(price)} would hold {contracts_from_size(size)}"
            )

    def _lower_best(self, side: bool, price: int, levels: dict[int, int]) -> None:
        if side:
            if price == self._best_yes:
                self._best_yes = max(levels, default=_NOBODY)
        elif price == self._best_no:
            self._best_no = max(levels, default=_NOBODY)
