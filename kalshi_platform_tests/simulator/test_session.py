"""What a client may say, over real sockets; the numbered facts are those of the protocol's §3.6."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kalshi_platform.simulator import Simulator, running

ERROR_TEXTS = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
}


@pytest.fixture
async def quiet(options: Callable[..., Any]) -> AsyncIterator[Simulator]:
    """An exchange without traffic: nothing but answers arrives."""
    async with running(options()) as simulator:
        yield simulator


@pytest.fixture
def tickers(quiet: Simulator) -> list[str]:
    """Its markets."""
    return list(quiet.exchange.catalogue.markets)


async def test_subscribed_then_snapshots_from_one(quiet: Simulator, client: Any, tickers: list[str]) -> None:
    """Facts 1 and 4: sids count from 1, `subscribed` has no seq, the first snapshot has seq 1, in the order asked."""
    async with client(quiet.ws_url) as me:
        answer = await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:3])
        assert {k: answer[k] for k in ("id", "type", "msg")} == {
            "id": 1,
            "type": "subscribed",
            "msg": {"channel": "orderbook_delta", "sid": 1},
        }
        assert "seq" not in answer
        snapshots = await me.settle()
        assert [(s["type"], s["sid"], s["seq"]) for s in snapshots] == [("orderbook_snapshot", 1, n) for n in (1, 2, 3)]
        assert [s["msg"]["market_ticker"] for s in snapshots] == tickers[:3]
        assert not any("id" in s for s in snapshots)
        await me.ask("subscribe", channels=["trade"])
        assert me.messages[-1]["msg"]["sid"] == 2
        assert all(isinstance(message["sending_ts_ms"], int) for message in me.messages)


async def test_second_subscribe_merges(quiet: Simulator, client: Any, tickers: list[str]) -> None:
    """Facts 2, 5 and 8: one sid per channel, `ok` takes a seq and lists all, snapshots come for new markets only."""
    async with client(quiet.ws_url) as me:
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:2])
        answer = await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[1:3])
        assert (answer["type"], answer["sid"], answer["seq"]) == ("ok", 1, 3)
        assert answer["msg"] == {"market_tickers": tickers[:3]}
        assert [s["msg"]["market_ticker"] for s in await me.settle()] == [tickers[2]]
        again = await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:3])
        assert (again["type"], again["seq"]) == ("ok", 5)
        assert await me.settle() == []


async def test_updates_continue_the_sequence(quiet: Simulator, client: Any, tickers: list[str]) -> None:
    """Fact 7: add_markets, get_snapshot and delete_markets stay on the sid and leave no gap."""
    async with client(quiet.ws_url) as me:
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:1])
        added = await me.ask("update_subscription", sid=1, action="add_markets", market_tickers=tickers[:3])
        assert (added["type"], added["seq"], added["msg"]["market_tickers"]) == ("ok", 2, tickers[:3])
        fresh = await me.ask("update_subscription", sids=[1], action="get_snapshot", market_tickers=tickers[5:7])
        assert (fresh["type"], fresh["sid"], fresh["seq"]) == ("orderbook_snapshot", 1, 5)
        await me.settle()
        deleted = await me.ask("update_subscription", sid=1, action="delete_markets", market_ticker=tickers[0])
        assert (deleted["type"], deleted["msg"]["market_tickers"]) == ("ok", tickers[1:3])
        assert me.sequence(1) == list(range(1, 8))
        await me.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[])
        assert await me.settle() == []


async def test_unsubscribe_then_subscribe_starts_anew(quiet: Simulator, client: Any, tickers: list[str]) -> None:
    """Facts 5, 9 and 10: `unsubscribed` takes a seq; afterwards, as on a new connection, counting starts at 1."""
    async with client(quiet.ws_url) as me, client(quiet.ws_url) as other:
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:2])
        gone = await me.ask("unsubscribe", sids=[1])
        assert (gone["type"], gone["sid"], gone["seq"]) == ("unsubscribed", 1, 3)
        assert "msg" not in gone
        answer = await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:2])
        assert answer["msg"]["sid"] == 2
        assert [(s["sid"], s["seq"]) for s in await me.settle()] == [(2, 1), (2, 2)]
        assert (await other.ask("subscribe", channels=["trade"]))["msg"]["sid"] == 1


async def test_ticker_has_no_sequence(quiet: Simulator, client: Any, tickers: list[str]) -> None:
    """Fact 6: not even the acknowledgements of the ticker channel are numbered."""
    async with client(quiet.ws_url) as me:
        await me.ask("subscribe", channels=["ticker"], market_tickers=tickers[:1])
        assert "seq" not in await me.ask("subscribe", channels=["ticker"], market_tickers=tickers[:2])
        assert "seq" not in await me.ask("unsubscribe", sids=[1])


async def test_several_channels_and_their_list(quiet: Simulator, client: Any, tickers: list[str]) -> None:
    """One command opens several channels, each with an answer of its own; `list_subscriptions` names them."""
    async with client(quiet.ws_url) as me:
        names = ["trade", "ticker", "market_lifecycle_v2", "orderbook_delta"]
        await me.ask("subscribe", channels=names, market_tickers=tickers[:1])
        await me.settle()
        expected = [{"channel": name, "sid": sid} for sid, name in enumerate(names, 1)]
        assert [m["msg"] for m in me.of_type("subscribed")] == expected
        assert me.messages[-1]["msg"] == expected
        assert "sid" not in me.messages[-1]


async def test_skip_ticker_ack_and_unknown_markets(quiet: Simulator, client: Any, tickers: list[str]) -> None:
    """`ok` can leave the list out; a market that does not exist is no error and no subscription either."""
    async with client(quiet.ws_url) as me:
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=[tickers[0]], skip_ticker_ack=True)
        answer = await me.ask("update_subscription", sid=1, action="add_markets", market_tickers=["KXNOBODY"])
        assert answer["msg"] == {}
        assert await me.settle() == []
        await me.ask("subscribe", channels=["trade"], market_tickers=[tickers[0]])
        answer = await me.ask("subscribe", channels=["trade"], market_tickers=["KXNOBODY"])
        assert answer["msg"] == {"market_tickers": [tickers[0]]}


async def test_yes_prices(quiet: Simulator, client: Any, tickers: list[str]) -> None:
    """`use_yes_price` writes the no side as one minus the price, ascending all the same; sizes are untouched."""
    async with client(quiet.ws_url) as plain, client(quiet.ws_url) as priced:
        await plain.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        await priced.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers, use_yes_price=True)
        for mine, theirs in zip(await plain.settle(), await priced.settle(), strict=True):
            assert mine["msg"].get("yes_dollars_fp") == theirs["msg"].get("yes_dollars_fp")
            flipped = [[f"{1 - float(p):.4f}", size] for p, size in reversed(mine["msg"].get("no_dollars_fp", []))]
            assert flipped == theirs["msg"].get("no_dollars_fp", [])


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "{"),
        (1, "[]"),
        (1, '{"id":7,"cmd":"subscribe","params":{"channels":"trade"}}'),
        (2, '{"id":7,"cmd":"subscribe"}'),
        (3, '{"id":7,"cmd":"subscribe","params":{}}'),
        (4, '{"id":7,"cmd":"unsubscribe","params":{}}'),
        (5, '{"id":7,"cmd":"dance","params":{}}'),
        (7, '{"id":7,"cmd":"unsubscribe","params":{"sids":[9]}}'),
        (7, '{"id":7,"cmd":"update_subscription","params":{"sid":9,"action":"add_markets"}}'),
        (8, '{"id":7,"cmd":"subscribe","params":{"channels":["ticker_v2"]}}'),
        (12, '{"id":7,"cmd":"update_subscription","params":{"action":"add_markets"}}'),
        (12, '{"id":7,"cmd":"update_subscription","params":{"sid":1,"sids":[1],"action":"add_markets"}}'),
        (13, '{"id":7,"cmd":"update_subscription","params":{"sid":1,"action":"dance"}}'),
        (13, '{"id":7,"cmd":"update_subscription","params":{"sid":1,"action":"get_snapshot","market_tickers":[]}}'),
        (14, '{"id":7,"cmd":"subscribe","params":{"channels":["orderbook_delta"]}}'),
        (14, '{"id":7,"cmd":"update_subscription","params":{"sid":1,"action":"add_markets"}}'),
        (15, '{"id":7,"cmd":"update_subscription","params":{"sid":1}}'),
    ],
)
async def test_errors(quiet: Simulator, client: Any, code: int, text: str) -> None:
    """Each wrong command gets its code; one that concerns a subscription takes a number there; the socket lives on."""
    async with client(quiet.ws_url) as me:
        await me.ask("subscribe", channels=["trade"])
        await me.socket.send(text)
        error = await me.receive()
        assert (error["type"], error["msg"]) == ("error", {"code": code, "msg": ERROR_TEXTS[code]})
        assert error.get("id") == (None if code == 1 else 7)
        concerns_subscription = '"sid":1,"action"' in text or code == 15
        assert (error.get("sid"), error.get("seq")) == ((1, 1) if concerns_subscription else (None, None))
        assert await me.settle() == []


async def test_binary_is_refused(quiet: Simulator, client: Any) -> None:
    """Only text is understood."""
    async with client(quiet.ws_url) as me:
        await me.socket.send(b"\x00\x01")
        assert (await me.receive())["msg"]["code"] == 1
