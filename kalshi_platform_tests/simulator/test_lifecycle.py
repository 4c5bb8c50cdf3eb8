"""Everything that a market can live through, as a client of both lifecycle channels and of the books hears it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from kalshi_platform.simulator import SimulatorOptions, running
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.prices import PRICE_TEXT
from kalshi_platform_tests.waiting import until

EVENTFUL = {
    "rate": 3000.0, "new_market_seconds": 0.2, "close_market_seconds": 0.4, "new_combo_seconds": 0.3,
    "change_market_seconds": 0.02, "silent_share": 0.5, "rest_delay_seconds": 0.2,
}  # fmt: skip


async def test_every_step_of_life(options: Any, client: Any, fold: Callable[..., Any], tmp_path: Path) -> None:
    """All types come, combos on their own channel only, and the books stay exact through every change of them."""
    ledger = tmp_path / "ledger.ndjson"
    async with running(options(ledger=ledger, **EVENTFUL)) as simulator, client(simulator.ws_url) as me:
        await me.ask("subscribe", channels=["market_lifecycle_v2", "multivariate_market_lifecycle"])
        tickers = list(simulator.exchange.catalogue.markets)
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        sid = me.messages[-1]["msg"]["sid"]
        while simulator.ledger.deltas < 8000:
            message = await me.receive()
            if message["msg"].get("event_type") == "created":
                newcomer = [message["msg"]["market_ticker"]]
                await me.send("update_subscription", sid=sid, action="add_markets", market_tickers=newcomer)
        simulator.stop_traffic()
        await me.settle()
        books = fold(me.messages)
        for ticker in books:
            own = simulator.exchange.catalogue.find(ticker).book
            assert books[ticker] == {
                side: {PRICE_TEXT[price]: size / 100 for price, size in own.levels[side].items()}
                for side in ("yes", "no")
            }
    steps = {m["msg"]["event_type"] for m in me.of_type("market_lifecycle_v2")}
    assert steps == {
        "created", "activated", "deactivated", "close_date_updated", "determined", "settled",
        "price_level_structure_updated", "metadata_updated",
    }  # fmt: skip
    assert me.of_type("event_lifecycle")
    assert me.of_type("event_fee_update")
    assert not any(m["msg"]["market_ticker"].startswith("KXMVE") for m in me.of_type("market_lifecycle_v2"))
    combos = me.of_type("multivariate_market_lifecycle")
    assert combos
    assert all(m["msg"]["market_ticker"].startswith("KXMVE") for m in combos)


def test_silent_openings_and_late_listings() -> None:
    """A market may be known to sockets before REST, stay initialized and empty, and open without a word."""
    exchange = Exchange(_eventful(), Hub(lambda: 0), Ledger(None))
    exchange.open(0)
    seen: dict[str, list[Status]] = {}
    for n in range(6000):
        exchange.step(n)
        for market in exchange.catalogue.markets_in_order[3:]:
            life = seen.setdefault(market.ticker, [])
            if not life or life[-1] is not market.status:
                life.append(market.status)
    assert any(life[:2] == [Status.INITIALIZED, Status.ACTIVE] for life in seen.values())
    assert any(Status.INACTIVE in life for life in seen.values())


def _eventful() -> Any:
    return SimulatorOptions(markets=3, **(EVENTFUL | {"rate": 500.0, "change_market_seconds": 0.1}))  # type: ignore[arg-type]


async def test_a_pause_of_the_exchange(options: Any, signer: Any) -> None:
    """Nothing trades while REST says so, and the traffic goes on afterwards."""
    async with running(options(rate=2000.0)) as simulator, aiohttp.ClientSession() as http:

        async def is_trading() -> bool:
            signed = signer.headers("/trade-api/v2/exchange/status")  # anonymous answers may be cached
            async with http.get(f"{simulator.rest_url}/exchange/status", headers=signed) as answer:
                return bool((await answer.json())["trading_active"])

        await until(lambda: simulator.ledger.deltas >= 100)
        assert await is_trading()
        simulator.pause()
        before = simulator.ledger.deltas
        assert not await is_trading()
        await asyncio.sleep(0.1)  # for nothing to happen in
        assert simulator.ledger.deltas == before
        simulator.resume()
        await until(lambda: simulator.ledger.deltas > before)
