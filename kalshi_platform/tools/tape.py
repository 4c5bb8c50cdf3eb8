"""Frames to disk as they come: NDJSON in zstd frames, so that a file cut anywhere is whole up to its last flush.

All connections of a recording are one tape, in the order of receipt. A line is `{"recv_ts_ns", "connection", "raw"}`:
when a frame was received, over which connection, and its text as it came; lines with `opened` or `closed` say when a
connection began and ended. The first line of each file says which part of which recording it is. Kept out: where frames
come from (record), and files (tape_files).
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

from kalshi_platform.tools.tape_files import Line, Note, TapeFiles, TapeOptions

_PLACE = itemgetter(0)


class Tape:
    """One recording: lines wait in memory until they are packed and written in another thread.

    Nothing is ever dropped: who has lines for it waits in `room` while too much waits for the disk. But if all that
    waits must be preceded by what somebody still has, that one comes in first; else each would wait for the other.

    Args:
        folder: Where files go.
        options: When to flush, how much may wait, when to rotate.
        channels: What is listened to, for people.
        now_us: The clock, µs since 1970.
        on_file: Told of each new file.

    Attributes:
        frames: Frames taken.
    """

    def __init__(
        self,
        folder: Path,
        options: TapeOptions,
        channels: Sequence[str],
        now_us: Callable[[], int],
        on_file: Callable[[Path], None],
    ) -> None:
        self.frames = 0
        self._options = options
        self._now_us = now_us
        self._on_file = on_file
        self._files = TapeFiles(folder, options, now_us(), channels)
        self._lines: list[Line] = []
        self._waiting = 0
        self._floor_us = 0
        self._until_us = 0
        self._places: dict[int, int] = {}
        self._connections = 0
        self._due, self._room = asyncio.Event(), asyncio.Event()
        self._is_ending = False

    @property
    def packed_bytes(self) -> int:
        """Bytes written, packed."""
        return self._files.bytes

    def opened(self, at_us: int, channels: Sequence[str]) -> int:
        """A connection was made, to hear these channels; returns its number."""
        self._connections += 1
        self._hold(self._connections, Note(opened=tuple(channels)), at_us)
        return self._connections

    def closed(self, connection: int, at_us: int, why: str) -> None:
        """Nothing comes over a connection any more."""
        self._hold(connection, Note(closed=why), at_us)
        del self._places[connection]

    def write(self, connection: int, raw: bytes, received_us: int) -> None:
        """Take a frame; it is on disk after the next flush."""
        self._hold(connection, raw, received_us)
        self.frames += 1
        self._waiting += len(raw)
        if self._waiting >= self._options.flush_bytes:
            self._due.set()

    async def room(self, heard_until_us: Callable[[], int]) -> None:
        """Come back when there is room for more, or when what waits can't be written without the caller's.

        Args:
            heard_until_us: Nothing that was received before that (µs since 1970) is still to come from the caller.
        """
        while self._waiting >= self._options.most_bytes and heard_until_us() > self._until_us:
            self._room.clear()
            await self._room.wait()

    def end(self) -> None:
        """Ask `run` to write what waits and to end."""
        self._is_ending = True
        self._due.set()

    async def run(self, heard_until_us: Callable[[], int]) -> None:
        """Write until the end.

        Args:
            heard_until_us: Nothing that was received before that (µs since 1970) is still to come.

        Raises:
            TapeError: The disk refuses.
        """
        try:
            while not self._is_ending:
                await self._wait()
                await self._flush(heard_until_us())
            await self._flush(None)
        finally:
            await asyncio.to_thread(self._files.close, self._now_us())

    def _hold(self, connection: int, content: bytes | Note, received_us: int) -> None:
        """Lines of one connection stay in their order, and behind what is written, even where the clock is set back."""
        place_us = self._places[connection] = max(received_us, self._places.get(connection, 0), self._floor_us)
        self._lines.append(Line(place_us, received_us, connection, content))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._options.flush_seconds):
                await self._due.wait()
        except TimeoutError:
            return

    async def _flush(self, until_us: int | None) -> None:
        """Write what is in its place: all that was received up to a moment, or simply all."""
        self._due.clear()
        self._until_us = 0  # while the disk is at work nobody is waited for but the disk
        self._lines.sort(key=_PLACE)
        count = len(self._lines)
        if until_us is not None:
            count = bisect_right(self._lines, max(until_us, self._floor_us), key=_PLACE)
        lines, self._lines = self._lines[:count], self._lines[count:]
        if lines:
            await self._append(lines)
        self._until_us = until_us or 0
        self._room.set()

    async def _append(self, lines: Sequence[Line]) -> None:
        self._floor_us = lines[-1].place_us
        path = await asyncio.to_thread(self._files.append, lines, self._now_us())
        if path is not None:
            self._on_file(path)
        self._waiting -= sum(len(one.content) for one in lines if not isinstance(one.content, Note))
