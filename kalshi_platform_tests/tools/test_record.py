"""Recorder and gatherer side by side on one exchange; what is replayed is what was captured."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.messages import decode
from kalshi_platform.core.schema import Table
from kalshi_platform.database.sink import Sink
from kalshi_platform.database.writer import WriterRow
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.signing import Signer, load_signer
from kalshi_platform.exchange.socket import open_socket
from kalshi_platform.gatherer.coverage import Coverage
from kalshi_platform.gatherer.router import Router
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.simulator import Simulator, running
from kalshi_platform.tools.children import platform_command
from kalshi_platform.tools.record import Recorder, Spread
from kalshi_platform.tools.recordings import (
    ConnectionClosed,
    RecordedFrame,
    find_recordings,
    read_frames,
    read_recording,
)
from kalshi_platform.tools.replay import Replay
from kalshi_platform.tools.tape import Tape
from kalshi_platform.tools.tape_files import TapeOptions
from kalshi_platform_tests.gatherer.exchange_at_hand import (
    KEY_ID,
    Proxy,
    gatherer,
    gathering,
    keys,
    now_us,
    options,
)
from kalshi_platform_tests.waiting import until

CHANNELS = [Channel.ORDERBOOK, Channel.TICKER, Channel.TRADE, Channel.LIFECYCLE]
QUIET = {"new_market_seconds": 0.0, "close_market_seconds": 0.0, "change_market_seconds": 0.0}
CONTENT = {
    "orderbook_deltas": "exchange_ts, ticker, side, price, size_delta, occurrence, position",
    "trades": "exchange_ts, trade_id, ticker, price, size, taker_side, is_block_trade",
    "tickers": "exchange_ts, ticker, last_price, yes_bid, yes_ask, yes_bid_size, yes_ask_size, last_trade_size, "
    "volume, open_interest, dollar_volume, dollar_open_interest, digest",
}
"""What is the exchange's: all but when and on which connection it was heard."""

WITH_PROVENANCE = {
    "orderbook_deltas": f"{CONTENT['orderbook_deltas']}, seq, sid, received_at",
    "trades": f"{CONTENT['trades']}, received_at",
    "tickers": f"{CONTENT['tickers']}, received_at",
    "orderbook_snapshots": "snapshot_ts, ticker, source, yes_prices, yes_sizes, no_prices, no_sizes, received_at",
}


async def copied(url: str, columns: dict[str, str]) -> dict[str, bytes]:
    """PostgreSQL's own bytes of each table, in the order of all columns; checkpoints are left out, see the test."""
    connection = await asyncpg.connect(url)
    found = {}
    for table, names in columns.items():
        only = "WHERE source = 'ws'" if table == "orderbook_snapshots" else ""
        pieces: list[bytes] = []

        async def take(data: bytes, pieces: list[bytes] = pieces) -> None:
            pieces.append(data)

        query = f"SELECT {names} FROM {table} {only} ORDER BY {names}"  # noqa: S608
        await connection.copy_from_query(query, output=take, format="binary")
        found[table] = b"".join(pieces)
    await connection.close()
    return found


async def replayed(url: str, folder: Path) -> None:
    """A recording in a database."""
    await Replay(url, "gatherer-1", 1000, lambda _path, _frames: None).run([folder])


async def play(simulator: Simulator, changes: int) -> None:
    """So much traffic, and its end."""
    simulator.resume()
    await until(lambda: simulator.ledger.deltas >= changes)
    simulator.stop_traffic()


@pytest.mark.slow
async def test_a_replay_is_what_a_gatherer_captured(tmp_path: Path, new_gatherer_database: Callable[[], str]) -> None:
    """A gatherer on six connections, a recorder on five of its own: the same content, byte for byte, in several files.

    The tape is one, in the order of receipt, and each connection's numbers rise in it.
    """
    private, public = keys(tmp_path)
    captured, from_tape = new_gatherer_database(), new_gatherer_database()
    async with running(options(tmp_path, public, **QUIET)) as simulator:
        simulator.pause()
        one = gatherer(captured, simulator.rest_url, simulator.ws_url, private)
        recorder = Recorder(
            simulator.ws_url, _signer(private), tmp_path / "tapes", CHANNELS,
            simulator.exchange.catalogue.markets, options=TapeOptions(flush_seconds=0.05, rotate_seconds=0.3),
            spread=Spread(connections=4),
        )  # fmt: skip
        stop = asyncio.Event()
        recording = asyncio.create_task(recorder.run(stop))
        async with gathering(one):
            await until(lambda: _listening(simulator, 7, 2))
            await play(simulator, 3000)
            sent = simulator.ledger
            await until(lambda: recorder.report.frames >= sent.deltas + sent.trades + sent.tickers)
        stop.set()
        report = await recording
    assert len(report.files) > 1
    assert (report.gaps, report.connections) == (0, 5)
    tape = [frame for path in report.files for frame in read_frames(path)]
    stamps = [frame.received_us or 0 for frame in tape]
    assert stamps == sorted(stamps)
    assert {frame.connection for frame in tape} == {1, 2, 3, 4, 5}
    await replayed(from_tape, tmp_path / "tapes")
    live, again = await copied(captured, CONTENT), await copied(from_tape, CONTENT)
    assert {name: len(data) for name, data in live.items()} == {name: len(data) for name, data in again.items()}
    assert live == again
    assert min(map(len, live.values())) > 1000


async def test_with_the_recorded_stamps_even_provenance_is_equal(
    tmp_path: Path, new_gatherer_database: Callable[[], str]
) -> None:
    """One socket, heard by a gatherer's router and a tape: receive times, sids, seqs and snapshots too.

    Not compared: the transaction, which is the database's; and a checkpoint's receive time, which is when somebody
    thought of it.
    """
    private, public = keys(tmp_path)
    captured, from_tape = new_gatherer_database(), new_gatherer_database()
    async with running(options(tmp_path, public, **QUIET)) as simulator:
        simulator.pause()
        sink = Sink(captured, _Deaf(), lambda _table: None, _waits)
        session = Session(CHANNELS, simulator.exchange.catalogue.markets)
        router = Router(
            Coverage("gatherer-1", "c", sink.add), session, Capture("gatherer-1", 1000), sink, GathererMetrics(),
            lambda _frame: None,
        )  # fmt: skip
        tape = Tape(tmp_path / "tapes", TapeOptions(), [], now_us, lambda _path: None)
        number, taken = tape.opened(now_us(), []), 0

        async def listen() -> None:
            nonlocal taken
            async with open_socket(simulator.ws_url, _signer(private), now_us) as socket:
                for command in session.take_commands():
                    await socket.send(command)
                async for messages in socket:
                    for raw, received_us in messages:
                        tape.write(number, raw, received_us)
                        taken += 1
                    router.feed(messages)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run())
            listening = tasks.create_task(listen())
            await until(lambda: _listening(simulator, 1, 1))
            await play(simulator, 3000)
            sent = simulator.ledger
            await until(lambda: taken >= sent.deltas + sent.trades + sent.tickers + 30)
            listening.cancel()
            sink.close()
        tape.end()
        await tape.run(now_us)
    await replayed(from_tape, tmp_path / "tapes")
    assert await copied(captured, WITH_PROVENANCE) == await copied(from_tape, WITH_PROVENANCE)


async def test_a_broken_connection_is_another_tape(tmp_path: Path) -> None:
    """Cut in the middle: the recorder connects again and records on; the tape says what came over which connection."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public, **QUIET)) as simulator, Proxy(simulator.ws_url) as proxy:
        chosen = next(iter(simulator.exchange.catalogue.markets))
        folder = tmp_path / "tapes"
        recorder = Recorder(proxy.ws_url, _signer(private), folder, CHANNELS, [chosen], only=True)
        stop = asyncio.Event()
        recording = asyncio.create_task(recorder.run(stop))
        await until(lambda: recorder.report.frames > 50)
        proxy.cut()
        before = recorder.report.frames
        await until(lambda: recorder.report.connections == 2 and recorder.report.frames > before + 50)
        stop.set()
        report = await recording
    lines = [line for path in report.files for line in read_recording(path)]
    assert {line.connection for line in lines} == {1, 2}
    assert [line for line in lines if isinstance(line, ConnectionClosed)] == [ConnectionClosed(1), ConnectionClosed(2)]
    frames = [json.loads(line.raw) for line in lines if isinstance(line, RecordedFrame)]
    assert len(frames) == report.frames
    named = {one["msg"]["market_ticker"] for one in frames if "market_ticker" in one.get("msg", {})}
    assert named == {chosen}
    assert [one["type"] for one in frames].count("subscribed") == 2 * len(CHANNELS)


def test_new_markets_are_followed_and_combos_are_not(tmp_path: Path) -> None:
    """Combos come by the thousand an hour; the list that a recording begins with has none either.

    Where no connection has room there is one more; what is settled makes room.
    """
    private, _ = keys(tmp_path)
    recorder = Recorder(
        "ws://127.0.0.1:1", _signer(private), tmp_path, CHANNELS, [], follows_new=True, spread=Spread(most_markets=2)
    )

    def told(kind: str, ticker: str, event: str) -> None:
        message = {"market_ticker": ticker, "event_type": event}
        recorder._look_at(decode(json.dumps({"type": kind, "sid": 1, "seq": 1, "msg": message}).encode()))

    told("multivariate_market_lifecycle", "KXMVE-1", "created")
    for number in range(5):
        told("market_lifecycle_v2", f"KXNEW-{number}", "created")
    assert [list(one._tickers) for one in recorder._connections] == [
        ["KXNEW-0", "KXNEW-1"],
        ["KXNEW-2", "KXNEW-3"],
        ["KXNEW-4"],
    ]
    told("market_lifecycle_v2", "KXNEW-1", "settled")
    told("market_lifecycle_v2", "KXNEW-5", "activated")
    assert sorted(ticker for one in recorder._connections for ticker in one._tickers) == [
        f"KXNEW-{number}" for number in (0, 2, 3, 4, 5)
    ]
    assert len(recorder._connections) == 3


async def test_as_many_connections_as_the_exchange_makes_necessary(tmp_path: Path) -> None:
    """It refuses more than twenty markets on one: the rest are heard over others, and all of them are."""
    private, public = keys(tmp_path)
    limited = options(tmp_path, public, **QUIET, subscription_markets=20, markets=50)
    async with running(limited) as simulator:
        wanted = list(simulator.exchange.catalogue.markets)[:50]
        recorder = Recorder(simulator.ws_url, _signer(private), tmp_path / "tapes", [Channel.ORDERBOOK], wanted)
        stop = asyncio.Event()
        recording = asyncio.create_task(recorder.run(stop))
        await until(lambda: sum(len(one._tickers) for one in recorder._connections) == 50 and recorder.report.open > 2)
        await until(lambda: recorder.report.frames > 200)
        stop.set()
        report = await recording
    named = {
        one["msg"]["market_ticker"]
        for path in report.files
        for frame in read_frames(path)
        if (one := json.loads(frame.raw))["type"] == "orderbook_snapshot"
    }
    assert (named, len(named)) == (set(wanted), 50)


@pytest.mark.slow
async def test_the_command_survives_kill_9(tmp_path: Path) -> None:
    """Killed, begun again, killed, ended: nothing is written over; what was flushed is there, each frame once."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public, **QUIET)) as simulator:
        settings = {
            "KALSHI_WS_URL": simulator.ws_url, "KALSHI_REST_URL": simulator.rest_url, "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(private),
        }  # fmt: skip
        before: dict[str, bytes] = {}
        for number, number_of_signal in enumerate((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM), start=1):
            process = _record(tmp_path / "tapes", settings)
            size = sum(map(len, before.values()))
            await until(lambda size=size: _size(tmp_path / "tapes") > size + 20_000)  # type: ignore[misc]
            process.send_signal(number_of_signal)
            output, _ = await asyncio.to_thread(process.communicate)
            after = _contents(tmp_path / "tapes")
            assert {path: after[path] for path in before} == before
            before = after
            assert len(before) >= number
        assert process.returncode == 0
        report = json.loads(output)
        simulator.stop_traffic()
    last = [frame for path in report["files"] for frame in read_frames(Path(path))]
    assert len(last) == report["frames"]
    deltas = [json.loads(frame.raw) for path in before for frame in read_frames(Path(path))]
    assert sum(one["type"] == "orderbook_delta" for one in deltas) > 100


def _record(folder: Path, settings: dict[str, str]) -> "subprocess.Popen[bytes]":
    command = platform_command("record", str(folder), "--flush-seconds", "0.1", "--json")
    return subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in find_recordings([folder])}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*")) if folder.exists() else 0


def _listening(simulator: Simulator, books: int, others: int) -> bool:
    """Whether so many subscriptions have all their books, and so many hear trades and tickers."""
    heard = simulator.hub.listening()
    return (heard["orderbook_delta"], heard["trade"], heard["ticker"]) == (books, others, others)


def _signer(private: Path) -> Signer:
    return load_signer(KEY_ID, private, lambda: now_us() // 1000)


def _waits() -> Iterator[float]:
    while True:
        yield 0.01


class _Deaf:
    """A writer's listener that has nothing to say."""

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """Fine."""

    def failed(self, table: Table, error: Exception) -> None:
        """The test's database does not fail."""
        raise AssertionError(table.name) from error
