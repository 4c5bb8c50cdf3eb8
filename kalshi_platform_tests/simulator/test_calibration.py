"""Invented traffic held against recorded traffic, and the record of it held against the recording."""

import gzip
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.simulator import HandClock, SimulatorOptions
from kalshi_platform.simulator import calibration as tape
from kalshi_platform.simulator.calibration import Lengths
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.order_flow import Delta, Trade
from kalshi_platform.simulator.pace import Pace, Swing
from kalshi_platform.simulator.prices import DOLLAR

WINDOW_SECONDS = 900
START = 1_786_406_400_000


@dataclass
class Window:
    """What one market did, in the simulator's units."""

    deltas: list[tuple[int, Delta]] = field(default_factory=list)
    trades: list[tuple[int, Trade]] = field(default_factory=list)

    def per_second(self) -> list[int]:
        """Deltas of each second from the first to the last."""
        seconds = Counter(ts_ms // 1000 for ts_ms, _ in self.deltas)
        return [seconds[second] for second in range(min(seconds), max(seconds) + 1)]

    def pace(self) -> dict[str, float]:
        """The mean, and quantiles over it."""
        counts = sorted(self.per_second())
        mean = sum(counts) / len(counts)
        p50, p99 = (counts[int(share * len(counts))] / mean for share in (0.5, 0.99))
        return {"mean": mean, "p50": p50, "p99": p99, "peak": counts[-1] / mean}


def shares(windows: list[Window]) -> dict[str, Any]:
    """Every share of the calibration, over several windows."""
    deltas, trades = sum(len(one.deltas) for one in windows), sum(len(one.trades) for one in windows)
    per_ms = [Counter(ts_ms for ts_ms, _ in one.deltas) for one in windows]
    trades_per_ms = Counter(n for one in windows for n in Counter(ts_ms for ts_ms, _ in one.trades).values())
    lengths = Counter(n for one in per_ms for n in one.values())
    return {
        "deltas_per_ms": [lengths[n] / lengths.total() for n in range(1, 11)],
        "trades_per_ms": [trades_per_ms[n] / trades_per_ms.total() for n in range(1, 11)],
        "trades_per_delta": trades / deltas,
        "fractional_deltas": sum(delta.change % 100 != 0 for one in windows for _, delta in one.deltas) / deltas,
        "fractional_trades": sum(trade.size % 100 != 0 for one in windows for _, trade in one.trades) / trades,
        "equal": sum(len(one.deltas) - len(set(one.deltas)) for one in windows) / deltas,
        "company": sum(n * count for n, count in lengths.items() if n > 1) / deltas,
        "coupled": sum(map(_coupled, windows)) / sum(not t.is_block for one in windows for _, t in one.trades),
    }


def _coupled(window: Window) -> int:
    """Trades that have a delta of their own."""
    left = Counter(window.deltas)
    coupled = 0
    for ts_ms, trade in window.trades:
        maker = "no" if trade.taker == "yes" else "yes"
        price = trade.yes_price if maker == "yes" else DOLLAR - trade.yes_price
        key = (ts_ms, Delta(maker, price, -trade.size))
        if not trade.is_block and left[key]:
            left[key] -= 1
            coupled += 1
    return coupled


class Recorder(Ledger):
    """A ledger that keeps one window."""

    def __init__(self) -> None:
        super().__init__(None)
        self.window = Window()

    def delta(self, ts_ms: int, ticker: str, delta: Delta, handed: Any) -> None:
        """Keep a delta."""
        self.window.deltas.append((ts_ms, delta))

    def trade(self, ts_ms: int, trade_id: str, ticker: str, trade: Trade, handed: Any) -> None:
        """Keep a trade."""
        self.window.trades.append((ts_ms, trade))


def invented(seed: int, rate: float) -> Window:
    """A quarter of an hour of one market, as the simulator invents it."""
    clock, recorder = HandClock(START), Recorder()
    options = SimulatorOptions(
        markets=1, rate=rate, seed=seed, new_market_seconds=0, new_combo_seconds=0, change_market_seconds=0
    )
    exchange = Exchange(options, Hub(clock.now_ms), recorder)
    exchange.open(START)
    pace = Pace(exchange, rate, clock, Swing(seed, 1.0, exchange.spread))
    for _ in range(WINDOW_SECONDS * 20):
        clock.advance(0.05)
        pace.beat(clock.now_ms())
    return recorder.window


def read(path: Path) -> Window:
    """A recorded quarter of an hour."""
    window = Window()
    with gzip.open(path) as lines:
        for line in lines:
            event = json.loads(line)["event"]
            body = event.get("msg", {})
            if event["type"] == "orderbook_delta":
                price, change = _integer(body["price_dollars"], 4), _integer(body["delta_fp"], 2)
                window.deltas.append((body["ts_ms"], Delta(body["side"], price, change)))
            elif event["type"] == "trade":
                price, size = _integer(body["yes_price_dollars"], 4), _integer(body["count_fp"], 2)
                taker, is_block = body["taker_outcome_side"], body.get("is_block_trade", False)
                window.trades.append((body["ts_ms"], Trade(price, size, taker, is_block)))
    return window


def _integer(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction[:decimals].ljust(decimals, "0"))


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    """Three invented ones, each as busy as some recorded one."""
    return [invented(seed, rate) for seed, rate in ((1, 90.0), (2, 150.0), (3, 110.0))]


def test_invented_seconds_are_as_busy_and_quiet_as_recorded_ones(windows: list[Window]) -> None:
    """Median, 99th percentile and peak over the mean lie where those of the nine windows do, a fifth more at most."""
    for window in windows:
        pace = window.pace()
        for name, bounds in (
            ("mean", tape.MEAN_A_SECOND), ("p50", tape.P50_OVER_MEAN), ("p99", tape.P99_OVER_MEAN),
            ("peak", tape.PEAK_OVER_MEAN),
        ):  # fmt: skip
            assert bounds.least / 1.2 <= pace[name] <= bounds.most * 1.2, (name, pace)


def test_invented_changes_have_the_recorded_shares(windows: list[Window]) -> None:
    """Lengths of bursts within three points, shares within a quarter, every trade but the block ones with its delta."""
    found = shares(windows)
    assert found["deltas_per_ms"] == pytest.approx(tape.DELTAS_PER_MS, abs=0.03)
    assert found["trades_per_ms"] == pytest.approx(tape.TRADES_PER_MS, abs=0.06)
    assert found["trades_per_delta"] == pytest.approx(tape.TRADES_PER_DELTA, rel=0.25)
    assert found["fractional_deltas"] == pytest.approx(tape.FRACTIONAL_DELTAS, rel=0.25)
    assert found["fractional_trades"] == pytest.approx(tape.FRACTIONAL_TRADES, rel=0.1)
    assert found["company"] == pytest.approx(tape.DELTAS_IN_COMPANY, rel=0.1)
    assert 0.5 * tape.EQUAL_DELTAS <= found["equal"] <= 3 * tape.EQUAL_DELTAS
    assert found["coupled"] == tape.COUPLED_TRADES


def test_a_steady_rate_can_be_had() -> None:
    """Without swing every second is the average one; many markets share a smaller swing; the average is 1."""
    assert {Swing(1, 0.0, 1.0).at(second) for second in range(100)} == {1.0}
    alone, shared = Swing(1, 1.0, 1.0), Swing(1, 1.0, 25.0)
    factors = [[swing.at(second) for second in range(20_000)] for swing in (alone, shared)]
    assert [sum(one) / len(one) for one in factors] == pytest.approx([1.0, 1.0], abs=0.1)
    assert max(factors[0]) > 3 * max(factors[1])


def test_lengths_follow_their_shares() -> None:
    """What is missing to a whole goes to the longest."""
    lengths = Lengths((0.5, 0.25, 0.2))
    assert [lengths.draw(chance) for chance in (0.0, 0.49, 0.5, 0.74, 0.76, 0.999)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.slow
def test_the_record_is_that_of_the_recording(shared_data: Path) -> None:
    """Every figure of the calibration, derived again from the nine windows."""
    recorded = [read(path) for path in sorted((shared_data / "gold15m" / "events").glob("*/*.gz"))]
    assert len(recorded) == 9
    found = shares(recorded)
    assert found["deltas_per_ms"] == pytest.approx(tape.DELTAS_PER_MS, abs=0.00006)
    assert found["trades_per_ms"] == pytest.approx(tape.TRADES_PER_MS, abs=0.00006)
    for name, value in (
        ("trades_per_delta", tape.TRADES_PER_DELTA), ("fractional_deltas", tape.FRACTIONAL_DELTAS),
        ("fractional_trades", tape.FRACTIONAL_TRADES), ("equal", tape.EQUAL_DELTAS),
        ("company", tape.DELTAS_IN_COMPANY), ("coupled", tape.COUPLED_TRADES),
    ):  # fmt: skip
        assert found[name] == pytest.approx(value, abs=0.00006), name
    paces = [window.pace() for window in recorded]
    for name, bounds in (
        ("mean", tape.MEAN_A_SECOND), ("p50", tape.P50_OVER_MEAN), ("p99", tape.P99_OVER_MEAN),
        ("peak", tape.PEAK_OVER_MEAN),
    ):  # fmt: skip
        seen = [min(pace[name] for pace in paces), max(pace[name] for pace in paces)]
        assert seen == pytest.approx(list(bounds), abs=0.06 if name == "mean" else 0.006), name
