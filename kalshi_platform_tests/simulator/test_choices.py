"""What a run may choose about the protocol: compression, limits, tickers by UUID and from the start, combos, titles."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from kalshi_platform.simulator import Fault, FaultKind, FaultOptions, running


@pytest.mark.parametrize("forgets", [False, True], ids=["context kept", "context forgotten"])
async def test_compression(options: Any, signer: Any, fold: Any, forgets: bool) -> None:
    """Agreed on with who offers it, in either way; disorder on purpose does not break it; others get plain frames."""
    factory = ClientPerMessageDeflateFactory(server_no_context_takeover=forgets)
    faults = FaultOptions(script=(Fault(FaultKind.REORDER, 20), Fault(FaultKind.DUPLICATE, 30)))
    chosen = options(rate=2000.0, compression=True, faults=faults)
    async with running(chosen) as simulator:
        tickers = list(simulator.exchange.catalogue.markets)
        command = {"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_tickers": tickers}}
        counts = []
        for extension in ([factory], None):
            async with connect(
                simulator.ws_url,
                additional_headers=signer.headers(),
                compression=None,
                extensions=extension,
                close_timeout=0.1,
            ) as socket:
                await socket.send(json.dumps(command))
                async with asyncio.timeout(10):
                    messages = [json.loads(await socket.recv()) for _ in range(500)]
                assert [one.name for one in socket.protocol.extensions] == ["permessage-deflate"] * bool(extension)
                assert len(fold([one for one in messages if one["type"] == "orderbook_snapshot"])) == len(tickers)
                counts.append(len({one["seq"] for one in messages if "seq" in one}))
        assert counts == [498, 498]


async def test_a_client_may_ask_too_much(options: Any, client: Any) -> None:
    """Error 26 for markets, on the subscription that asked; error 27 for commands; the socket lives on."""
    chosen = options(subscription_markets=5, commands_per_second=40)
    async with running(chosen) as simulator, client(simulator.ws_url) as me:
        tickers = list(simulator.exchange.catalogue.markets)
        reply = await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:6])
        assert reply["msg"] == {"code": 26, "msg": "Subscription market limit exceeded"}
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:5])
        reply = await me.ask("update_subscription", sid=1, action="add_markets", market_tickers=tickers[5:6])
        assert (reply["msg"]["code"], reply["sid"]) == (26, 1)
        asked = [
            await me.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[]) for _ in range(90)
        ]
        reply = await me.until(lambda message: message["type"] == "error")
        assert (reply["msg"]["code"], reply["sid"], reply["id"] in asked) == (27, 1, True)
        assert reply["seq"] == me.sequence(1)[-1]
        while (await me.ask("list_subscriptions"))["type"] == "error":
            await asyncio.sleep(0.05)
        assert me.messages[-1]["msg"] == [{"channel": "orderbook_delta", "sid": 1}]


async def test_tickers_by_uuid_and_from_the_start(options: Any, client: Any) -> None:
    """The ticker channel takes UUIDs and begins, if asked, with what others heard last; other channels take names."""
    async with (
        running(options(combos=1)) as simulator,
        client(simulator.ws_url) as me,
        client(simulator.ws_url) as late,
    ):
        markets = simulator.exchange.catalogue.markets_in_order
        ids = [markets[n].listing.market_id for n in (3, 12)]
        await me.ask("subscribe", channels=["ticker"], market_ids=[*ids, "no uuid"], send_initial_snapshot=True)
        await me.settle()
        first = {message["msg"]["market_id"]: message["msg"] for message in me.of_type("ticker")}
        assert first.keys() == set(ids)
        assert all("seq" not in message for message in me.of_type("ticker"))
        await late.ask("subscribe", channels=["ticker"], market_id=ids[0], send_initial_snapshot=True)
        assert (await late.until(lambda message: message["type"] == "ticker"))["msg"] == first[ids[0]]
        assert simulator.ledger.tickers == 2
        reply = await me.ask("update_subscription", sid=1, action="delete_markets", market_ids=[ids[1]])
        assert reply["msg"]["market_tickers"] == [markets[3].ticker]
        assert (await me.ask("subscribe", channels=["trade"], market_ids=ids))["msg"]["code"] == 11
        assert (await me.ask("subscribe", channels=["orderbook_delta"], market_ids=ids))["msg"]["code"] == 14
        await me.ask("subscribe", channels=["ticker"], market_ids=["00000000-0000-4000-8000-000000000003"])
        assert me.messages[-1]["msg"]["market_tickers"] == [markets[3].ticker]


async def test_combos_may_be_there_from_the_start(options: Any, client: Any) -> None:
    """Listed with the markets, their events apart, and traded like any other."""
    async with (
        running(options(markets=2, combos=3, rate=1000.0)) as simulator,
        client(simulator.ws_url) as me,
        aiohttp.ClientSession() as http,
    ):

        async def get(path: str) -> Any:
            async with http.get(simulator.rest_url + path) as answer:
                return await answer.json()

        combos = [one["ticker"] for one in (await get("/markets?mve_filter=only"))["markets"]]
        assert len(combos) == 3
        assert len((await get("/markets?status=open"))["markets"]) == 5
        assert len((await get("/events"))["events"]) == 1
        assert len((await get("/events/multivariate"))["events"]) == 3
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=combos)
        await me.until(lambda message: message["type"] == "orderbook_delta")
        simulator.stop_traffic()
        await me.settle()


async def test_rest_knows_what_a_market_is_called_now(options: Any, client: Any, signer: Any) -> None:
    """After `metadata_updated` the listing says the same."""
    chosen = options(rate=2000.0, change_market_seconds=0.01)
    async with running(chosen) as simulator, client(simulator.ws_url) as me, aiohttp.ClientSession() as http:
        await me.ask("subscribe", channels=["market_lifecycle_v2"])
        said = (await me.until(lambda message: message["msg"].get("event_type") == "metadata_updated"))["msg"]
        simulator.stop_traffic()
        for message in await me.settle():
            body = message["msg"]
            if (body.get("event_type"), body.get("market_ticker")) == ("metadata_updated", said["market_ticker"]):
                said = body
        path = f"/markets/{said['market_ticker']}"
        async with http.get(simulator.rest_url + path, headers=signer.headers("/trade-api/v2" + path)) as answer:
            market = (await answer.json())["market"]
    assert (market["floor_strike"], market["yes_sub_title"]) == (said["floor_strike"], said["yes_sub_title"])
    assert market["yes_sub_title"] == f"Above {said['floor_strike']}"
    assert market["floor_strike"] > float(market["ticker"].rpartition("-T")[2])
