"""Order books."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_platform.core.book import NegativeLevel, OrderBook
from kalshi_platform.core.units import DOLLAR

_CHANGES = st.lists(st.tuples(st.booleans(), st.integers(1, 999), st.integers(-500, 500)), max_size=200)


@given(_CHANGES)
def test_a_book_is_the_sum_of_its_changes(changes: list[tuple[bool, int, int]]) -> None:
    """Levels add up, zero disappears, below zero is refused, and the best is the best."""
    book, sums = OrderBook(), {True: dict[int, int](), False: dict[int, int]()}
    for side, price, delta in changes:
        after = sums[side].get(price, 0) + delta
        if after < 0:
            with pytest.raises(NegativeLevel):
                book.apply(side, price, delta)
            continue
        book.apply(side, price, delta)
        sums[side][price] = after
    yes, no = ({price: size for price, size in sums[side].items() if size} for side in (True, False))
    assert (book.yes, book.no) == (yes, no)
    assert book.best_yes_bid == max(yes, default=None)
    assert book.best_yes_ask == (DOLLAR - max(no) if no else None)


def test_a_crossed_book_shows() -> None:
    """A bid that meets an ask would have been matched."""
    book = OrderBook([(600_000, 100)], [(300_000, 100)])
    assert not book.is_crossed
    book.apply(False, 400_000, 1)
    assert book.is_crossed


def test_levels_of_nothing_are_no_levels() -> None:
    """A snapshot's empty level is not kept."""
    assert OrderBook([(600_000, 0)]).best_yes_bid is None
