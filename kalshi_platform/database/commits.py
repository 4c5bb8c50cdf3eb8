"""One batch into a gatherer's database: rows, partitions and the deduplicator's record in one transaction.

A batch that the database refuses for its content is split until the row is found; that row goes whole into
`rejected_messages`, the others where they belong. Kept out: queues, and when to try again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from typing import Protocol, cast

import asyncpg
import msgspec

from kalshi_platform.core.errors import FrameRejected, Reason
from kalshi_platform.core.records import rejected_row
from kalshi_platform.core.schema import REJECTED_MESSAGES, Home, Table
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.batching import WriterRow
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.errors import ForeignRowsError, RowRefusedError, UnencodableValueError
from kalshi_platform.database.partitions import PartitionKeeper
from kalshi_platform.database.renumbering import FOREIGN, RENUMBER_IT, has_foreign_ids

_RECORD_BATCH = (
    "INSERT INTO ingest_batches (table_name, row_count, min_ts, max_ts, heard_until) VALUES ($1, $2, $3, $4, $5)"
)
_PATIENCE = 5.0
"""Seconds after which an impatient write is cut off: a database that hangs is away too."""

_CONNECT_SECONDS = 5.0

_STAGED_SECONDS = 10.0
"""For so long after a row that was there already, batches go by way of the staging table."""

_REFUSALS: tuple[type[Exception], ...] = (
    UnencodableValueError,
    OverflowError,  # a time that no calendar holds
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # a value too long for an index
)


class RefusalListener(Protocol):
    """Hears of rows that the database refuses."""

    def failed(self, table: Table, error: Exception) -> None:
        """A row went to `rejected_messages`."""


class BatchCommitter:
    """Commits batches of one table over a connection of its own, made again after `disconnect`."""

    def __init__(self, url: str, table: Table, listener: RefusalListener) -> None:
        self._url = url
        self._table = table
        self._listener = listener
        self._columns = [column.name for column in table.written_columns(Home.GATHERER)]
        self._time_index = None if table.time_column is None else self._columns.index(table.time_column)
        self._stage = Stage(table, Home.GATHERER)
        self._rejects = Stage(REJECTED_MESSAGES, Home.GATHERER)
        self._partitions = PartitionKeeper()
        self._connection: asyncpg.Connection | None = None
        self._staged_until = 0.0

    async def commit(self, batch: Sequence[WriterRow], heard: int | None, *, is_patient: bool) -> int:
        """Commit a batch and how far was heard; returns how many rows were new.

        Args:
            batch: Rows in the order of the table's written columns.
            heard: Exchange time (µs) up to which everything is committed with this batch; None for no claim.
            is_patient: Whether to wait for a database that hangs.

        Raises:
            DATABASE_FAILURES: Where the database does not take anything now; disconnect, and try again later.
        """
        watchdog = None if is_patient else asyncio.get_running_loop().call_later(_PATIENCE, self.disconnect)
        try:
            return await self._commit_whole(batch, heard)
        finally:
            if watchdog is not None:
                watchdog.cancel()

    def disconnect(self) -> None:
        """Drop the connection, and what was known of the database behind it."""
        self._partitions.forget()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _commit_whole(self, batch: Sequence[WriterRow], heard: int | None) -> int:
        try:
            return await self._commit_once(batch, heard)
        except _REFUSALS:
            self._partitions.forget()  # a partition that was dropped meanwhile is no fault of the rows
        return await self._commit_split(batch, heard)

    async def _commit_split(self, batch: Sequence[WriterRow], heard: int | None) -> int:
        """Commit what the database takes, halving the batch until the refused rows are found."""
        try:
            return await self._commit_once(batch, heard)
        except _REFUSALS as error:
            if len(batch) <= 1:
                await self._reject(batch[0], error)
                return await self._commit_once((), heard)
        middle = len(batch) // 2
        new = await self._commit_split(batch[:middle], None)
        return new + await self._commit_split(batch[middle:], heard)

    async def _commit_once(self, batch: Sequence[WriterRow], heard: int | None) -> int:
        if not batch and heard is None:
            return 0
        connection = await self._connected()
        span = None
        if batch and self._time_index is not None:
            index = self._time_index
            times = cast("list[int]", [row[index] for row in batch])  # rows follow the schema: this column is a time
            span = min(times), max(times)
            await self._partitions.ensure(connection, self._table, _days(*span, times))
        if span is not None and time.monotonic() >= self._staged_until:
            try:
                return await self._transact(connection, self._stage.copy_new, batch, span, heard)
            except asyncpg.UniqueViolationError:  # known rows come in crowds: a spool drained again, two connections
                self._staged_until = time.monotonic() + _STAGED_SECONDS
        return await self._transact(connection, self._stage.insert_new, batch, span, heard)

    async def _transact(
        self,
        connection: asyncpg.Connection,
        insert: Callable[[asyncpg.Connection, Sequence[WriterRow]], Awaitable[int]],
        batch: Sequence[WriterRow],
        span: tuple[int, int] | None,
        heard: int | None,
    ) -> int:
        async with connection.transaction():
            new = await insert(connection, batch) if batch else 0
            if self._time_index is not None and (new or heard is not None):
                first, last = span if new and span else (None, None)
                await connection.execute(
                    _RECORD_BATCH, self._table.name, new, _moment(first), _moment(last), _moment(heard)
                )
        return new

    async def _reject(self, row: WriterRow, error: Exception) -> None:
        """Keep a refused row whole, as JSON with its columns' names."""
        rejection = FrameRejected(Reason.REFUSED_BY_DATABASE, f"{self._table.name}: {type(error).__name__}: {error}")
        raw = msgspec.json.encode(dict(zip(self._columns, row, strict=True)), enc_hook=repr)
        kept = rejected_row(raw, rejection, f"writer of {self._table.name}", time.time_ns() // 1000)
        connection = await self._connected()
        async with connection.transaction():
            await self._rejects.insert_new(connection, [kept])
        self._listener.failed(self._table, RowRefusedError(rejection.detail))

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            # the cursor is only safe with synchronous_commit=on: with it off, a crash re-issued a transaction id
            # below the watermark (design §4)
            self._connection = await asyncpg.connect(
                self._url,
                timeout=_CONNECT_SECONDS,
                command_timeout=60,
                server_settings={"synchronous_commit": "on", "application_name": f"writer {self._table.name}"},
            )
            if await has_foreign_ids(self._connection):  # a sound row could meet the key of a batch of theirs
                self.disconnect()
                raise ForeignRowsError(f"nothing is written to this database: {FOREIGN}; {RENUMBER_IT}")
        return self._connection


def _days(first: int, last: int, times: Sequence[int]) -> set[date]:
    """The UTC days of times in µs; most batches lie within one."""
    days = {datetime_from_us(first).date(), datetime_from_us(last).date()}
    return days if len(days) == 1 else {datetime_from_us(time_us).date() for time_us in times}


def _moment(time_us: int | None) -> object:
    return None if time_us is None else datetime_from_us(time_us)
