"""What benchmarks share: arguments, interleaved rounds and the median of their ratios. Absolute figures are noise."""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

ROUNDS = 5


NEEDS_EXTRA = "it measures against cryptofeed: pip install -e '.[benchmarks]'"


def arguments(what: str | None, **wanted: int | type) -> list[Any]:
    """What the command line says, in order; `--help` says what it takes.

    Args:
        what: The benchmark's docstring.
        wanted: Each argument by its name: the number that it is unless given, or the type of one that must be given.
    """
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in wanted.items():
        if isinstance(usual, int):
            parser.add_argument(name, type=int, nargs="?", default=usual, help=f"{usual:,} unless given")
        else:
            parser.add_argument(name, type=usual)
    return list(vars(parser.parse_args()).values())


def ratio(name: str, ours: Callable[[], int], baseline: Callable[[], int], *, of: str, budget: float) -> bool:
    """Run both in turn, print things per second of the first over the second; true where it is within the budget.

    Args:
        name: What is measured.
        ours: Does some work and returns how many things it did.
        baseline: The same for what it is compared with.
        of: What the baseline is.
        budget: The least ratio that is good enough (design.md §10).
    """
    ratios = [_rate(ours) / _rate(baseline) for _ in range(ROUNDS)]
    result = median(ratios)
    verdict = "ok" if result >= budget else "BELOW"
    spread = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
    sys.stdout.write(f"{name}: {result:.2f} x {of} {spread}, budget {budget}: {verdict}\n")
    return result >= budget


def _rate(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    things = work()
    return things / (time.perf_counter() - start)
