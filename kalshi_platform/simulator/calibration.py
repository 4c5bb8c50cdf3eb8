"""How real traffic looks, as measured, and the shares that invented traffic is drawn from.

Measured on the nine recorded quarter-hours of one busy market each (KXGOLD15M, production, August 2026: 778,646 deltas,
14,276 trades); a test derives every figure again where the recording lies beside the project. Kept out: drawing.
"""

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple


class Range(NamedTuple):
    """The least and the most that any of the nine windows showed."""

    least: float
    most: float


DELTAS_PER_MS = (0.5187, 0.3535, 0.0664, 0.0415, 0.0098, 0.0066, 0.0017, 0.0010, 0.0004, 0.0002)
"""Of the milliseconds in which a market changed: the share with 1, 2, … 10 changes. The most were 29."""

TRADES_PER_MS = (0.6215, 0.1827, 0.0856, 0.0420, 0.0243, 0.0124, 0.0096, 0.0065, 0.0043, 0.0023)
"""Of the milliseconds in which a market traded: the share with 1, 2, … 10 trades. The most were 29."""

TRADES_PER_DELTA = 0.0183
FRACTIONAL_DELTAS = 0.1208
FRACTIONAL_TRADES = 0.5974
EQUAL_DELTAS = 0.0021
"""Deltas that another of their millisecond equals in side, price and size, the first of each not counted."""
DELTAS_IN_COMPANY = 0.6963
"""Deltas that share market and millisecond with another."""
COUPLED_TRADES = 1.0
"""Trades with a delta of their millisecond, on the maker's side, of minus their count."""

MEAN_A_SECOND = Range(38.6, 221.2)
"""Deltas a second of one market, whole seconds of exchange time, silent ones included."""
P50_OVER_MEAN = Range(0.34, 0.80)
P99_OVER_MEAN = Range(3.78, 8.04)
PEAK_OVER_MEAN = Range(4.66, 12.37)

SWING_SIGMA = 0.9
"""Standard deviation of the logarithm of a market's activity from second to second, fitted to the three above."""
SWING_MEMORY = 0.6
"""How much of one second's activity the next one keeps; windows showed 0.22 to 0.77."""


class Lengths:
    """Draws 1, 2, 3, … by their shares.

    Args:
        shares: Of each length from 1 on; what is missing to a whole goes to the longest.
    """

    def __init__(self, shares: tuple[float, ...]) -> None:
        self._cumulative = tuple(accumulate(shares))

    def draw(self, chance: float) -> int:
        """The length that a number in 0..1 falls on."""
        return min(bisect_right(self._cumulative, chance), len(self._cumulative) - 1) + 1
