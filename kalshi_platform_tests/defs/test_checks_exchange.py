"""Checks that ask the exchange, against a simulated one over sockets: each is seen to fail, and to pass."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pyarrow as pa
import pytest

from kalshi_platform.core.schema import TRADES
from kalshi_platform.defs.checks.candles import CANDLES, exchange_candles
from kalshi_platform.defs.checks.reference import orphan_trades, settled_here_too
from kalshi_platform.defs.resources import Exchange
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.exchange.rest_at_hand import AtHand, exchange_at_hand
from kalshi_platform_tests.waiting import until

FRESH = RestOptions(tier="prestige", cache_seconds=0)


@pytest.fixture
async def hand(tmp_path: Path, resources: dict[str, Any]) -> AsyncIterator[AtHand]:
    """A busy exchange, which the code location asks too."""
    async with exchange_at_hand(tmp_path, FRESH, rate=5000.0) as at_hand:
        resources["exchange"] = Exchange(rest_url=at_hand.simulator.rest_url)
        yield at_hand


def test_a_trade_of_an_unknown_market_fails(fill: Any, note: Any, evaluate: Any) -> None:
    """Until the market is described; what is younger than two syncs is not looked at yet."""
    now = datetime.now(UTC)
    trade = {
        "exchange_ts": now - timedelta(hours=1),
        "trade_id": UUID(int=1),
        "ticker": "KXLOST",
        "price": 1,
        "size": 1,
    }
    trade |= {"is_block_trade": False, "received_at": now}
    fill(TRADES, trade, trade | {"trade_id": UUID(int=2), "exchange_ts": now, "ticker": "KXYOUNG"})
    found = evaluate(orphan_trades)
    assert not found.passed
    assert str(found.description).startswith("KXLOST: 1 trades since 20")
    note("markets", ticker="KXLOST", event_ticker="KXE", status="active", seen_at=now, object="{}")
    assert evaluate(orphan_trades).passed


async def test_a_market_that_is_settled_there_and_not_here_fails(hand: AtHand, note: Any, evaluate: Any) -> None:
    """Unknown, undecided, or decided otherwise: each is told with both sides."""
    hand.simulator.stop_traffic()
    now = datetime.now(UTC)
    markets = list(hand.simulator.exchange.catalogue.markets.values())[:3]
    for market in markets:
        market.status, market.result = Status.FINALIZED, "yes"
        market.settled_ms = int(time.time() * 1000) - 3_600_000
    described = {"event_ticker": "KXE", "seen_at": now, "object": "{}"}

    def plant() -> dg.AssetCheckEvaluation:
        note("markets", ticker=markets[1].ticker, status="closed", **described)
        note("markets", ticker=markets[2].ticker, status="finalized", result="no", **described)
        return evaluate(settled_here_too)

    found = await asyncio.to_thread(plant)
    assert not found.passed
    assert found.metadata["settled"].value == 3
    assert set(str(found.description).split("; ")) == {
        f"{markets[0].ticker}: yes at the exchange, unknown here",
        f"{markets[1].ticker}: yes at the exchange, closed, without a result here",
        f"{markets[2].ticker}: yes at the exchange, finalized, no here",
    }
    for market in markets:
        market.settled_ms = int(time.time() * 1000)  # a sync has time for it yet
    assert (await asyncio.to_thread(evaluate, settled_here_too)).passed


def _candle_rows(hand: AtHand) -> list[dict[str, Any]]:
    """Minutes reckoned from what the exchange says it traded, by a way that neither side shares."""
    minutes: dict[tuple[str, datetime], list[tuple[Decimal, Decimal]]] = {}
    for entry in list(hand.simulator.exchange.tape.before(None))[::-1]:
        # a trade at the very turn of a minute is the earlier candle's there
        minute = datetime.fromtimestamp((entry.micros - 1) // 60_000_000 * 60, UTC)
        price, size = Decimal(entry.trade.yes_price) / 10_000, Decimal(entry.trade.size) / 100
        minutes.setdefault((entry.ticker, minute), []).append((price, size))
    return [
        {
            "ticker": ticker, "minute": minute, "open": trades[0][0], "high": max(trades)[0], "low": min(trades)[0],
            "close": trades[-1][0], "volume": sum(size for _, size in trades), "dollar_volume": Decimal(0),
            "trades": len(trades),
        }
        for (ticker, minute), trades in minutes.items()
    ]  # fmt: skip


async def test_candles_that_are_not_the_exchanges_fail(hand: AtHand, lake: Lake, evaluate: Any) -> None:
    """A lost trade shows in volume; a minute that we lack altogether shows as nothing."""
    await until(lambda: hand.simulator.ledger.trades >= 200)
    hand.simulator.stop_traffic()
    rows = _candle_rows(hand)
    day = rows[-1]["minute"].replace(hour=0, minute=0)

    def publish(candles: list[dict[str, Any]]) -> dg.AssetCheckEvaluation:
        write_partition(lake, CANDLES, day, [pa.RecordBatch.from_pylist(candles, schema=CANDLES.schema)])
        return evaluate(exchange_candles, day)

    today = [row for row in rows if row["minute"] >= day]
    found = await asyncio.to_thread(publish, today)
    assert found.passed, found.description
    assert found.metadata["minutes"].value >= found.metadata["markets"].value > 1
    busiest = max(today, key=lambda row: row["volume"])
    less = busiest | {"volume": busiest["volume"] - Decimal("0.01")}
    found = await asyncio.to_thread(publish, [less if row is busiest else row for row in today])
    assert not found.passed
    assert found.metadata["minutes_wrong"].value == 1
    assert f"{busiest['volume']} contracts" in str(found.description)
    assert f"{less['volume']} contracts" in str(found.description)
    nothing = {"volume": Decimal(0), "dollar_volume": Decimal(0), "trades": 0}
    quoted = [{"ticker": row["ticker"], "minute": row["minute"], **nothing} for row in today]
    found = await asyncio.to_thread(publish, quoted)
    assert not found.passed, "trades that are lost altogether"
    assert found.metadata["minutes_wrong"].value > 1
