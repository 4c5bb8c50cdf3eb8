"""Replay: recorded files through the same decode, capture and write path as live frames.

A file of others is taken for one connection; ours say which line is whose, through all files of a recording. Kept out:
how files are read (recordings) and what frames mean (core).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.messages import DeltaFrame, Frame, SnapshotFrame, decode, envelope
from kalshi_platform.core.units import MILLISECOND
from kalshi_platform.tools.recordings import (
    ConnectionClosed,
    RecordedFrame,
    find_recordings,
    first_stamp,
    header_of,
    read_recording,
    stamp_of,
)
from kalshi_platform.tools.replay_targets import DatabaseTarget, ReplayReport, Target

__all__ = ["Replay", "ReplayReport", "replay_with_progress"]

_FRAMES_BETWEEN_PAUSES = 500

OnProgress = Callable[[Path, int], None]


class Replay:
    """Replays recordings into one gatherer's database, or another target.

    Args:
        url: The gatherer's database, or a target that takes this replay's report.
        gatherer_id: Written into snapshots.
        checkpoint_ms: Interval of checkpoints.
        on_progress: Called now and then with the file and the frames so far.
    """

    def __init__(self, url: str | Target, gatherer_id: str, checkpoint_ms: int, on_progress: OnProgress) -> None:
        self._report = ReplayReport()
        self._target: Target = DatabaseTarget(url, self._report) if isinstance(url, str) else url
        self._gatherer_id = gatherer_id
        self._checkpoint_ms = checkpoint_ms
        self._on_progress = on_progress
        self._latest_us: int | None = None
        self._recording: _Recording | None = None

    async def run(self, paths: list[Path]) -> ReplayReport:
        """Replay every recording below `paths`; replaying the same files again adds nothing.

        Raises:
            ConfigurationError: Where a path cannot be read.
            IntegrityError: Where the database cannot be written.
        """
        files = find_recordings(paths)
        async with self._target:
            for path in files:
                await self._replay_file(path)
            self._end_recording()
            self._target.finish(self._latest_us, self._report)
        return self._report

    async def _replay_file(self, path: Path) -> None:
        recording = self._recording_of(path)
        received_us = recording.last_us or first_stamp(path) or 0
        for number, line in enumerate(read_recording(path)):
            if isinstance(line, ConnectionClosed):
                recording.close(line.connection)
                continue
            received_us = stamp_of(line) or received_us
            recording.connection(line.connection).feed(line, received_us)
            if number % _FRAMES_BETWEEN_PAUSES == 0:
                self._on_progress(path, self._report.frames)
                await asyncio.sleep(0)
                await self._target.room()
            self._report.frames += 1
        recording.last_us = received_us
        self._report.files += 1

    def _recording_of(self, path: Path) -> "_Recording":
        """The recording that a file is a part of: the last file's, where it goes on with it."""
        header = header_of(path)
        part = None if header is None else (header.recording, header.part)
        last = self._recording
        if last is None or part is None or last.part is None or part != (last.part[0], last.part[1] + 1):
            self._end_recording()
            last = _Recording(path.name, self._new_connection)
        last.part = part
        self._recording = last
        return last

    def _new_connection(self, name: str) -> "_Connection":
        return _Connection(name, Capture(self._gatherer_id, self._checkpoint_ms), self._target)

    def _end_recording(self) -> None:
        recording, self._recording = self._recording, None
        if recording is None:
            return
        recording.end()
        self._latest_us = max(recording.last_us, self._latest_us or 0)
        self._report.negative_levels += recording.negative_levels
        self._report.crossed_books += recording.crossed_books


class _Recording:
    """Files that go on with each other: the connections of which something may still come.

    Args:
        name: The first file's.
        begin: Makes a connection of this name.
    """

    def __init__(self, name: str, begin: "Callable[[str], _Connection]") -> None:
        self.part: tuple[str, int] | None = None
        self.last_us = self.negative_levels = self.crossed_books = 0
        self._name = name
        self._begin = begin
        self._connections: dict[int, _Connection] = {}

    def connection(self, number: int) -> "_Connection":
        """One of them, begun with its first frame."""
        found = self._connections.get(number)
        if found is None:
            found = self._connections[number] = self._begin(f"{self._name}#{number}" if number else self._name)
        return found

    def close(self, number: int) -> None:
        """One of them has ended."""
        ended = self._connections.pop(number, None)
        if ended is not None:
            ended.finish()
            self.negative_levels += ended.capture.counts.negative_levels
            self.crossed_books += ended.capture.counts.crossed_books

    def end(self) -> None:
        """All of them have."""
        for number in list(self._connections):
            self.close(number)


class _Connection:
    """One recorded connection; a falling sequence number means that it was made again."""

    def __init__(self, name: str, capture: Capture, sink: Target) -> None:
        self.capture = capture
        self._last_us = 0
        self._name = name
        self._sink = sink
        self._last_seq = 0

    def feed(self, recorded: RecordedFrame, received_us: int) -> None:
        self._last_us = received_us
        try:
            frame = decode(recorded.raw)
            self._watch_sequence(frame)
            rows = self.capture.record(frame, received_us)
        except FrameRejected as rejection:
            self.capture.missed(envelope(recorded.raw))
            self._sink.reject(recorded.raw, rejection, self._name, received_us)
            return
        for row in rows:
            self._sink.add(row)

    def finish(self) -> None:
        for row in self.capture.checkpoints(self._last_us // MILLISECOND, self._last_us):
            self._sink.add(row)

    def _watch_sequence(self, frame: Frame) -> None:
        if isinstance(frame, DeltaFrame | SnapshotFrame):
            if frame.seq < self._last_seq:
                self.capture.restart()
            self._last_seq = frame.seq


async def replay_with_progress(
    paths: list[Path], target: str | Target, gatherer_id: str, checkpoint_ms: int
) -> ReplayReport:
    """Replay and show on standard error how far it is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,} frames"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("replaying", total=None)

        def show(path: Path, frames: int) -> None:
            progress.update(task, description=path.name, completed=frames)

        return await Replay(target, gatherer_id, checkpoint_ms, show).run(paths)
