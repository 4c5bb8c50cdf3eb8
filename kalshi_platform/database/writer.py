"""Writers: rows of one table, gathered into batches and committed with what the deduplicator must know of them.

A writer never drops a row. While the database does not take them, batches go to the spool on disk, and from there into
the database in the order in which they came: as long as the spool holds rows of a table, new ones go behind them. Where
the spool is full too, or there is none, the queue grows to its high mark and callers wait. A row that the database
refuses for its content goes to `rejected_messages`. Kept out: where rows come from, and what time it is.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from kalshi_platform.core.schema import Table
from kalshi_platform.database.batching import DEFAULT_POLICY, POLICIES, FlushPolicy, RowQueue, WriterRow
from kalshi_platform.database.commits import BatchCommitter
from kalshi_platform.database.errors import SpoolError
from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.database.spool import Spool
from kalshi_platform.database.spool_rows import UNPACKABLE, RowPacker

_HEARTBEAT_SECONDS = 1.0
_LONGEST_WAIT = 5.0
"""Seconds between attempts at the most: what waits in the spool shall not wait long for a database that is back."""


__all__ = ["FlushPolicy", "TableWriter", "WriterListener", "WriterRow"]


class WriterListener(Protocol):
    """Hears what a writer does."""

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """A batch is committed; `new` of its rows were not there before, `queued` more are waiting."""

    def failed(self, table: Table, error: Exception) -> None:
        """A batch could not be written or kept and will be tried again; with `RowRefusedError`, one row never will."""


class TableWriter:
    """Writes one table of a gatherer's database over a connection of its own.

    Args:
        url: The gatherer's database.
        table: What to write.
        listener: Told of each batch.
        heard_until: At the moment of the call, the exchange time (µs) up to which every message has been handed to
            this writer; None where that cannot be said. Becomes the deduplicator's watermark.
        retry_waits: Makes the waits between attempts, in seconds.
        policy: When a batch is full or due; None for the table's default.
        spool: Where batches go that the database does not take; None for none.
    """

    def __init__(
        self,
        url: str,
        table: Table,
        listener: WriterListener,
        heard_until: Callable[[], int | None],
        retry_waits: Callable[[], Iterator[float]],
        *,
        policy: FlushPolicy | None = None,
        spool: Spool | None = None,
    ) -> None:
        self.table = table
        self._listener = listener
        self._heard_until = heard_until
        self._retry_waits = retry_waits
        self._spool = spool
        self._packer = RowPacker(table)
        self._commits = BatchCommitter(url, table, listener)
        self._drain_rests = asyncio.Event()
        self.queue = RowQueue(policy or POLICIES.get(table.name, DEFAULT_POLICY))
        self.add = self.queue.add  # once a row: no call in between

    @property
    def queued(self) -> int:
        """Rows that wait in memory."""
        return len(self.queue)

    @property
    def spooled(self) -> int:
        """Rows that wait on disk."""
        return 0 if self._spool is None else self._spool.rows(self.table.name)

    @property
    def has_room(self) -> bool:
        """Whether callers may go on reading."""
        return self.queue.has_room

    async def room(self) -> None:
        """Wait while the queue is above its marks."""
        await self.queue.room()

    def close(self) -> None:
        """Ask `run` to write what is queued and end."""
        self.queue.close()

    async def run(self) -> None:
        """Write batches until closed, and every row is in the database or, where that is away, in the spool."""
        try:
            async with asyncio.TaskGroup() as tasks:
                drain = tasks.create_task(self._drain_for_ever())
                while not self.queue.is_done:
                    await self.queue.batch_due(_HEARTBEAT_SECONDS)
                    await self._settle(*self._cut())
                self._drain_rests.clear()
                if self.spooled:
                    await self._drain_rests.wait()
                drain.cancel()
            await self._settle(*self._cut())  # the last word on how far was heard
        finally:
            self._commits.disconnect()

    def _cut(self) -> tuple[Sequence[WriterRow], int | None]:
        """The next batch, and how far everything heard is in it or in earlier ones."""
        heard = self._heard_until()
        batch, is_all = self.queue.cut()
        return batch, heard if is_all else None

    async def _settle(self, batch: Sequence[WriterRow], heard: int | None) -> None:
        """Get a batch into the database, or behind what waits in the spool; until then, no other is begun.

        What was heard is claimed by batches that go straight into the database only: the spool is empty then.
        """
        waits = self._retry_waits()
        while batch or (heard is not None and self.table.time_column is not None):
            if not self.spooled and await self._write(batch, heard, is_patient=self._spool is None):
                return
            if self._spool is not None and (not batch or await self._put_aside(batch)):
                return
            await asyncio.sleep(min(next(waits), _LONGEST_WAIT))

    async def _write(self, batch: Sequence[WriterRow], heard: int | None, *, is_patient: bool) -> bool:
        try:
            new = await self._commits.commit(batch, heard, is_patient=is_patient)
        except DATABASE_FAILURES as error:  # whatever it says, the rows are kept: a lost right or a full disk ends too
            self._listener.failed(self.table, error)
            self._commits.disconnect()
            return False
        self._listener.written(self.table, batch, new, self.queued)
        return True

    async def _put_aside(self, batch: Sequence[WriterRow]) -> bool:
        """Put a batch into the spool; false where it has no room."""
        assert self._spool is not None  # noqa: S101 - for the type checker: the caller has looked
        try:
            data = self._packer.pack(batch)
            await self._spool.put(self.table.name, self._packer.layout, len(batch), data)
        except (SpoolError, *UNPACKABLE) as error:
            self._listener.failed(self.table, error)
            return False
        return True

    async def _drain_for_ever(self) -> None:
        """Whenever the spool holds rows, write them in order; an earlier process may have left some."""
        if self._spool is None:
            return
        waits = self._retry_waits()
        while True:
            await self._spool.filled(self.table.name).wait()
            if await self._drain(self._spool):
                waits = self._retry_waits()
            else:
                self._drain_rests.set()
                await asyncio.sleep(min(next(waits), _LONGEST_WAIT))

    async def _drain(self, spool: Spool) -> bool:
        """Write the spool's oldest batches and remove them; false where that failed.

        Killed between the two, they are written again: their keys make each row one.
        """
        try:
            batches = await spool.head(self.table.name, self.queue.policy.rows)
            rows = [row for batch in batches for row in self._packer.unpack(batch.data, batch.layout)]
            if not await self._write(rows, None, is_patient=True):
                return False
            await spool.remove(self.table.name, batches)
        except SpoolError as error:
            self._listener.failed(self.table, error)
            return False
        if not self.spooled:
            self._drain_rests.set()
        return True
