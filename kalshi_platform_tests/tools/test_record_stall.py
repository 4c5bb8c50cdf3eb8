"""A disk that stalls under a recording: sockets wait, memory is bounded, and with the disk back all goes on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from kalshi_platform.exchange.bucket import Limit, TokenBucket
from kalshi_platform.exchange.session import Channel
from kalshi_platform.tools.record_connection import RecordedConnection, RecordReport, Surroundings
from kalshi_platform.tools.recordings import read_frames
from kalshi_platform.tools.tape import Tape
from kalshi_platform.tools.tape_files import Line, TapeFiles, TapeOptions
from kalshi_platform_tests.gatherer.exchange_at_hand import now_us
from kalshi_platform_tests.waiting import until

MOST = 10_000
FRAME_BYTES = 300
SMALL = TapeOptions(flush_seconds=0.01, flush_bytes=1000, most_bytes=MOST)


class StallingDisk:
    """The disk below a tape, which takes nothing while it stalls.

    Attributes:
        most_waiting: The most bytes that a tape held whenever the disk was given some.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_waiting = 0
        self.tape: Tape | None = None
        self._goes = threading.Event()
        self._goes.set()
        append = TapeFiles.append

        def stalling(files: TapeFiles, lines: Sequence[Line], at_us: int) -> Path | None:
            assert self._goes.wait(60)
            self.most_waiting = max(self.most_waiting, 0 if self.tape is None else self.tape._waiting)
            return append(files, lines, at_us)

        monkeypatch.setattr(TapeFiles, "append", stalling)

    def stall(self) -> None:
        """Take nothing."""
        self._goes.clear()

    def go_on(self) -> None:
        """Take everything again."""
        self._goes.set()


class Recording:
    """Connections of one tape, each to a server that sends when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.files: list[Path] = []
        self.tape = Tape(folder, SMALL, ["trade"], now_us, self.files.append)
        self.connections: list[RecordedConnection] = []
        self.exchange: list[ServerConnection] = []
        self.sent = 0

    async def send(self, place: int, count: int) -> None:
        """So many frames over one connection."""
        for number in range(self.sent, self.sent + count):
            head = f'{{"type":"trade","sid":{place + 7},"seq":{number},"msg":"'
            await self.exchange[place].send(head.ljust(FRAME_BYTES - 2, "x") + '"}')
        self.sent += count

    def depth(self, place: int) -> int:
        """What waits in one connection's socket."""
        socket = self.connections[place]._socket
        return 0 if socket is None else socket.depth

    async def fill(self, place: int) -> None:
        """Send over one connection until it waits for room."""
        await self.send(place, MOST // FRAME_BYTES + 1)
        await until(lambda: self.tape.frames == self.sent and not self.depth(place))
        await self.send(place, 1)
        await until(lambda: self.depth(place) == 1)


@asynccontextmanager
async def recording(folder: Path, connections: int) -> AsyncIterator[Recording]:
    """A recording at work."""
    one = Recording(folder)

    async def talk(connection: ServerConnection) -> None:
        one.exchange.append(connection)
        await connection.wait_closed()

    async with serve(talk, "127.0.0.1", 0, ping_interval=None) as server, asyncio.TaskGroup() as tasks:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        handshakes = TokenBucket(Limit(rate=100, capacity=10, cost=1))
        around = Surroundings(url, None, one.tape, RecordReport(), handshakes, now_us, lambda _frame: True)
        writing = tasks.create_task(
            one.tape.run(lambda: min((place.heard_until_us for place in one.connections), default=now_us()))
        )
        running = []
        for count in range(1, connections + 1):
            one.connections.append(RecordedConnection([Channel.TRADE], around, lambda *_: None))
            running.append(tasks.create_task(one.connections[-1].run()))
            await until(lambda count=count: len(one.exchange) == count and one.connections[-1]._socket)  # type: ignore[misc]
        try:
            yield one
        finally:
            for task in running:
                task.cancel()
            one.tape.end()
            await asyncio.wait([writing])


async def test_with_the_disk_back_a_recording_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One waits for room and has a frame; more than there is room for came over the other since."""
    disk = StallingDisk(monkeypatch)
    async with recording(tmp_path, 2) as one:
        disk.stall()
        await one.fill(0)
        await one.send(1, 60)
        await until(lambda: one.tape.frames + one.depth(0) + one.depth(1) == one.sent)
        assert one.tape._waiting == one.tape.frames * FRAME_BYTES >= 2 * MOST
        disk.go_on()
        await until(lambda: one.tape.frames == one.sent and not one.tape._waiting)
        await one.send(0, 100)
        await until(lambda: one.tape.frames == one.sent and not one.tape._waiting)
    stamps = [frame.received_us or 0 for path in one.files for frame in read_frames(path)]
    assert len(stamps) == one.sent
    assert stamps == sorted(stamps)


async def test_sockets_wait_and_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose queue is full when the disk comes back takes no more at once than there is room for."""
    disk = StallingDisk(monkeypatch)
    async with recording(tmp_path, 1) as one:
        disk.tape = one.tape
        disk.stall()
        await one.fill(0)
        await one.send(0, 900)
        await until(lambda: one.depth(0) == 901)
        disk.go_on()
        await until(lambda: one.tape.frames == one.sent and not one.tape._waiting)
    assert MOST <= disk.most_waiting < 4 * MOST
