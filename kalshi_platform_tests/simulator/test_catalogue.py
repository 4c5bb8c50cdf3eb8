"""A catalogue of a million markets that exist only while somebody looks."""

import time
import tracemalloc

from kalshi_platform.simulator import SimulatorOptions
from kalshi_platform.simulator.catalogue import Catalogue
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.market import Status


def test_a_million_markets_cost_nothing_until_they_trade() -> None:
    """Open within a second; looking at any of them keeps none; traffic keeps no more than the busy ones."""
    tracemalloc.start()
    started = time.perf_counter()
    exchange = Exchange(SimulatorOptions(markets=1_000_000, busy_markets=500), Hub(lambda: 0), Ledger(None))
    exchange.open(0)
    assert time.perf_counter() - started < 1
    for place in range(0, 1_000_000, 500):
        assert exchange.catalogue.markets_in_order[place].book.levels
    for n in range(5000):
        exchange.step(n)
    assert tracemalloc.get_traced_memory()[0] < 30_000_000
    tracemalloc.stop()
    assert exchange.catalogue.touched() <= 500


def test_a_founder_is_the_same_each_time() -> None:
    """By place or by name, now or later: the same names, grids and books; a touched one stays the one that trades."""
    one, other = Catalogue(3, 1007, 0), Catalogue(3, 1007, 0)
    tickers = list(one.markets)
    assert len(set(tickers)) == len(one.markets) == len(one.markets_in_order) == 1007
    for place in (0, 4, 5, 500, 1006):
        market, twin = one.markets_in_order[place], other.markets[tickers[place]]
        assert (market.listing, market.book.levels) == (twin.listing, twin.book.levels)
        assert market in one.markets_by_event[market.listing.event_ticker]
        assert one.markets.place(market.ticker) == place
    kept = one.touch(4)
    assert one.markets[tickers[4]] is kept
    assert len({market.listing.structure.name for market in one.markets_in_order}) > 6


def test_strangers_are_not_found() -> None:
    """Names that look like a market's and are none."""
    catalogue = Catalogue(1, 12, 0)
    for ticker in ("", "KXSIM000", "KXSIM000-E00003-T10.5", "KXSIM000-E00002-T30.5", "KXSIM000-E0-T10.5", "-E²-T10.5"):
        assert ticker not in catalogue.markets
    assert len(catalogue.events_of_series("KXSIM000")) == 3


def test_newcomers_are_known_to_sockets_first() -> None:
    """A composed market is found by sockets, and by REST once it is published."""
    catalogue = Catalogue(1, 12, 0)
    market, event = catalogue.compose_market(5)
    assert event
    assert catalogue.has(market.ticker)
    assert market.ticker not in catalogue.markets
    assert not market.book.levels["yes"]
    catalogue.publish(market)
    assert catalogue.markets[market.ticker] is market
    market.open(6)
    assert market.status is Status.ACTIVE
    assert any(market.book.levels.values())


def test_combos_have_legs_and_stand_apart() -> None:
    """A combo is among the markets; its event is not among the others."""
    catalogue = Catalogue(1, 12, 0)
    market, event = catalogue.list_combo(0)
    assert market.listing.is_combo
    assert len(market.listing.legs) == 2
    assert market.ticker.startswith("KXMVE")
    assert event.ticker not in catalogue.events
    assert catalogue.event_of(market) is event
    assert catalogue.markets_in_order[-1] is market
