"""Where a replay's rows go: a gatherer's database, the lake, or whoever reads NDJSON from standard output.

A target takes rows and rejected frames as a live sink does, and is whole when its block ends. A UDP feed or a second
database would be another one. Kept out: where rows come from (replay).
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import IO, Protocol, Self

import msgspec

from kalshi_platform.core.errors import FrameRejected, IntegrityError
from kalshi_platform.core.records import TABLE_OF, Row
from kalshi_platform.core.schema import Column, ColumnType, Home, Table, Unit
from kalshi_platform.core.units import contracts_from_size, datetime_from_us, dollars_from_price
from kalshi_platform.database.sink import Sink
from kalshi_platform.database.writer import WriterRow
from kalshi_platform.service.lifecycle import leaves
from kalshi_platform.service.retry import backoff

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


class Target(Protocol):
    """What a replay writes to; use as an async context manager, which writes everything before it ends."""

    async def __aenter__(self) -> Self:
        """Be ready."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Write everything, unless something went wrong."""

    def add(self, row: Row) -> None:
        """Take a row."""

    def reject(self, raw: bytes, rejection: FrameRejected, source: str, received_us: int) -> None:
        """Take a frame that cannot be used."""

    async def room(self) -> None:
        """Wait until there is room for more."""

    def finish(self, latest_us: int | None, report: ReplayReport) -> None:
        """Nothing follows: what was heard ends here, and the report gets what only the target knows."""


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


class DatabaseTarget:
    """One gatherer's database; what is there already changes nothing.

    Args:
        url: The database.
        report: Gets the counts of rows as they are committed.

    Raises:
        IntegrityError: At the end of the block, where the database cannot be written.
    """

    def __init__(self, url: str, report: ReplayReport) -> None:
        self._latest_us: int | None = None
        self._sink = Sink(url, _Reporter(report), self._heard_until, _retry_waits)
        self._tasks = asyncio.TaskGroup()
        self.add: Callable[[Row], None] = self._sink.add

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.create_task(self._sink.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()
        try:
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            raise leaves(group)[0] from group

    def reject(self, raw: bytes, rejection: FrameRejected, source: str, received_us: int) -> None:
        """Keep the frame in `rejected_messages`."""
        self._sink.reject(raw, rejection, source, received_us)

    async def room(self) -> None:
        """Wait for the writers."""
        await self._sink.room()

    def finish(self, latest_us: int | None, report: ReplayReport) -> None:
        """Say how far was heard: files overlap in time, so nothing could be said before."""
        self._latest_us = latest_us
        report.rejected.update({reason.value: n for reason, n in self._sink.quarantine.counts.items()})

    def _heard_until(self, table: Table) -> int | None:
        del table
        return self._latest_us


class FeedTarget:
    """Rows as JSON lines for people's programs: dollars, contracts and UTC times, each with the name of its table.

    Args:
        stream: Where lines go.
    """

    def __init__(self, stream: IO[str] = sys.stdout) -> None:
        self._stream = stream
        self._rows: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._stream.flush()

    def add(self, row: Row) -> None:
        """Write a line."""
        table = TABLE_OF[type(row)]
        columns = table.written_columns(Home.GATHERER)
        shown = {column.name: _shown(column, value) for column, value in zip(columns, row, strict=True)}
        self._stream.write(msgspec.json.encode({"table": table.name} | shown).decode() + "\n")
        self._rows[table.name] += 1

    def reject(self, raw: bytes, rejection: FrameRejected, source: str, received_us: int) -> None:
        """Count it."""
        del raw, source, received_us
        self._rejected[rejection.reason.value] += 1

    async def room(self) -> None:
        """The stream itself waits for its reader."""

    def finish(self, latest_us: int | None, report: ReplayReport) -> None:
        """Tell the counts."""
        del latest_us
        report.rows.update(self._rows)
        report.rejected.update(self._rejected)


def _shown(column: Column, value: object) -> object:
    if isinstance(value, tuple):
        return [_shown(column, one) for one in value]
    if isinstance(value, int) and column.unit is Unit.PRICE:
        return dollars_from_price(value)
    if isinstance(value, int) and column.unit is Unit.SIZE:
        return contracts_from_size(value)
    if isinstance(value, int) and column.type is ColumnType.TIMESTAMP:
        return datetime_from_us(value)
    return value


def _retry_waits() -> Iterator[float]:
    return backoff(Random(), longest=2.0)  # noqa: S311 - spreads retries, guards nothing
