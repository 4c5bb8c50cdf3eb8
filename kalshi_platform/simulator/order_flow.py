"""What people do to a book: seeded bursts of orders, cancellations and trades within one millisecond.

A burst is applied to the book while it is made and returned as the facts to publish. Which market it strikes is
`activity`'s choice, who hears of it the exchange's. Lengths and shares are those of recorded traffic (`calibration`).
"""

from math import exp
from random import Random
from statistics import NormalDist
from typing import NamedTuple

from kalshi_platform.simulator.book import OPPOSITE, Book, Side
from kalshi_platform.simulator.calibration import DELTAS_PER_MS, TRADES_PER_MS, Lengths
from kalshi_platform.simulator.prices import DOLLAR, PriceStructure

_SWEEPS = 0.0165
_TWINS = 0.0008
_BLOCKS = 0.001
_MOVES = 0.6
_TARGET_LEVELS = 12
_FRACTIONAL_ORDERS = 0.045
_FRACTIONAL_FILLS = 0.585
_EQUAL_FILLS = 0.05
_TRADE_FIRST = 0.007
_ONE_SIDED_OPENINGS = 0.05

_DELTAS = Lengths(DELTAS_PER_MS)
_FILLS = Lengths(TRADES_PER_MS)

_ORDER_SIZES = tuple(100 * (1 + int(exp(NormalDist(2.5, 1.3).inv_cdf((n + 0.5) / 4096)))) for n in range(4096))
"""Whole order sizes, log-normal; drawn from a table because a book needs two dozen at once."""


class Delta(NamedTuple):
    """One level of one side changed by this much."""

    side: Side
    price: int
    change: int


class Trade(NamedTuple):
    """A taker met a maker; a block trade was agreed elsewhere and touched no book."""

    yes_price: int
    size: int
    taker: Side
    is_block: bool


Fact = Delta | Trade


class OrderFlow:
    """Makes bursts; everything it decides comes from one random source.

    Args:
        random: That source.
        trading: How much more is traded than was recorded.
    """

    def __init__(self, random: Random, trading: float = 1.0) -> None:
        self._random = random
        self._sweeps = _SWEEPS * trading

    def open_book(self, book: Book, structure: PriceStructure) -> None:
        """Fill an empty book around a random value; a few markets have one side only."""
        prices = structure.prices
        middle = 1 + int(self._random.random() * (len(prices) - 2))
        one_sided = self._random.random() < _ONE_SIDED_OPENINGS
        self._open_side(book, "yes", prices[max(0, middle - 1 - _TARGET_LEVELS) : middle])
        if not one_sided:
            best = len(prices) - 1 - middle
            self._open_side(book, "no", prices[max(0, best - _TARGET_LEVELS) : best + 1])

    def _open_side(self, book: Book, side: Side, prices: tuple[int, ...]) -> None:
        for price in prices:
            if self._random.random() < 0.8:
                book.apply(side, price, self._order_size())

    def burst(self, book: Book, structure: PriceStructure) -> list[Fact]:
        """Change a book the way one moment of trading does, and say what happened, in order."""
        chance = self._random.random()
        if chance < _BLOCKS:
            return [self._block_trade(structure)]
        if chance < _BLOCKS + self._sweeps:
            return self._sweep(book) or [self._quote(book, structure)]
        if chance < _BLOCKS + self._sweeps + _TWINS:
            return self._twins(book, structure)
        return self._company(book, structure, _DELTAS.draw(self._random.random()))

    def _company(self, book: Book, structure: PriceStructure, length: int) -> list[Fact]:
        """So many changes: orders that come and go, and pairs in which one order moves to another price."""
        facts: list[Fact] = []
        while len(facts) < length:
            if length - len(facts) >= 2 and self._random.random() < _MOVES:
                facts += self._move(book, structure)
            else:
                facts.append(self._quote(book, structure))
        return facts

    def _move(self, book: Book, structure: PriceStructure) -> list[Fact]:
        """One order taken away and put down somewhere else on its side."""
        side = self._side_with_room(book, structure)
        if not book.levels[side]:
            return [self._quote(book, structure)]
        away = self._cancellation(book, side)
        book.apply(*away)
        back = Delta(side, self._order_price(book, side, structure), -away.change)
        book.apply(*back)
        return [away, back]

    def _quote(self, book: Book, structure: PriceStructure) -> Delta:
        """One order more or less, pulling each side towards its usual number of levels."""
        side = self._side_with_room(book, structure)
        missing = _TARGET_LEVELS - len(book.levels[side])
        wants_more = self._random.random() < 0.5 + 0.04 * missing
        if wants_more or not book.levels[side]:
            delta = Delta(side, self._order_price(book, side, structure), self._order_size())
        else:
            delta = self._cancellation(book, side)
        book.apply(*delta)
        return delta

    def _order_price(self, book: Book, side: Side, structure: PriceStructure) -> int:
        """A price near the best of its side, sometimes better, never one that would trade."""
        prices = structure.prices
        best, limit = book.best[side], DOLLAR - book.best[OPPOSITE[side]]
        if not best:
            return self._price_below(limit, structure)
        position = structure.index[best]
        if self._random.random() < 0.15:
            better = position + 1
            return prices[better] if better < len(prices) and prices[better] < limit else best
        return prices[max(0, position - int(self._random.expovariate(0.35)))]

    def _price_below(self, limit: int, structure: PriceStructure) -> int:
        """A first price for an empty side, a few steps under what the other side would take.

        Grids are symmetric and the opposite best stands on one, so `limit` is a price of the grid; with nobody on the
        other side either, the market starts from the middle.
        """
        nobody_there = limit == DOLLAR
        top = len(structure.prices) // 2 if nobody_there else structure.index[limit]
        return structure.prices[max(0, top - 1 - int(self._random.expovariate(0.3)))]

    def _order_size(self) -> int:
        whole = _ORDER_SIZES[int(self._random.random() * len(_ORDER_SIZES))]
        if self._random.random() < _FRACTIONAL_ORDERS:
            return whole + 1 + int(self._random.random() * 99)
        return whole

    def _cancellation(self, book: Book, side: Side) -> Delta:
        levels = book.levels[side]
        at_best = self._random.random() < 0.3
        price = book.best[side] if at_best else tuple(levels)[int(self._random.random() * len(levels))]
        size = levels[price]
        if self._random.random() < 0.5:
            return Delta(side, price, -size)
        return Delta(side, price, -self._part(size, _FRACTIONAL_ORDERS))

    def _part(self, size: int, fractional_share: float) -> int:
        """Some of a size: whole contracts, or any hundredth in a share of the cases or when less than one is left."""
        if size < 100 or self._random.random() < fractional_share:
            return 1 + int(self._random.random() * size)
        return 100 * (1 + int(self._random.random() * (size // 100)))

    def _twins(self, book: Book, structure: PriceStructure) -> list[Fact]:
        """Several equal orders at one price in one moment: nothing but their sequence tells them apart."""
        side = self._side_with_room(book, structure)
        price = self._order_price(book, side, structure)
        twin = Delta(side, price, self._order_size())
        twins: list[Fact] = [twin] * (2 + int(self._random.random() * 4))
        for _ in twins:
            book.apply(*twin)
        return twins

    def _sweep(self, book: Book) -> list[Fact]:
        """A taker hits the best level of the other side, order after order; nothing if nobody is there."""
        taker = self._side()
        maker = OPPOSITE[taker]
        fills = _FILLS.draw(self._random.random())
        share = book.best_size(maker) // fills
        equal = self._part(share, _FRACTIONAL_FILLS) if share and self._random.random() < _EQUAL_FILLS else 0
        facts: list[Fact] = []
        for _ in range(fills):
            if not book.levels[maker]:
                break
            facts += self._fill(book, taker, equal or self._part(book.best_size(maker), _FRACTIONAL_FILLS))
        return facts

    def _fill(self, book: Book, taker: Side, count: int) -> list[Fact]:
        maker = OPPOSITE[taker]
        price = book.best[maker]
        delta = Delta(maker, price, -count)
        trade = Trade(price if maker == "yes" else DOLLAR - price, count, taker, is_block=False)
        book.apply(*delta)
        return [trade, delta] if self._random.random() < _TRADE_FIRST else [delta, trade]

    def _block_trade(self, structure: PriceStructure) -> Trade:
        prices = structure.prices
        yes_price = prices[int(self._random.random() * len(prices))]
        return Trade(yes_price, 10 * self._order_size(), self._side(), is_block=True)

    def _side(self) -> Side:
        return "yes" if self._random.random() < 0.5 else "no"

    def _side_with_room(self, book: Book, structure: PriceStructure) -> Side:
        """A side on which an order can rest: opposite a bid at the highest price there is, nothing can."""
        side = self._side()
        is_full = not book.levels[side] and book.best[OPPOSITE[side]] >= structure.prices[-1]
        return OPPOSITE[side] if is_full else side
