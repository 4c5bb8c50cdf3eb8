"""The exchange's clock, and a day of its life in a few seconds."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp
from websockets.exceptions import ConnectionClosed

from kalshi_platform.simulator import HandClock, SimulatorOptions, running
from kalshi_platform.simulator.clock import RealClock, ScaledClock, make_clock
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.market import Status
from kalshi_platform_tests.waiting import until

WEDNESDAY_NOON = 1_795_021_200_000  # 2026-11-18 12:00 in New York
HOUR = 3_600_000


async def _read_to_the_end(client: Any) -> None:
    with suppress(ConnectionClosed):
        while True:
            await client.receive()


def test_the_moment_of_these_tests() -> None:
    """A Wednesday, noon in New York."""
    assert datetime.fromtimestamp(WEDNESDAY_NOON / 1000, UTC) == datetime(2026, 11, 18, 17, tzinfo=UTC)


def test_a_clock_may_run_faster_or_stand_still() -> None:
    """A scaled clock starts where it is told; one turned by hand moves with the hand alone."""
    assert isinstance(make_clock(1.0, None), RealClock)
    assert abs(RealClock().now_ms() - time.time() * 1000) < 1000
    fast = make_clock(3600.0, WEDNESDAY_NOON)
    assert isinstance(fast, ScaledClock)
    before = fast.now_ms()
    time.sleep(0.02)
    assert before >= WEDNESDAY_NOON
    assert fast.now_ms() - before >= 72_000
    hand = HandClock(5_000)
    hand.advance(1.5)
    assert (hand.now_ms(), hand.seconds()) == (6_500, 1.5)


async def test_a_day_passes_by_hand(options: Any, client: Any, signer: Any) -> None:
    """Twenty-four hours in steps of five minutes: markets open, close by the clock, settle; Thursday has its pause."""
    chosen = options(
        markets=40,
        rate=0.05,
        new_market_seconds=1800.0,
        market_life_hours=12.0,
        maintenance=True,
        change_market_seconds=3600.0,
    )
    clock = HandClock(WEDNESDAY_NOON)
    trading: list[bool] = []
    async with running(chosen, clock) as simulator:
        async with client(simulator.ws_url) as me, aiohttp.ClientSession() as http:
            await me.ask("subscribe", channels=["market_lifecycle_v2"])
            await me.ask(
                "subscribe", channels=["orderbook_delta"], market_tickers=list(simulator.exchange.catalogue.markets)
            )
            reading = asyncio.create_task(_read_to_the_end(me))
            for _ in range(24 * 12):
                clock.advance(300)
                await until(lambda: simulator.exchange.now_ms == clock.now_ms())
                trading.append(not simulator.exchange.is_paused)
                if (clock.now_ms() - WEDNESDAY_NOON) == 15.5 * HOUR:
                    url = f"{simulator.rest_url}/exchange/status"
                    async with http.get(url, headers=signer.headers("/trade-api/v2/exchange/status")) as answer:
                        body = await answer.json()
                    assert body["trading_active"] is False
                    assert body["exchange_estimated_resume_time"] == "2026-11-19T10:00:00Z"
            await asyncio.wait_for(reading, 10)
            assert me.socket.close_code == 1001
        assert {"created", "activated", "determined", "settled"} <= {
            message["msg"]["event_type"] for message in me.of_type("market_lifecycle_v2")
        }
        statuses = Counter(market.status for market in simulator.exchange.catalogue.markets_in_order[:40])
        newcomers = simulator.exchange.catalogue.markets_in_order[40:]
    assert trading.count(False) == 24
    assert trading[: 15 * 12 - 1] == [True] * (15 * 12 - 1)
    assert statuses == {Status.FINALIZED: 40}
    assert len(newcomers) > 10
    assert Status.ACTIVE in {market.status for market in newcomers}


def test_markets_close_when_they_said_they_would() -> None:
    """Without any traffic: status, result and stamps follow the clock, a moved close is waited for, books end empty."""
    options = SimulatorOptions(markets=2_000, rate=0, market_life_hours=2)
    exchange = Exchange(options, Hub(lambda: WEDNESDAY_NOON), Ledger(None))
    exchange.open(WEDNESDAY_NOON)
    moved = exchange.catalogue.touch(7)
    moved.close_ms += HOUR
    for minute in range(1, 181):
        now = WEDNESDAY_NOON + 60_000 * minute
        exchange.keep_time(now)
        for market in exchange.catalogue.markets_in_order[::97]:
            assert (market.close_ms <= now) is (market.status is not Status.ACTIVE)
        if minute == 150:
            assert moved.status is (Status.ACTIVE if moved.close_ms > now else Status.FINALIZED)
    for market in exchange.catalogue.markets_in_order:
        assert market.status is Status.FINALIZED
        assert market.settled_ms >= market.close_ms + 2000
        assert market.close_ms % 900_000 == 0
        assert not market.book.levels["yes"]
    results = Counter(market.result for market in exchange.catalogue.markets_in_order)
    assert results.keys() == {"yes", "no"}
    assert min(results.values()) > 800


async def test_traffic_follows_the_scale(options: Any) -> None:
    """A hundred times as fast: a hundred times the traffic, and stamps of the exchange's own time."""
    async with running(options(rate=10.0, time_scale=100.0, start_ms=WEDNESDAY_NOON, seconds=60.0)) as simulator:
        await until(lambda: not simulator.is_trading)
        assert 100 < simulator.ledger.deltas + simulator.ledger.trades + simulator.ledger.tickers < 1000
        assert 0 <= simulator.exchange.now_ms - WEDNESDAY_NOON < 5 * 60_000
