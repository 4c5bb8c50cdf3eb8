"""Faults on purpose, as a client sees them and as the ledger tells them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from kalshi_platform.simulator import Fault, FaultKind, FaultOptions, parse_fault, read_script, running
from kalshi_platform.simulator.faults import FaultPlan

AT = 50


def faulty(options: Any, path: Path, kind: FaultKind, **extra: Any) -> Any:
    """An exchange on whose connections one thing goes wrong at the fiftieth message."""
    script = (Fault(kind, AT, **extra),)
    return running(options(rate=2000.0, ledger=path, faults=FaultOptions(script=script)))


async def listen(me: Any, simulator: Any, messages: int = 400) -> None:
    """Subscribe to every book and read until so many changes, or until the connection is gone."""
    await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=list(simulator.exchange.catalogue.markets))
    while len(me.of_type("orderbook_delta")) < messages:
        await me.receive()
    simulator.stop_traffic()
    await me.settle()


def ledger_of(path: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind."""
    return [line for line in map(json.loads, path.read_text().splitlines()) if line["kind"] == kind]


def content(message: dict[str, Any]) -> tuple[Any, ...]:
    """What a delta says, on the wire or in the ledger."""
    body = message.get("msg", message)
    return (
        body.get("market_ticker", body.get("ticker")), body["ts_ms"], body["side"],
        body.get("price_dollars", body.get("price")), body.get("delta_fp", body.get("delta")),
    )  # fmt: skip


async def test_a_dropped_message_leaves_a_gap_and_is_told(options: Any, client: Any, tmp_path: Path) -> None:
    """One number is missing, and the ledger says which and counts nobody for it."""
    path = tmp_path / "ledger.ndjson"
    async with faulty(options, path, FaultKind.DROP) as simulator, client(simulator.ws_url) as me:
        await listen(me, simulator)
    numbers = me.sequence(1)
    (fault,) = ledger_of(path, "fault")
    assert set(range(1, numbers[-1] + 1)) - set(numbers) == {fault["seq"]}
    assert fault["withheld"] is True
    assert fault["fault"] == "drop"
    handed = Counter(content(line) for line in ledger_of(path, "delta") if line["recipients"])
    assert handed == Counter(content(message) for message in me.of_type("orderbook_delta"))


async def test_duplicates_and_disorder_lose_nothing(options: Any, client: Any, tmp_path: Path) -> None:
    """A doubled message comes twice with one number, a held one right after its successor; both count once."""
    path = tmp_path / "ledger.ndjson"
    script = (Fault(FaultKind.DUPLICATE, 50), Fault(FaultKind.REORDER, 80))
    faults = FaultOptions(script=script)
    async with running(options(rate=2000.0, ledger=path, faults=faults)) as simulator, client(simulator.ws_url) as me:
        await listen(me, simulator)
    numbers = me.sequence(1)
    doubled, held = (line["seq"] for line in ledger_of(path, "fault"))
    assert [n for n, times in Counter(numbers).items() if times > 1] == [doubled]
    assert numbers.index(held) == numbers.index(held + 1) + 1
    unique = {message["seq"]: content(message) for message in me.of_type("orderbook_delta")}
    assert Counter(unique.values()) == Counter(content(line) for line in ledger_of(path, "delta") if line["recipients"])


@pytest.mark.parametrize(("kind", "code"), [("cut", 1006), ("torn", 1006), ("close", 1001)])
async def test_a_connection_ends(options: Any, client: Any, tmp_path: Path, kind: str, code: int) -> None:
    """Cut without a word, in the middle of a frame, or with the exchange's farewell; another connection may follow."""
    path = tmp_path / "ledger.ndjson"
    async with faulty(options, path, FaultKind(kind), connection=1) as simulator:
        async with client(simulator.ws_url) as me:
            with pytest.raises(ConnectionClosed) as ended:
                await listen(me, simulator)
            assert (ended.value.rcvd.code if ended.value.rcvd else 1006) == code
        simulator.ledger.flush()
        (fault,) = ledger_of(path, "fault")
        assert len(me.of_type("orderbook_delta")) == AT - 1
        assert me.sequence(1)[-1] == fault["seq"] - 1
        async with client(simulator.ws_url) as another:
            await listen(another, simulator, messages=AT + 10)


@pytest.mark.parametrize(("kind", "code"), [("overflow", 25), ("channel_error", 10)])
async def test_a_subscription_dies(options: Any, client: Any, tmp_path: Path, kind: str, code: int) -> None:
    """The terminal errors end one subscription, with its next number; the socket lives on."""
    path = tmp_path / "ledger.ndjson"
    async with faulty(options, path, FaultKind(kind)) as simulator, client(simulator.ws_url) as me:
        tickers = list(simulator.exchange.catalogue.markets)
        await me.ask("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        error = await me.until(lambda message: message["type"] == "error")
        assert error["msg"]["code"] == code
        assert error["seq"] == me.sequence(1)[-2] + 1
        assert (await me.ask("list_subscriptions"))["msg"] == []


@pytest.mark.parametrize("kind", ["garbage", "half"])
async def test_unreadable_frames(options: Any, client: Any, tmp_path: Path, kind: str) -> None:
    """A frame that is not JSON takes the place of one message, whose number is missing."""
    path = tmp_path / "ledger.ndjson"
    async with faulty(options, path, FaultKind(kind)) as simulator, client(simulator.ws_url) as me:
        with pytest.raises(json.JSONDecodeError):
            await listen(me, simulator)
        await listen(me, simulator)
    assert ledger_of(path, "fault")[0]["seq"] not in me.sequence(1)


async def test_wrong_types(options: Any, client: Any, tmp_path: Path) -> None:
    """A message keeps its number and its keys, and every value in it has a wrong type."""
    async with faulty(options, tmp_path / "l", FaultKind.WRONG_TYPES) as simulator, client(simulator.ws_url) as me:
        await me.ask(
            "subscribe", channels=["orderbook_delta"], market_tickers=list(simulator.exchange.catalogue.markets)
        )
        wrong = await me.until(lambda message: not isinstance(message["msg"].get("market_ticker", ""), str))
        assert isinstance(wrong["msg"]["ts_ms"], str)
        assert isinstance(wrong["msg"]["price_dollars"], float)


@pytest.mark.parametrize("kind", ["stall", "late"])
async def test_silence(options: Any, client: Any, tmp_path: Path, kind: str) -> None:
    """A stall or a late start holds messages back, for as long as it says, and loses none."""
    async with (
        faulty(options, tmp_path / "l", FaultKind(kind), seconds=0.4) as simulator,
        client(simulator.ws_url) as me,
    ):
        await listen(me, simulator)
        sent = [m["sending_ts_ms"] for m in me.messages if "sending_ts_ms" in m]
        assert me.sequence(1) == list(range(1, len(me.sequence(1)) + 1))
        assert sent == sorted(sent)


def test_scripts_are_read_and_refused(tmp_path: Path) -> None:
    """The short form and the file say the same; nonsense is refused with what would be right."""
    path = tmp_path / "script.json"
    path.write_text('[{"kind": "stall", "message": 7, "seconds": 1.5, "connection": 2}]')
    assert read_script(path) == (parse_fault("stall@7=1.5#2"),)
    with pytest.raises(ValueError, match="KIND@MESSAGE"):
        parse_fault("explode@7")
    path.write_text("[{}]")
    with pytest.raises(ValueError, match="not a script"):
        read_script(path)


def test_lots_are_repeatable() -> None:
    """The same seed draws the same faults for the same connection, at about the asked rate."""

    def drawn(connection: int) -> list[Any]:
        plan = FaultPlan(FaultOptions(rate=0.05), connection)
        return [fault for _ in range(5000) if (fault := plan.next())]

    assert drawn(1) == drawn(1)
    assert [f.message for f in drawn(1)] != [f.message for f in drawn(2)]
    assert 150 < len(drawn(1)) < 350
