"""A lake served as the exchange that it was captured from."""

from datetime import UTC, datetime
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.reader import connect
from kalshi_platform.simulator import RecordingError, running
from kalshi_platform.simulator.recorded_markets import open_tape
from kalshi_platform.simulator.recording import find_recordings, read_recordings
from kalshi_platform_tests.lake.invented import TICKERS, write_invented
from kalshi_platform_tests.waiting import until

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A lake with an invented hour."""
    write_invented(Lake(tmp_path / "lake"), NOON, rows=300)
    return tmp_path / "lake"


def test_a_lake_is_one_history(root: Path) -> None:
    """Every row once, in the order of time, each checkpoint before the changes of its moment."""
    frames = list(read_recordings(find_recordings(root)))
    assert [frame.at_ms for frame in frames] == sorted(frame.at_ms for frame in frames)
    kinds = [frame.type for frame in frames]
    counted = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counted == {"orderbook_delta": 302, "trade": 30, "ticker": 60, "orderbook_snapshot": 11}
    assert kinds[:4] == ["orderbook_snapshot"] * 4
    index = open_tape(root)
    assert (index.frames, sorted(index.markets)) == (len(frames), sorted(TICKERS))


async def test_the_books_played_are_those_of_the_lake(root: Path, options: Any, client: Any) -> None:
    """Whoever listens hears every change; in the end the exchange's books are the lake's last checkpoints."""
    chosen = options(replay=root, replay_speed=inf, replay_wait_seconds=0.05)
    async with running(chosen) as simulator, client(simulator.ws_url) as me:
        await me.ask("subscribe", channels=["orderbook_delta", "trade", "ticker"], market_tickers=list(TICKERS))
        await until(lambda: not simulator.is_trading)
        await me.settle()
        assert simulator.replay is not None
        assert simulator.replay.impossible == 0
        books = {ticker: simulator.exchange.find(ticker).book.levels for ticker in TICKERS}
    assert len(me.of_type("orderbook_delta")) == 302
    assert len(me.of_type("trade")) == 30
    last = """SELECT ticker, yes_prices, no_prices, yes_sizes, no_sizes FROM orderbook_snapshots
              QUALIFY row_number() OVER (PARTITION BY ticker ORDER BY snapshot_ts DESC) = 1"""
    for ticker, yes, no, yes_sizes, no_sizes in connect(root).execute(last).fetchall():
        kept = {"yes": _levels(yes, yes_sizes), "no": _levels(no, no_sizes)}
        assert books[ticker] == kept


def test_what_is_no_lake_is_named(root: Path) -> None:
    """A torn file says which it is."""
    torn = next((root / "raw" / "trades").rglob("*.parquet"))
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(RecordingError, match=r"trades\.parquet is no file of a lake"):
        list(read_recordings(find_recordings(root)))


def _levels(prices: list[Decimal], sizes: list[Decimal]) -> dict[int, int]:
    return {int(price * 10_000): int(size * 100) for price, size in zip(prices, sizes, strict=True)}
