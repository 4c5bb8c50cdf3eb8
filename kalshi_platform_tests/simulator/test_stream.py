"""The traffic as a client gets it, held against the ledger and against the exchange's own books."""

import asyncio
import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Opcode

from kalshi_platform.simulator import running
from kalshi_platform.simulator.prices import PRICE_TEXT
from kalshi_platform_tests.waiting import until

BUSY = {"rate": 3000.0, "new_market_seconds": 0.3, "close_market_seconds": 0.4}
KEYS = {
    "orderbook_delta": {"market_ticker", "market_id", "price_dollars", "delta_fp", "side", "ts", "ts_ms"},
    "trade": {"trade_id", "market_ticker", "yes_price_dollars", "no_price_dollars", "count_fp", "taker_side",
              "taker_outcome_side", "taker_book_side", "is_block_trade", "ts", "ts_ms"},
    "ticker": {"market_id", "market_ticker", "price_dollars", "yes_bid_dollars", "yes_ask_dollars",
               "yes_bid_size_fp", "yes_ask_size_fp", "last_trade_size_fp", "volume_fp", "open_interest_fp",
               "dollar_volume", "dollar_open_interest", "ts", "ts_ms", "time"},
}  # fmt: skip


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Every line of a ledger."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def tail(path: Path) -> bytes:
    """What was written last, some fifty lines."""
    with path.open("rb") as lines:
        lines.seek(max(0, lines.seek(0, 2) - 10_000))
        return lines.read()


async def follow(me: Any, simulator: Any, events: int) -> None:
    """Subscribe to everything, follow newcomers, and read on until so much happened; then read what is left."""
    await me.ask("subscribe", channels=["market_lifecycle_v2", "ticker", "trade"])
    books = list(simulator.exchange.catalogue.markets)
    await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=books)
    sid = me.messages[-1]["msg"]["sid"]
    start = simulator.ledger.deltas
    while simulator.ledger.deltas < start + events:
        message = await me.receive()
        if message["type"] == "market_lifecycle_v2" and message["msg"]["event_type"] == "created":
            newcomer = [message["msg"]["market_ticker"]]
            await me.send("update_subscription", sid=sid, action="add_markets", market_tickers=newcomer)
    simulator.stop_traffic()
    await me.settle()


def expected_books(simulator: Any) -> dict[str, Any]:
    """The exchange's own books, in the client's words."""
    return {
        market.ticker: {
            side: {PRICE_TEXT[price]: size / 100 for price, size in market.book.levels[side].items()}
            for side in ("yes", "no")
        }
        for market in simulator.exchange.catalogue.markets_in_order
    }


async def test_client_and_ledger_agree(options: Any, client: Any, fold: Any, tmp_path: Path) -> None:
    """A client that follows everything has the exchange's books, an unbroken sequence, and each line of the ledger."""
    path = tmp_path / "ledger.ndjson"
    async with running(options(ledger=path, **BUSY)) as simulator, client(simulator.ws_url) as me:
        await follow(me, simulator, 4000)
        assert fold(me.messages) == expected_books(simulator)
    for sid in {message["sid"] for message in me.messages if "seq" in message}:
        assert me.sequence(sid) == list(range(1, len(me.sequence(sid)) + 1))
    lines = [line for line in read_ledger(path) if line.get("recipients")]
    assert all(line["recipients"] == 1 for line in lines)
    deltas = [
        (m["ts_ms"], m["market_ticker"], m["side"], m["price_dollars"], m["delta_fp"])
        for m in (message["msg"] for message in me.of_type("orderbook_delta"))
    ]
    assert deltas == [
        (n["ts_ms"], n["ticker"], n["side"], n["price"], n["delta"]) for n in lines if n["kind"] == "delta"
    ]
    assert len(set(deltas)) < len(deltas), "equal deltas of one millisecond must occur"
    trades = [m["msg"] for m in me.of_type("trade")]
    assert [(m["ts_ms"], m["trade_id"], m["count_fp"], m["taker_side"], m["is_block_trade"]) for m in trades] == [
        (n["ts_ms"], n["trade_id"], n["count"], n["taker_side"], n["is_block_trade"])
        for n in lines
        if n["kind"] == "trade"
    ]
    ticker_fields = {
        "ts_ms": "ts_ms", "market_ticker": "ticker", "price_dollars": "price", "yes_bid_dollars": "yes_bid",
        "yes_ask_dollars": "yes_ask", "yes_bid_size_fp": "yes_bid_size", "yes_ask_size_fp": "yes_ask_size",
        "last_trade_size_fp": "last_trade_size", "volume_fp": "volume", "open_interest_fp": "open_interest",
        "dollar_volume": "dollar_volume", "dollar_open_interest": "dollar_open_interest",
    }  # fmt: skip
    sent = [n for n in lines if n["kind"] == "ticker"]
    for message, line in zip(me.of_type("ticker"), sent, strict=True):
        assert {line_key: message["msg"][key] for key, line_key in ticker_fields.items()} == {
            line_key: line[line_key] for line_key in ticker_fields.values()
        }


async def test_shapes_and_times(options: Any, client: Any) -> None:
    """Keys and types are the protocol's: `ts` is a text in deltas and whole seconds elsewhere; time never runs back."""
    async with running(options(**BUSY)) as simulator, client(simulator.ws_url) as me:
        await follow(me, simulator, 2000)
    for kind, keys in KEYS.items():
        last: dict[str, int] = {}
        for message in me.of_type(kind):
            body = message["msg"]
            assert body.keys() == keys
            assert ("seq" in message) is (kind != "ticker")
            assert body["ts_ms"] >= last.get(body["market_ticker"], 0)
            assert body["ts_ms"] <= message["sending_ts_ms"]
            last[body["market_ticker"]] = body["ts_ms"]
            if kind == "orderbook_delta":
                assert round(datetime.fromisoformat(body["ts"]).timestamp() * 1000) == body["ts_ms"]
            else:
                assert body["ts"] == body["ts_ms"] // 1000
    tickers = Counter((m["msg"]["market_ticker"], m["msg"]["ts_ms"]) for m in me.of_type("ticker"))
    assert max(tickers.values()) == 1


async def test_trades_and_deltas_are_coupled(options: Any, client: Any) -> None:
    """As on the tape: each trade but the block ones is a delta of its millisecond, maker's side, minus its count."""
    async with running(options(**BUSY)) as simulator, client(simulator.ws_url) as me:
        await follow(me, simulator, 4000)
    deltas = Counter(
        (m["market_ticker"], m["ts_ms"], m["side"], m["price_dollars"], m["delta_fp"])
        for m in (message["msg"] for message in me.of_type("orderbook_delta"))
    )
    followed = {m["msg"]["market_ticker"] for m in me.of_type("orderbook_snapshot")}
    first = min(key[1] for key in deltas)
    trades = [m["msg"] for m in me.of_type("trade")]
    coupled = [t for t in trades if t["market_ticker"] in followed and t["ts_ms"] >= first and not t["is_block_trade"]]
    assert len(coupled) > 50
    newcomers = {m["msg"]["market_ticker"] for m in me.of_type("market_lifecycle_v2")}
    for trade in (t for t in coupled if t["market_ticker"] not in newcomers):
        maker = "no" if trade["taker_outcome_side"] == "yes" else "yes"
        key = (trade["market_ticker"], trade["ts_ms"], maker, trade[f"{maker}_price_dollars"], f"-{trade['count_fp']}")
        assert deltas[key] > 0
        deltas[key] -= 1
        assert trade["taker_book_side"] == ("bid" if trade["taker_side"] == "yes" else "ask")
        assert float(trade["yes_price_dollars"]) + float(trade["no_price_dollars"]) == pytest.approx(1)


async def test_lifecycle(options: Any, client: Any) -> None:
    """Newcomers are created and activated; closing sends one empty snapshot, and later the outcome and its payment."""
    async with running(options(**BUSY)) as simulator, client(simulator.ws_url) as me:
        await follow(me, simulator, 8000)
    lives: dict[str, list[str]] = {}
    for message in me.of_type("market_lifecycle_v2"):
        lives.setdefault(message["msg"]["market_ticker"], []).append(message["msg"]["event_type"])
    full = ["created", "activated", "determined", "settled"]
    assert all(life in (full, full[:3], full[:2], full[2:], full[2:3]) for life in lives.values())
    assert {"created", "settled"} <= {step for life in lives.values() for step in life}
    assert me.of_type("event_lifecycle")
    created = next(m["msg"] for m in me.of_type("market_lifecycle_v2") if m["msg"]["event_type"] == "created")
    assert created["price_ranges"][0]["start"] == "0.0000"
    assert created["additional_metadata"]["event_ticker"] in created["market_ticker"]
    settled = next(ticker for ticker, life in lives.items() if life[-1] == "settled")
    book_frames = [m for m in me.messages if m["type"].startswith("orderbook") and m["msg"]["market_ticker"] == settled]
    assert book_frames[-1]["msg"].keys() == {"market_ticker", "market_id"}


async def test_ledger_opens_and_closes_every_book(options: Any, client: Any, tmp_path: Path) -> None:
    """Opening books plus deltas give the last books, with nobody listening; the end counts what stands above it."""
    path = tmp_path / "ledger.ndjson"
    async with running(options(ledger=path, **BUSY)) as simulator:
        await until(lambda: simulator.ledger.deltas > 3000)
        simulator.stop_traffic()
        lines = read_ledger(path)
        expected = expected_books(simulator)
    books: dict[str, dict[str, dict[str, float]]] = {}
    for line in lines:
        if line["kind"] == "book":
            books[line["ticker"]] = {side: {p: float(s) for p, s in line[side]} for side in ("yes", "no")}
        elif line["kind"] == "delta":
            levels = books[line["ticker"]][line["side"]]
            levels[line["price"]] = round(levels.get(line["price"], 0.0) + float(line["delta"]), 2)
            if not levels[line["price"]]:
                del levels[line["price"]]
    assert books == expected
    kinds = Counter(line["kind"] for line in lines)
    assert lines[-1] == {
        "kind": "end", "ts_ms": lines[-1]["ts_ms"],
        "deltas": kinds["delta"], "trades": kinds["trade"], "tickers": kinds["ticker"],
    }  # fmt: skip
    assert all(line["recipients"] == 0 for line in lines if "recipients" in line)
    assert [line["ts_ms"] for line in lines] == sorted(line["ts_ms"] for line in lines)
    assert read_ledger(path) == lines, "nothing follows the end"


async def test_yes_priced_deltas_fold_to_the_same_book(options: Any, client: Any, fold: Any) -> None:
    """A client with `use_yes_price` beside one without: the same changes, the no side mirrored, each counted."""
    async with (
        running(options(rate=2000.0)) as simulator,
        client(simulator.ws_url) as plain,
        client(simulator.ws_url) as priced,
    ):
        tickers = list(simulator.exchange.catalogue.markets)
        await plain.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        await priced.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers, use_yes_price=True)
        start = simulator.ledger.deltas
        await until(lambda: simulator.ledger.deltas > start + 1000)
        simulator.stop_traffic()
        await plain.settle()
        await priced.settle()
        mirrored = fold(priced.messages)
        for ticker, book in fold(plain.messages).items():
            assert mirrored[ticker]["yes"] == book["yes"]
            assert mirrored[ticker]["no"] == {f"{1 - float(p):.4f}": s for p, s in book["no"].items()}


async def test_a_snapshot_is_followed_by_exactly_its_deltas(options: Any, client: Any, fold: Any) -> None:
    """Under traffic, markets are added, taken away and asked for again and again: the books stay exact throughout."""
    async with running(options(rate=4000.0)) as simulator, client(simulator.ws_url) as me:
        tickers = list(simulator.exchange.catalogue.markets)
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        for turn in range(40):
            some = tickers[turn % 7 : turn % 7 + 5]
            await me.send("update_subscription", sid=1, action="get_snapshot", market_tickers=some)
            await me.send("update_subscription", sid=1, action="delete_markets", market_tickers=some[:2])
            await me.ask("update_subscription", sid=1, action="add_markets", market_tickers=some[:2])
        simulator.stop_traffic()
        await me.settle()
        assert fold(me.messages) == expected_books(simulator)
        assert me.sequence(1) == list(range(1, len(me.sequence(1)) + 1))


async def test_many_markets_arrive_paced(options: Any, client: Any, fold: Any) -> None:
    """A subscription to thousands of markets gets its snapshots in portions between the traffic, and loses nothing."""
    async with running(options(markets=3000, rate=2000.0)) as simulator, client(simulator.ws_url) as me:
        tickers = list(simulator.exchange.catalogue.markets)
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        seen: set[str] = set()
        while len(seen) < len(tickers):
            message = await me.receive()
            if message["type"] == "orderbook_snapshot":
                seen.add(message["msg"]["market_ticker"])
        simulator.stop_traffic()
        await me.settle()
        assert fold(me.messages) == expected_books(simulator)


async def test_slow_reader_loses_its_subscription_only(options: Any, client: Any, tmp_path: Path) -> None:
    """Whoever does not read gets error 25 once, with the next seq, and no more of that sid; the socket lives on."""
    path = tmp_path / "ledger.ndjson"
    slow = options(rate=20_000.0, ledger=path, send_buffer_bytes=200_000)
    async with running(slow) as simulator, client(simulator.ws_url) as me:
        tickers = list(simulator.exchange.catalogue.markets)
        await me.send("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        await until(lambda: b'"recipients":1' in tail(path))
        await until(lambda: b'"recipients":0' in tail(path) and b'"recipients":1' not in tail(path))
        error = await me.until(lambda message: message["type"] == "error")
        assert error["msg"] == {"code": 25, "msg": "Subscription buffer overflow"}
        simulator.stop_traffic()
        await me.settle()
        assert me.messages[-1]["msg"] == []
        assert me.sequence(1) == list(range(1, error["seq"] + 1))
        answer = await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:1])
        assert answer["msg"]["sid"] == 2
        assert [m["seq"] for m in await me.settle()] == [1]
    received = len(me.of_type("orderbook_delta"))
    assert received == sum(line.get("recipients", 0) for line in read_ledger(path) if line["kind"] == "delta")


async def test_heartbeat(options: Any, client: Any) -> None:
    """Pings with the payload `heartbeat` come by themselves, after the traffic too; a client's pings are answered."""
    async with running(options(heartbeat_seconds=0.05)) as simulator, client(simulator.ws_url) as me:
        simulator.stop_traffic()
        payloads: list[bytes] = []
        inner = me.socket.protocol.recv_frame

        def spy(frame: Any) -> None:
            if frame.opcode is Opcode.PING:
                payloads.append(bytes(frame.data))
            inner(frame)

        me.socket.protocol.recv_frame = spy
        await until(lambda: len(payloads) >= 3)
        assert set(payloads) == {b"heartbeat"}
        async with asyncio.timeout(5):
            await (await me.socket.ping(b"anybody there?"))
