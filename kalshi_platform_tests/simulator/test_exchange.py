from typing import Any

from kalshi_platform.simulator import SimulatorOptions
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.market import Status


class Recorder(Ledger):
    """A ledger that keeps deltas and trades instead of writing them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.facts: list[Any] = []

    def delta(self, ts_ms: int, ticker: str, delta: Any, recipients: int) -> None:
        """Keep a delta, without its time."""
        super().delta(ts_ms, ticker, delta, recipients)
        self.facts.append((ticker, delta))

    def trade(self, ts_ms: int, trade_id: str, ticker: str, trade: Any, recipients: int) -> None:
        """Keep a trade, without its time."""
        super().trade(ts_ms, trade_id, ticker, trade, recipients)
        self.facts.append((ticker, trade_id, trade))


def history(seed: int, pace_ms: int) -> list[Any]:
    """What happens on an exchange whose clock runs at some pace."""
    recorder = Recorder()
    options = SimulatorOptions(markets=20, rate=100, seed=seed, new_market_seconds=1, close_market_seconds=2)
    exchange = Exchange(options, Hub(lambda: 0), recorder)
    exchange.open(1_000_000)
    for n in range(2000):
        exchange.step(1_000_000 + n * pace_ms // 10)
    return recorder.facts


def test_the_seed_fixes_everything_but_the_clock() -> None:
    """One seed, one history, comings and goings of markets included, however fast the clock runs."""
    assert history(5, 1) == history(5, 70)
    assert history(5, 1) != history(6, 1)


def test_markets_come_and_go() -> None:
    """New markets appear, others close empty and are settled a little later; the last one never closes."""
    options = SimulatorOptions(markets=3, rate=100, new_market_seconds=5, close_market_seconds=1)
    exchange = Exchange(options, Hub(lambda: 0), Ledger(None))
    exchange.open(0)
    for n in range(3000):
        exchange.step(n)
    statuses = [market.status for market in exchange.catalogue.markets_in_order]
    assert len(statuses) > 8
    assert statuses.count(Status.ACTIVE) >= 1
    assert statuses.count(Status.FINALIZED) >= 5
    for market in exchange.catalogue.markets_in_order:
        if market.status is not Status.ACTIVE:
            assert market.book.levels == {"yes": {}, "no": {}}
        assert (market.result != "") is (market.status in (Status.DETERMINED, Status.FINALIZED))
