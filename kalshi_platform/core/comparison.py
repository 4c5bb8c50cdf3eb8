"""Two pictures of one book, level by level.

Pure. Kept out: where the pictures come from, and whether they show the same moment.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.units import contracts_from_size, dollars_from_price

_LEVELS_TOLD = 5


class Difference(NamedTuple):
    """How two books differ.

    Attributes:
        levels: Prices of either side whose sizes differ.
        size: Sum of the absolute differences, hundredths of a contract.
        detail: Some of them, to be read by people.
    """

    levels: int
    size: int
    detail: str


def compare(ours: OrderBook, theirs: OrderBook) -> Difference | None:
    """Where two books differ; None where they are equal.

    Args:
        ours: The book that was kept.
        theirs: The book that was sent.
    """
    if ours.yes == theirs.yes and ours.no == theirs.no:
        return None
    found = [
        *(("yes", *level) for level in _differing(ours.yes, theirs.yes)),
        *(("no", *level) for level in _differing(ours.no, theirs.no)),
    ]
    told = [
        f"{side} {dollars_from_price(price)}: {contracts_from_size(mine)} kept, {contracts_from_size(other)} sent"
        for side, price, mine, other in islice(found, _LEVELS_TOLD)
    ]
    if len(found) > _LEVELS_TOLD:
        told.append(f"and {len(found) - _LEVELS_TOLD} more")
    return Difference(len(found), sum(abs(mine - other) for _, _, mine, other in found), "; ".join(told))


def _differing(ours: Mapping[int, int], theirs: Mapping[int, int]) -> Iterator[tuple[int, int, int]]:
    """Price, our size, their size, from the best price down."""
    for price in sorted(ours.keys() | theirs.keys(), reverse=True):
        mine, other = ours.get(price, 0), theirs.get(price, 0)
        if mine != other:
            yield price, mine, other
