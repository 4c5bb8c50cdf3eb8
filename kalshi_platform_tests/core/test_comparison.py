"""Books level by level."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.comparison import Difference, compare

LEVELS = st.dictionaries(st.integers(1, 999).map(lambda tick: tick * 1000), st.integers(1, 10**6), max_size=12)


def book(yes: dict[int, int], no: dict[int, int]) -> OrderBook:
    """A book of such levels."""
    return OrderBook(yes.items(), no.items())


@settings(derandomize=True, deadline=None)
@given(LEVELS, LEVELS, LEVELS, LEVELS)
def test_applying_the_difference_makes_them_equal(
    yes: dict[int, int], no: dict[int, int], other_yes: dict[int, int], other_no: dict[int, int]
) -> None:
    """As many changes as levels, as much in all as size, and nothing else differs; either way round it is as much."""
    ours, theirs = book(yes, no), book(other_yes, other_no)
    found, back = compare(ours, theirs), compare(theirs, ours)
    changes = [
        (side, price, there.get(price, 0) - here.get(price, 0))
        for side, here, there in ((True, yes, other_yes), (False, no, other_no))
        for price in here.keys() | there.keys()
        if here.get(price, 0) != there.get(price, 0)
    ]
    assert (found is None) is (not changes) is (back is None)
    if found and back:
        assert (found.levels, found.size) == (len(changes), sum(abs(one) for _, _, one in changes))
        assert back[:2] == found[:2]
    for change in changes:
        ours.apply(*change)
    assert compare(ours, theirs) is None


@settings(derandomize=True, deadline=None)
@given(LEVELS, LEVELS, st.booleans(), st.integers(1, 999), st.integers(1, 10**6))
def test_one_corrupt_level_is_one_difference(
    yes: dict[int, int], no: dict[int, int], side: bool, tick: int, size: int
) -> None:
    """Found with its exact size, whichever side and price."""
    corrupt = book(yes, no)
    corrupt.apply(side, tick * 1000, size)
    found = compare(corrupt, book(yes, no))
    assert found is not None
    assert found[:2] == (1, size)


def test_people_can_read_it() -> None:
    """The best levels first, a few of them, in dollars and contracts."""
    ours = book({560000: 1250, 550000: 100}, {})
    assert compare(ours, book({560000: 1000, 540000: 5}, {430000: 700})) == Difference(
        4, 250 + 100 + 5 + 700,
        "yes 0.5600: 12.50 kept, 10.00 sent; yes 0.5500: 1.00 kept, 0.00 sent; yes 0.5400: 0.00 kept, 0.05 sent; "
        "no 0.4300: 0.00 kept, 7.00 sent",
    )  # fmt: skip
    many = compare(book({}, {}), book({price * 1000: 100 for price in range(1, 9)}, {}))
    assert many is not None
    assert many.detail.endswith("; and 3 more")
