"""The ledger says what was sent to whom and when, in either form, and which holes each client could see."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from websockets.exceptions import ConnectionClosed

from kalshi_platform.simulator import Fault, FaultKind, FaultOptions, SimulatorOptions, running
from kalshi_platform.simulator.account import Handed
from kalshi_platform.simulator.connection import Connection
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.ledger_file import SCHEMA
from kalshi_platform.simulator.order_flow import Delta
from kalshi_platform.simulator.session import Session
from kalshi_platform_tests.waiting import until

LOSSY = (FaultKind.DROP, FaultKind.REORDER, FaultKind.DUPLICATE, FaultKind.GARBAGE, FaultKind.HALF)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Every line of a ledger of either form, without what is null."""
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
        return [{name: value for name, value in row.items() if value is not None} for row in rows]
    return [json.loads(line) for line in path.read_text().splitlines()]


async def _listen(me: Any, simulator: Any, deltas: int) -> None:
    await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=list(simulator.exchange.catalogue.markets))
    await me.ask("subscribe", channels=["trade", "ticker"])
    while len(me.of_type("orderbook_delta")) < deltas:
        await me.receive()


@pytest.mark.parametrize("name", ["ledger.ndjson", "ledger.parquet"])
async def test_who_got_what_and_when(options: Any, client: Any, tmp_path: Path, name: str) -> None:
    """Each message of each of two clients is in the account: connection, sid, seq, content and time of sending."""
    path = tmp_path / name
    async with (
        running(options(rate=2000.0, ledger=path)) as simulator,
        client(simulator.ws_url) as me,
        client(simulator.ws_url) as other,
    ):
        await asyncio.gather(_listen(me, simulator, 300), _listen(other, simulator, 300))
        simulator.stop_traffic()
        for one in (me, other):
            await one.settle()
    lines = lines_of(path)
    connected = [line for line in lines if line["kind"] == "connected"]
    assert [line["connection"] for line in connected] == [1, 2]
    local = me.socket.local_address
    mine = next(line["connection"] for line in connected if line["peer"] == f"{local[0]}:{local[1]}")
    sent = {
        (connection, sid, seq, line["sent_ms"], line["ticker"], line["ts_ms"])
        for line in lines
        if line["kind"] in ("delta", "trade", "ticker")
        for connection, sid, seq in line["to"]
    }
    for one, number in ((me, mine), (other, 3 - mine)):
        got = {
            (number, m["sid"], m.get("seq", 0), m["sending_ts_ms"], m["msg"]["market_ticker"], m["msg"]["ts_ms"])
            for kind in ("orderbook_delta", "trade", "ticker")
            for m in one.of_type(kind)
        }
        assert got == {entry for entry in sent if entry[0] == number}
    assert all(line["recipients"] == len(line["to"]) for line in lines if "to" in line)
    subscribed = [(line["connection"], line["sid"], line["channel"]) for line in lines if line["kind"] == "subscribed"]
    channels = [(1, "orderbook_delta"), (2, "trade"), (3, "ticker")]
    assert sorted(subscribed) == [(n, sid, channel) for n in (1, 2) for sid, channel in channels]


def test_both_forms_hold_the_same_lines(tmp_path: Path) -> None:
    """Field for field; Parquet takes its name when it is complete."""
    paths = [tmp_path / "a.ndjson", tmp_path / "a.parquet"]
    for path in paths:
        ledger = Ledger(path)
        for n in range(25_000):
            ledger.delta(n, "KXA", Delta("no", 4200, -250), Handed(1, n + 1, f"[1,2,{n}]"))
        ledger.flush()
        assert path.exists() is (path.suffix == ".ndjson")
        ledger.end(99)
        ledger.delta(1, "KXA", Delta("no", 1, 1), Handed(0, 1, ""))
        ledger.close()
    (as_text, as_parquet) = map(lines_of, paths)
    assert as_text == as_parquet
    assert as_text[-1] == {"kind": "end", "ts_ms": 99, "deltas": 25_000, "trades": 0, "tickers": 0}
    assert sorted(tmp_path.iterdir()) == paths
    assert pq.ParquetFile(paths[1]).num_row_groups == 3


def test_an_unknown_field_cannot_be_written(tmp_path: Path) -> None:
    """The columns of Parquet are those of every line."""
    assert len(SCHEMA.names) == len(set(SCHEMA.names))
    ledger = Ledger(tmp_path / "a.parquet")
    ledger._note('{"kind":"new","ts_ms":1,"field_of_the_future":1}\n')
    with pytest.raises(Exception, match="unexpected field"):
        ledger.close()


async def test_every_hole_that_a_client_sees_is_named(options: Any, client: Any, tmp_path: Path) -> None:
    """Random faults: the holes in the numbers that arrive are those of the ledger, and no others."""
    path = tmp_path / "ledger.ndjson"
    faults = FaultOptions(rate=0.05, kinds=LOSSY, seed=5)
    arrived: dict[int, list[int]] = {}
    async with running(options(rate=3000.0, ledger=path, faults=faults)) as simulator, client(simulator.ws_url) as me:
        tickers = list(simulator.exchange.catalogue.markets)
        await me.send("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        await me.send("subscribe", channels=["trade"])
        while simulator.ledger.deltas < 3000:
            await _note(me, arrived)
        simulator.stop_traffic()
        await me.send("unsubscribe", sids=[1, 2])  # numbered, so that a hole at the very end shows as well
        while {1, 2} != await _note(me, arrived):
            pass
    gaps = sorted(
        (line["sid"], line["expected_seq"], line["seen_seq"]) for line in lines_of(path) if line["kind"] == "gap"
    )
    final = {sid: numbers[-1] for sid, numbers in arrived.items()}
    seen = [gap for sid, numbers in arrived.items() for gap in _holes(sid, numbers)]
    assert [gap for gap in sorted(seen) if gap[2] < final[gap[0]]] == gaps
    assert len(gaps) > 50


_over: set[int] = set()


async def _note(me: Any, arrived: dict[int, list[int]]) -> set[int]:
    """Take one frame, which may be nonsense; returns the subscriptions that have ended."""
    async with asyncio.timeout(10):
        text = await me.socket.recv()
    try:
        message = json.loads(text)
    except ValueError:
        return _over
    if "seq" in message:
        arrived.setdefault(message["sid"], []).append(message["seq"])
    if message["type"] == "unsubscribed":
        _over.add(message["sid"])
    return _over


def _holes(sid: int, numbers: list[int]) -> list[tuple[int, int, int]]:
    """What a client that counts would note: each leap over numbers that it has not had."""
    holes, latest = [], 0
    for number in numbers:
        if number > latest + 1:
            holes.append((sid, latest + 1, number))
        latest = max(latest, number)
    return holes


class Unread:
    """A socket from which nobody reads."""

    unread = 0

    def get_write_buffer_size(self) -> int:
        """What is left."""
        return self.unread

    def is_closing(self) -> bool:
        """Never."""
        return False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.unread += len(data)


def test_who_does_not_read_is_not_in_the_account(tmp_path: Path) -> None:
    """The message that ends a subscription by error 25 was handed to nobody; those before it were."""
    path = tmp_path / "ledger.ndjson"
    hub, ledger = Hub(lambda: 1_000), Ledger(path)
    exchange = Exchange(SimulatorOptions(markets=1, new_market_seconds=0, change_market_seconds=0), hub, ledger)
    exchange.open(1_000)
    (ticker,) = exchange.catalogue.markets
    session = Session(Connection(Unread(), 5_000, 1), hub, exchange)  # type: ignore[arg-type]
    hub.admit(session)
    command = {"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_tickers": [ticker]}}
    session.handle(json.dumps(command))
    for n in range(200):
        exchange.step(1_001 + n)
        hub.flush()
    ledger.end(2_000)
    lines = lines_of(path)
    deltas = [line for line in lines if line["kind"] == "delta"]
    heard = [line for line in deltas if line["recipients"]]
    assert 0 < len(heard) < len(deltas)
    assert heard == deltas[: len(heard)]
    assert [line["to"] for line in heard] == [[[1, 1, 2 + n]] for n in range(len(heard))]
    assert all(line["to"] == [] for line in deltas[len(heard) :])
    (ended,) = [line for line in lines if line["kind"] == "ended"]
    assert ended["seq"] == 1 + len(heard)


async def test_a_cut_connection_is_in_the_account(options: Any, client: Any, tmp_path: Path) -> None:
    """Its subscriptions end with the last number that they used."""
    path = tmp_path / "ledger.ndjson"
    script = FaultOptions(script=(Fault(FaultKind.CUT, 50),))
    async with running(options(rate=2000.0, ledger=path, faults=script)) as simulator:
        async with client(simulator.ws_url) as me:
            with pytest.raises(ConnectionClosed):
                await _listen(me, simulator, 1000)
        await until(lambda: "disconnected" in path.read_text())
    lines = lines_of(path)
    (fault,) = [line for line in lines if line["kind"] == "fault"]
    ended = {line["sid"]: line["seq"] for line in lines if line["kind"] == "ended"}
    assert ended[fault["sid"]] == fault["seq"]
    assert fault["withheld"]
