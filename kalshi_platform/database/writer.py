"""Writers: rows of one table, gathered into batches and committed with what the deduplicator must know of them.

A writer never drops a row: a failed batch is tried again until it is in. Its queue has a high mark, at which callers
are asked to wait, and a low mark, at which they go on. Kept out: where rows come from, and what time it is.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import asyncpg

from kalshi_platform.core.schema import Home, Table
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.partitions import PartitionKeeper
from kalshi_platform.database.passing import PASSING_FAILURES

_HEARTBEAT_SECONDS = 1.0
_RECORD_BATCH = (
    "INSERT INTO ingest_batches (table_name, row_count, min_ts, max_ts, heard_until) VALUES ($1, $2, $3, $4, $5)"
)

_TRIED_AGAIN: tuple[type[Exception], ...] = (*PASSING_FAILURES, asyncpg.PostgresError)
"""Whatever the database says, the rows are kept: read-only after a failover, a lost right, a full disk all end."""

WriterRow = tuple[object, ...]
"""A row in the order of the table's written columns."""


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When a batch is written: at so many rows, or so long after the first of them."""

    rows: int
    seconds: float

    @property
    def high_mark(self) -> int:
        """Rows in the queue at which callers must wait."""
        return self.rows * 20

    @property
    def low_mark(self) -> int:
        """Rows in the queue at which callers go on."""
        return self.rows * 10


POLICIES: dict[str, FlushPolicy] = {
    "trades": FlushPolicy(1000, 0.1),
    "orderbook_deltas": FlushPolicy(5000, 0.05),
    "orderbook_snapshots": FlushPolicy(1000, 0.25),
    "tickers": FlushPolicy(1000, 0.1),
}
"""Batches of the source documents; tables not named here use `DEFAULT_POLICY`."""

DEFAULT_POLICY = FlushPolicy(100, 0.25)


class WriterListener(Protocol):
    """Hears what a writer does."""

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """A batch is committed; `new` of its rows were not there before, `queued` more are waiting."""

    def failed(self, table: Table, error: Exception) -> None:
        """A batch could not be written and will be tried again."""


class TableWriter:
    """Writes one table of a gatherer's database over a connection of its own.

    Args:
        url: The gatherer's database.
        table: What to write.
        listener: Told of each batch.
        heard_until: At the moment of the call, the exchange time (µs) up to which every message has been handed to
            this writer; None where that cannot be said. Becomes the deduplicator's watermark.
        retry_waits: Makes the waits between attempts, in seconds.
    """

    def __init__(
        self,
        url: str,
        table: Table,
        listener: WriterListener,
        heard_until: Callable[[], int | None],
        retry_waits: Callable[[], Iterator[float]],
    ) -> None:
        self.table = table
        self._url = url
        self._policy = POLICIES.get(table.name, DEFAULT_POLICY)
        self._listener = listener
        self._heard_until = heard_until
        self._retry_waits = retry_waits
        self._time_index = _time_index(table)
        self._rows: list[WriterRow] = []
        self._has_rows = asyncio.Event()
        self._is_full = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._closing = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._stage = Stage(table, Home.GATHERER)
        self._partitions = PartitionKeeper()

    @property
    def queued(self) -> int:
        """Rows that wait to be written."""
        return len(self._rows)

    @property
    def has_room(self) -> bool:
        """Whether callers may go on reading."""
        return self._has_room.is_set()

    def add(self, row: WriterRow) -> None:
        """Take one row; never refuses. Callers await `room` before they read more."""
        self._rows.append(row)
        self._has_rows.set()
        if len(self._rows) >= self._policy.rows:
            self._is_full.set()
        if len(self._rows) >= self._policy.high_mark:
            self._has_room.clear()

    async def room(self) -> None:
        """Wait while the queue is above its marks."""
        await self._has_room.wait()

    def close(self) -> None:
        """Ask `run` to write what is queued and end."""
        self._closing.set()
        self._has_rows.set()
        self._is_full.set()

    async def run(self) -> None:
        """Write batches until closed and empty."""
        try:
            while not (self._closing.is_set() and not self._rows):
                await self._gather_batch()
                await self._write_until_committed(*self._cut())
            await self._write_until_committed(*self._cut())  # the last word on how far was heard
        finally:
            if self._connection is not None:
                self._connection.terminate()

    async def _gather_batch(self) -> None:
        """Wait for a full batch, for the first row's patience to end, or for the next heartbeat."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_rows.wait(), _HEARTBEAT_SECONDS)
            await asyncio.wait_for(self._is_full.wait(), self._policy.seconds)

    def _cut(self) -> tuple[Sequence[WriterRow], int | None]:
        """The next batch, and how far everything heard is in it or in earlier ones."""
        heard = self._heard_until() if len(self._rows) <= self._policy.rows else None
        batch, self._rows = self._rows[: self._policy.rows], self._rows[self._policy.rows :]
        if not self._rows and not self._closing.is_set():
            self._has_rows.clear()
        if len(self._rows) < self._policy.rows and not self._closing.is_set():
            self._is_full.clear()
        if len(self._rows) <= self._policy.low_mark:
            self._has_room.set()
        return batch, heard

    async def _write_until_committed(self, batch: Sequence[WriterRow], heard: int | None) -> None:
        if not batch and (heard is None or self._time_index is None):
            return
        waits = self._retry_waits()
        while True:
            try:
                new = await self._write(batch, heard)
            except _TRIED_AGAIN as error:
                self._listener.failed(self.table, error)
                await self._disconnect()
                await asyncio.sleep(next(waits))
            else:
                self._listener.written(self.table, batch, new, self.queued)
                return

    async def _write(self, batch: Sequence[WriterRow], heard: int | None) -> int:
        connection = await self._connected()
        times = [] if self._time_index is None else [_as_int(row[self._time_index]) for row in batch]
        if self.table.time_column is not None and times:
            days = {datetime_from_us(time).date() for time in times}
            await self._partitions.ensure(connection, self.table, days)
        async with connection.transaction():
            new = await self._stage.insert_new(connection, batch) if batch else 0
            if self._time_index is not None and (new or heard is not None):
                first, last = (min(times), max(times)) if new else (None, None)
                await connection.execute(
                    _RECORD_BATCH, self.table.name, new, _moment(first), _moment(last), _moment(heard)
                )
        return new

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            # the cursor is only safe with synchronous_commit=on: with it off, a crash re-issued a transaction id
            # below the watermark (design §4)
            self._connection = await asyncpg.connect(
                self._url,
                server_settings={"synchronous_commit": "on", "application_name": f"writer {self.table.name}"},
                command_timeout=60,
            )
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _time_index(table: Table) -> int | None:
    """Where the partition time stands in a row; None for tables that the deduplicator does not read."""
    names = [column.name for column in table.written_columns(Home.GATHERER)]
    return None if table.time_column is None else names.index(table.time_column)


def _as_int(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101 - rows follow the schema, where this column is a time
    return value


def _moment(time_us: int | None) -> object:
    return None if time_us is None else datetime_from_us(time_us)
