"""When to try again: the waits between attempts.

Kept out: which errors deserve another attempt; each caller asks that of the error itself.
"""

from collections.abc import Iterator
from random import Random


def backoff(random: Random, first: float = 0.5, factor: float = 2.0, longest: float = 60.0) -> Iterator[float]:
    """Seconds to wait before each next attempt: growing, bounded, and spread so that clients do not march in step.

    Start a new iterator only after live data has come: a socket that merely opens proves nothing
    (kalshi-pitfalls.md 27).
    """
    ceiling = first
    while True:
        yield random.uniform(ceiling / 2, ceiling)
        ceiling = min(ceiling * factor, longest)
