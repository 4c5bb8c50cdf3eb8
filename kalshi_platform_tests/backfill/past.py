"""A simulated exchange with a past: trades that its REST remembers, on both sides of the historical cutoff."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from uuid import UUID

from kalshi_platform.simulator import Simulator
from kalshi_platform.simulator.order_flow import Trade

DAY_MS = 86_400_000
START_MS = 1_788_480_000_000
"""2026-09-04, a Friday, at midnight."""

ROWS = "SELECT exchange_ts, trade_id, ticker, price, size, taker_side, is_block_trade FROM trades ORDER BY 1, 2"


def make_past(simulator: Simulator, trades: int, days: float, markets: int = 4, seed: int = 1) -> None:
    """So many trades of the first markets, at moments of the days after START_MS, in their order."""
    dice = Random(seed)  # noqa: S311 - a test's
    traded = [simulator.exchange.catalogue.touch(place) for place in range(markets)]
    for market in traded:  # nothing trades before it is listed
        market.listing = replace(market.listing, created_ms=min(market.listing.created_ms, START_MS))
        market.open_ms = min(market.open_ms, START_MS)
    moments = sorted(dice.randrange(round(days * DAY_MS)) for _ in range(trades))
    for moment in moments:
        market = dice.choice(traded)
        fact = Trade(dice.randrange(1, 100) * 100, dice.randrange(1, 5000), dice.choice(("yes", "no")), False)
        market.trade(fact.yes_price, fact.size, opens_interest=True)
        trade_id = str(UUID(int=dice.getrandbits(128), version=4))
        simulator.exchange.tape.append(trade_id, market.ticker, START_MS + moment, fact)


def rows_of(simulator: Simulator) -> Iterator[tuple[int, UUID, str, int, int, bool, bool]]:
    """What production must hold of the tape: milliseconds, id, ticker, price, size, taker's side, block."""
    for entry in simulator.exchange.tape.before(None):
        fact, at_ms = entry.trade, entry.micros // 1000
        is_yes = fact.taker == "yes"
        yield at_ms, UUID(entry.trade_id), entry.ticker, 100 * fact.yes_price, fact.size, is_yes, fact.is_block
