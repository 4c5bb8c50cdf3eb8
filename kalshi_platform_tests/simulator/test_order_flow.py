from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.simulator.book import OPPOSITE, Book
from kalshi_platform.simulator.order_flow import Delta, Fact, OrderFlow, Trade
from kalshi_platform.simulator.prices import DECI_CENT, DOLLAR, LINEAR_CENT, PriceStructure
from kalshi_platform.simulator.prices import STRUCTURES as ALL_STRUCTURES

STRUCTURES = {one.name: one for one in ALL_STRUCTURES}


def live(seed: int, structure: PriceStructure, bursts: int) -> tuple[Book, Book, list[list[Fact]]]:
    """A market's opening book, its last one and what happened in between."""
    flow = OrderFlow(Random(seed))  # noqa: S311 - repeatable
    opening, book = Book(), Book()
    flow.open_book(book, structure)
    for side in ("yes", "no"):
        for price, size in book.levels[side].items():
            opening.apply(side, price, size)
    return opening, book, [flow.burst(book, structure) for _ in range(bursts)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(STRUCTURES)))
def test_published_facts_alone_rebuild_the_book(seed: int, name: str) -> None:
    """Replayed deltas never go below zero or cross, stand on the grid, and end in the same book."""
    structure = STRUCTURES[name]
    replayed, book, bursts = live(seed, structure, 300)
    for fact in (fact for burst in bursts for fact in burst):
        assert fact[0 if isinstance(fact, Trade) else 1] in structure.index
        if isinstance(fact, Delta):
            replayed.apply(*fact)
    assert replayed.levels == book.levels


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_trade_has_its_delta(seed: int) -> None:
    """In the same moment, on the maker's side, at the maker's price, with minus the count; a block trade has none."""
    for burst in live(seed, DECI_CENT, 300)[2]:
        deltas = Counter(fact for fact in burst if isinstance(fact, Delta))
        expected = Counter(
            Delta(maker, trade.yes_price if maker == "yes" else DOLLAR - trade.yes_price, -trade.size)
            for trade in burst
            if isinstance(trade, Trade) and not trade.is_block
            for maker in [OPPOSITE[trade.taker]]
        )
        assert expected <= deltas


def test_the_mixture_is_like_the_tape() -> None:
    """About 12 % fractional deltas and 60 % fractional trades, most deltas in company, equal ones, block trades."""
    bursts = [burst for seed in range(20) for burst in live(seed, DECI_CENT, 2000)[2]]
    deltas = [[fact for fact in burst if isinstance(fact, Delta)] for burst in bursts]
    trades = [fact for burst in bursts for fact in burst if isinstance(fact, Trade)]
    total = sum(map(len, deltas))
    assert 0.10 < sum(delta.change % 100 != 0 for burst in deltas for delta in burst) / total < 0.15
    assert 0.5 < sum(trade.size % 100 != 0 for trade in trades) / len(trades) < 0.7
    assert 0.6 < sum(len(burst) for burst in deltas if len(burst) > 1) / total < 0.8
    assert 0.001 < sum(len(burst) - len(set(burst)) for burst in deltas) / total < 0.008
    assert any(trade.is_block for trade in trades)


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=str)
def test_a_long_life_stays_healthy(structure: PriceStructure) -> None:
    """After 20,000 bursts both sides still have a handful of levels: the flow neither starves nor swells a book."""
    _, book, _ = live(7, structure, 20_000)
    assert all(1 <= len(book.levels[side]) <= 40 for side in ("yes", "no"))


def test_nothing_rests_opposite_the_highest_price() -> None:
    """A bid at the top of the grid leaves no room on the other side; the flow then acts on its own."""
    flow = OrderFlow(Random(1))  # noqa: S311 - repeatable
    for _ in range(200):
        book = Book()
        book.apply("no", LINEAR_CENT.prices[-1], 100)
        flow.burst(book, LINEAR_CENT)
