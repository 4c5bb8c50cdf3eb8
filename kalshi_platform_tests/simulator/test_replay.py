"""A recorded tape, heard by a client that never saw the recording."""

import asyncio
import gzip
import json
from math import inf
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kalshi_platform.simulator import RecordingError, running
from kalshi_platform.simulator.recording import read_recording
from kalshi_platform_tests.waiting import until

START = 1_786_407_333_000


def _book(ticker: str, **sides: object) -> dict[str, Any]:
    return {
        "type": "orderbook_snapshot",
        "sid": 9,
        "seq": 77,
        "msg": {"market_ticker": ticker, "market_id": "", **sides},
    }


def _delta(ticker: str, side: str, price: str, change: str, ts_ms: int) -> dict[str, Any]:
    message = {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": side, "ts_ms": ts_ms,
               "ts": "2026-08-11T00:15:33.463921Z", "field_of_the_future": [1]}  # fmt: skip
    return {"type": "orderbook_delta", "sid": 9, "seq": 78, "msg": message}


def _tape(path: Path, *frames: tuple[int, dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps({"recv_ms": START + at, "event": frame}) + "\n" for at, frame in frames))
    return path


@pytest.fixture
def small_tape(tmp_path: Path) -> Path:
    """Two markets over two seconds."""
    trade = {"trade_id": "t-1", "market_ticker": "KXA-1", "yes_price_dollars": "0.4000", "no_price_dollars": "0.6000",
             "count_fp": "2.50", "taker_side": "no", "taker_outcome_side": "no", "ts": START // 1000,
             "ts_ms": START + 1000}  # fmt: skip
    return _tape(
        tmp_path / "tape.ndjson",
        (0, _book("KXA-1", yes_dollars_fp=[["0.4000", "10.00"]])),
        (0, _book("KXB-1", no_dollars_fp=[["0.5500", "1.00"]])),
        (1000, _delta("KXA-1", "yes", "0.4000", "-2.50", START + 1000)),
        (1000, {"type": "trade", "sid": 8, "seq": 5, "msg": trade}),
        (1500, _delta("KXB-1", "no", "0.5500", "-1.00", START + 1500)),
        (2000, _delta("KXA-1", "no", "0.3000", "4.00", START + 2000)),
    )


async def test_history_is_heard_as_it_was(options: Any, client: Any, small_tape: Path, tmp_path: Path) -> None:
    """Messages word for word, numbers of this connection, and the ledger's account of them."""
    ledger = tmp_path / "ledger.ndjson"
    chosen = options(replay=small_tape, replay_speed=inf, replay_wait_seconds=0.05, ledger=ledger)
    async with running(chosen) as simulator, client(simulator.ws_url) as me:
        await me.ask("subscribe", channels=["orderbook_delta", "trade"], market_tickers=["KXB-1", "KXA-1"])
        await until(lambda: not simulator.is_trading)
        await me.settle()
        assert simulator.replay is not None
        assert simulator.replay.played == simulator.replay.frames == 6
        assert simulator.exchange.find("KXA-1").book.levels == {"yes": {4000: 750}, "no": {3000: 400}}
    recorded = [json.loads(frame.message) for frame in read_recording(small_tape) if frame.type == "orderbook_delta"]
    assert [one["msg"] for one in me.of_type("orderbook_delta")] == recorded
    assert [one["msg"]["trade_id"] for one in me.of_type("trade")] == ["t-1"]
    assert me.sequence(1) == list(range(1, len(me.sequence(1)) + 1))
    assert all(one["sending_ts_ms"] >= one["msg"]["ts_ms"] for one in me.of_type("orderbook_delta"))
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(n["ticker"], n["delta"], n["ts_ms"] - START, n["recipients"]) for n in lines if n["kind"] == "delta"] == [
        ("KXA-1", "-2.50", 1000, 1), ("KXB-1", "-1.00", 1500, 1), ("KXA-1", "4.00", 2000, 1),
    ]  # fmt: skip
    assert lines[-1]["kind"] == "end"


async def test_a_late_subscriber_gets_the_book_of_the_tapes_place(
    options: Any, client: Any, small_tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two moments of the tape: the first book is that of the moment, on the yes scale where asked for."""
    async with (
        running(options(replay=small_tape, replay_speed=inf, replay_wait_seconds=inf)) as simulator,
        client(simulator.ws_url) as me,
        client(simulator.ws_url) as other,
    ):
        replay = simulator.replay
        assert replay is not None
        monkeypatch.setattr(simulator.hub, "has_room", lambda _: replay.played < 4)
        replay.begin()
        await until(lambda: replay.played == 4)
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KXA-1"])
        await other.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KXA-1"], use_yes_price=True)
        assert (await me.receive())["msg"]["yes_dollars_fp"] == [["0.4000", "7.50"]]
        await other.receive()
        assert replay.played == 4
        monkeypatch.undo()
        assert (await me.receive())["msg"]["price_dollars"] == "0.3000"
        assert (await other.receive())["msg"]["price_dollars"] == "0.7000"


async def test_the_tape_keeps_its_time(options: Any, small_tape: Path) -> None:
    """At ten times the speed two seconds take a fifth of one; a silence of hours is leapt over."""
    late = _tape(
        small_tape.with_name("late.ndjson"),
        (7_200_000, _delta("KXA-1", "no", "0.3000", "-1.00", START + 7_200_000)),
    )
    loop = asyncio.get_running_loop()
    async with running(options(replay=late.parent, replay_speed=10.0, replay_wait_seconds=inf)) as simulator:
        replay = simulator.replay
        assert replay is not None
        started = loop.time()
        replay.begin()
        await until(lambda: replay.played >= 6)
        assert loop.time() - started >= 0.2
        await until(lambda: not simulator.is_trading)
        assert replay.played == 7
        assert simulator.exchange.now_ms >= START + 7_200_000


async def test_rest_lists_what_the_tape_holds(options: Any, small_tape: Path) -> None:
    """A client that walks the markets finds those to subscribe, and their books of the moment."""
    chosen = options(replay=small_tape, replay_speed=inf, replay_wait_seconds=inf)
    async with running(chosen) as simulator, aiohttp.ClientSession() as http:

        async def get(path: str) -> Any:
            async with http.get(simulator.rest_url + path) as answer:
                assert answer.status == 200
                return await answer.json()

        found = await get("/markets?status=open")
        assert [one["ticker"] for one in found["markets"]] == ["KXA-1", "KXB-1"]
        assert (await get("/events/KXA"))["event"]["series_ticker"] == "KXA"
        assert simulator.replay is not None
        simulator.replay.begin()
        await until(lambda: not simulator.is_trading)
        book = await get("/markets/KXA-1/orderbook")
        assert book["orderbook_fp"] == {"yes_dollars": [["0.4000", "7.50"]], "no_dollars": [["0.3000", "4.00"]]}
        assert [one["trade_id"] for one in (await get("/markets/trades"))["trades"]] == ["t-1"]


async def test_holes_of_a_recording_are_counted(options: Any, tmp_path: Path) -> None:
    """A level that would go below nothing is left empty, and somebody is told."""
    path = _tape(tmp_path / "tape.ndjson", (0, _delta("KXA-1", "yes", "0.4000", "-2.50", START)))
    async with running(options(replay=path, replay_speed=inf, replay_wait_seconds=inf)) as simulator:
        replay = simulator.replay
        assert replay is not None
        replay.begin()
        await until(lambda: not simulator.is_trading)
        assert replay.impossible == 1
        assert replay.find("KXA-1").book.levels == {"yes": {}, "no": {}}


async def test_a_missing_recording_is_an_error_in_plain_words(options: Any, tmp_path: Path) -> None:
    """Before anything listens."""
    with pytest.raises(RecordingError, match="does not exist"):
        async with running(options(replay=tmp_path / "none.ndjson")):
            pass


async def test_a_recorded_window_arrives_whole(options: Any, client: Any, shared_data: Path, fold: Any) -> None:
    """A quarter of an hour of gold, as fast as this client reads: each message once, in order, books as recorded."""
    (path,) = (shared_data / "gold15m" / "events" / "KXGOLD15M-26AUG101800-00").glob("*.gz")
    events = [json.loads(line)["event"] for line in gzip.decompress(path.read_bytes()).splitlines()]
    chosen = options(replay=path, replay_speed=inf, replay_wait_seconds=0.05)
    ticker = "KXGOLD15M-26AUG101800-00"
    async with running(chosen) as simulator, client(simulator.ws_url) as me:
        await me.ask("subscribe", channels=["orderbook_delta", "trade"], market_tickers=[ticker])
        missing = sum(one["type"] in ("orderbook_delta", "trade") for one in events)
        while missing:
            missing -= (await me.receive())["type"] in ("orderbook_delta", "trade")
        await until(lambda: not simulator.is_trading)
        await me.settle()
    for kind in ("orderbook_delta", "trade"):
        assert [one["msg"] for one in me.of_type(kind)] == [one["msg"] for one in events if one["type"] == kind]
    assert fold(me.messages) == fold([one for one in events if one["type"].startswith("orderbook")])
