"""Replay: recorded files through the same decode, capture and write path as live frames.

Each file is taken for one connection. Kept out: how files are read (recordings) and what frames mean (core).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.errors import FrameRejected, IntegrityError
from kalshi_platform.core.messages import DeltaFrame, Frame, SnapshotFrame, decode, envelope
from kalshi_platform.core.schema import Table
from kalshi_platform.core.units import MILLISECOND
from kalshi_platform.database.sink import Sink
from kalshi_platform.database.writer import WriterRow
from kalshi_platform.service.lifecycle import leaves
from kalshi_platform.service.retry import backoff
from kalshi_platform.tools.recordings import RecordedFrame, find_recordings, first_stamp, read_frames, stamp_of

_FRAMES_BETWEEN_PAUSES = 500
_MOST_FAILURES = 5


@dataclass(slots=True)
class ReplayReport:
    """What a replay did."""

    files: int = 0
    frames: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    new_rows: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    negative_levels: int = 0
    crossed_books: int = 0


class _Reporter:
    """Counts what the writers commit; gives up where a database fails for good."""

    def __init__(self, report: ReplayReport) -> None:
        self._report = report
        self._failures = 0

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        del queued
        self._failures = 0
        self._report.rows[table.name] += len(rows)
        self._report.new_rows[table.name] += new

    def failed(self, table: Table, error: Exception) -> None:
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            raise IntegrityError(f"cannot write {table.name}: {type(error).__name__}: {error}") from error


class Replay:
    """Replays recordings into one gatherer's database.

    Args:
        url: The gatherer's database.
        gatherer_id: Written into snapshots.
        checkpoint_ms: Interval of checkpoints.
        on_progress: Called now and then with the file and the frames so far.
    """

    def __init__(
        self, url: str, gatherer_id: str, checkpoint_ms: int, on_progress: Callable[[Path, int], None]
    ) -> None:
        self._gatherer_id = gatherer_id
        self._checkpoint_ms = checkpoint_ms
        self._on_progress = on_progress
        self._report = ReplayReport()
        self._latest_us: int | None = None
        self._is_done = False
        self._sink = Sink(url, _Reporter(self._report), self._heard_until, _retry_waits)

    async def run(self, paths: list[Path]) -> ReplayReport:
        """Replay every recording below `paths`; replaying the same files again adds nothing.

        Raises:
            ConfigurationError: Where a path cannot be read.
            IntegrityError: Where the database cannot be written.
        """
        files = find_recordings(paths)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sink.run())
                for path in files:
                    await self._replay_file(path)
                self._is_done = True
                self._sink.close()
        except ExceptionGroup as group:
            raise leaves(group)[0] from group
        self._report.rejected.update({reason.value: n for reason, n in self._sink.quarantine.counts.items()})
        return self._report

    async def _replay_file(self, path: Path) -> None:
        connection = _Connection(path, Capture(self._gatherer_id, self._checkpoint_ms), self._sink)
        received_us = first_stamp(path) or 0
        for number, frame in enumerate(read_frames(path)):
            received_us = stamp_of(frame) or received_us
            connection.feed(frame, received_us)
            if number % _FRAMES_BETWEEN_PAUSES == 0:
                self._on_progress(path, self._report.frames)
                await asyncio.sleep(0)
                await self._sink.room()
            self._report.frames += 1
        connection.finish(received_us)
        self._latest_us = max(received_us, self._latest_us or 0)
        self._report.files += 1
        self._report.negative_levels += connection.capture.counts.negative_levels
        self._report.crossed_books += connection.capture.counts.crossed_books

    def _heard_until(self, table: Table) -> int | None:
        """Files overlap in time, so only the end of the replay can say how far was heard."""
        del table
        return self._latest_us if self._is_done else None


class _Connection:
    """One recorded connection; a falling sequence number means that it was made again."""

    def __init__(self, path: Path, capture: Capture, sink: Sink) -> None:
        self.capture = capture
        self._name = path.name
        self._sink = sink
        self._last_seq = 0

    def feed(self, recorded: RecordedFrame, received_us: int) -> None:
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

    def finish(self, last_us: int) -> None:
        for row in self.capture.checkpoints(last_us // MILLISECOND, last_us):
            self._sink.add(row)

    def _watch_sequence(self, frame: Frame) -> None:
        if isinstance(frame, DeltaFrame | SnapshotFrame):
            if frame.seq < self._last_seq:
                self.capture.restart()
            self._last_seq = frame.seq


def _retry_waits() -> Iterator[float]:
    return backoff(Random(), longest=2.0)  # noqa: S311 - spreads retries, guards nothing


async def replay_with_progress(paths: list[Path], url: str, gatherer_id: str, checkpoint_ms: int) -> ReplayReport:
    """Replay and show on standard error how far it is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,} frames"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("replaying", total=None)

        def show(path: Path, frames: int) -> None:
            progress.update(task, description=path.name, completed=frames)

        return await Replay(url, gatherer_id, checkpoint_ms, show).run(paths)
