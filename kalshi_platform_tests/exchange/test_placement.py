"""Where markets live: stable, within limits, even."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.exchange.placement import UNEVEN, Placement

TICKERS = [f"KXMANY-26DEC{day:02}-T{number}" for day in range(1, 11) for number in range(500)]


def test_a_restart_changes_nothing() -> None:
    """The hash of the ticker names its place, whatever the order in which markets come."""
    first, second = Placement(16, 7500), Placement(16, 7500)
    first.place(TICKERS)
    second.place(reversed(TICKERS))
    assert {ticker: first.home(ticker) for ticker in TICKERS} == {ticker: second.home(ticker) for ticker in TICKERS}


def test_the_spread_is_even() -> None:
    """5,000 markets over 16 places: none has a fifth more than its share."""
    placement = Placement(16, 7500)
    placement.place(TICKERS)
    assert max(placement.counts) < 1.2 * len(TICKERS) / 16


def test_who_finds_no_room_is_named_and_a_full_place_passes_on() -> None:
    """Limits hold to the last market."""
    placement = Placement(4, 100)
    shares, homeless = placement.place(TICKERS[:450])
    assert placement.counts == [100] * 4
    assert homeless == TICKERS[:450][-len(homeless) :]
    assert len(homeless) == 50
    assert Counter(len(share) for share in shares.values()) == {100: 4}


def test_a_market_is_placed_once() -> None:
    """Following again is no second place."""
    placement = Placement(4, 100)
    placement.place(["A"])
    assert placement.place(["A"]) == ({}, [])
    assert placement.remove("A") is not None
    assert placement.remove("A") is None
    assert len(placement) == sum(placement.counts) == 0


def test_a_place_that_refuses_gets_no_more() -> None:
    """The exchange's limit turned out to be lower than ours: the refused ones move, and nobody comes after them."""
    placement = Placement(4, 1000)
    placement.place(TICKERS[:400])
    crowded = [ticker for ticker in TICKERS[:400] if placement.home(ticker) == 2][10:]
    shares, homeless = placement.crowd_out(2, crowded)
    assert not homeless
    assert sorted(ticker for share in shares.values() for ticker in share) == sorted(crowded)
    assert 2 not in shares
    placement.place(TICKERS[400:800])
    assert placement.counts[2] == 10


def test_crowded_places_give_their_latest_to_the_emptiest() -> None:
    """After many closings of one kind; those that were placed first are the most active and stay."""
    placement = Placement(4, 7500)
    placement.place(TICKERS)
    for ticker in TICKERS:
        if placement.home(ticker) in (0, 1) and not ticker.endswith("7"):
            placement.remove(ticker)
    before = {ticker: placement.home(ticker) for ticker in placement.tickers}
    rounds = 0
    while moves := placement.even_out():
        rounds += 1
        assert all(placement.home(move.ticker) == move.new != move.old == before[move.ticker] for move in moves)
        before.update({move.ticker: move.new for move in moves})
    assert rounds
    assert max(placement.counts) <= UNEVEN * len(placement) / 4 + 1
    kept = [ticker for ticker in TICKERS if placement.home(ticker) == 2]
    assert TICKERS.index(kept[0]) < 100


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["place", "remove", "crowd", "even"]), st.integers(0, 59)), max_size=60))
def test_counts_and_homes_always_agree(steps: list[tuple[str, int]]) -> None:
    """Whatever comes, goes and moves."""
    placement = Placement(3, 12)
    for what, number in steps:
        if what == "place":
            placement.place(TICKERS[number : number + 5])
        elif what == "remove":
            placement.remove(TICKERS[number])
        elif what == "crowd":
            placement.crowd_out(number % 3, TICKERS[number : number + 2])
        else:
            placement.even_out()
        homes = Counter(placement.home(ticker) for ticker in placement.tickers)
        assert [homes[place] for place in range(3)] == list(placement.counts)
        assert max(placement.counts) <= 12
