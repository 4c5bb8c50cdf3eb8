"""The sink: every row of a capture finds the writer of its table, rejected frames pass the quarantine.

Live gatherers and replays write through this same sink. Kept out: where rows come from.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.quarantine import Quarantine
from kalshi_platform.core.records import TABLE_OF, DeltaRow, Row, rejected_row
from kalshi_platform.core.schema import Table
from kalshi_platform.database.batching import POLICIES, FlushPolicy, RowQueue
from kalshi_platform.database.spool import Spool
from kalshi_platform.database.urls import checked
from kalshi_platform.database.writer import TableWriter, WriterListener


@dataclass(frozen=True, slots=True)
class QueueState:
    """What waits where, by table.

    Attributes:
        queued: Rows in memory.
        spooled: Rows on disk.
        spooled_since: When the oldest batch on disk was put there, seconds since 1970.
        spool_bytes: Bytes that the spool holds.
        blocked_seconds: For how long readers had to wait so far.
        is_blocked: Whether they are waiting now.
    """

    queued: Mapping[str, int]
    spooled: Mapping[str, int]
    spooled_since: Mapping[str, float]
    spool_bytes: int
    blocked_seconds: Mapping[str, float]
    is_blocked: Mapping[str, bool]


class Sink:
    """Writes every table of a gatherer's database.

    Args:
        url: The gatherer's database.
        listener: Told of each batch.
        heard_until: For a table, the exchange time (µs) up to which all that was heard has been handed over.
        retry_waits: Makes the waits between attempts, in seconds.
        policies: When batches are due, by table.
        spool: Where batches go that the database does not take; None for none: callers wait then.
        echo: Told of each row besides its writer: a second sink. It returns at once and never raises.

    Raises:
        ConfigurationError: The address is none.
    """

    def __init__(
        self,
        url: str,
        listener: WriterListener,
        heard_until: Callable[[Table], int | None],
        retry_waits: Callable[[], Iterator[float]],
        *,
        policies: Mapping[str, FlushPolicy] = POLICIES,
        spool: Spool | None = None,
        echo: Callable[[Row], None] | None = None,
    ) -> None:
        checked(url)  # now, not when the first row is written
        self.quarantine = Quarantine()
        self.spool = spool
        self._writers = {
            kind: TableWriter(
                url,
                table,
                listener,
                partial(heard_until, table),
                retry_waits,
                policy=policies.get(table.name),
                spool=spool,
            )
            for kind, table in TABLE_OF.items()
        }
        self._changes = self._writers[DeltaRow].queue
        self._echo = echo
        self._add = {kind: _both(writer.add, echo) for kind, writer in self._writers.items()}
        self._blocked: set[RowQueue] = set()
        for writer in self._writers.values():
            writer.queue.report_to(self._blocked)

    async def run(self) -> None:
        """Write until closed, and everything is in the database or, where that is away, in the spool.

        Raises:
            ConfigurationError: Where the spool cannot be used.
        """
        async with self.spool or nullcontext(), asyncio.TaskGroup() as tasks:
            for writer in self._writers.values():
                tasks.create_task(writer.run())

    def close(self) -> None:
        """Ask `run` to end once everything is written."""
        for writer in self._writers.values():
            writer.close()

    def add(self, row: Row) -> None:
        """Take one row."""
        self._add[type(row)](row)

    def add_changes(self, rows: Sequence[DeltaRow]) -> None:
        """Take changes of books, many at once."""
        self._changes.add_all(rows)
        if self._echo is not None:
            for row in rows:
                self._echo(row)

    def reject(self, raw: bytes, rejection: FrameRejected, connection: str, received_us: int) -> bool:
        """Count a frame that cannot be used; true where it was kept whole as well."""
        kept = self.quarantine.admit(rejection)
        if kept:
            self.add(rejected_row(raw, rejection, connection, received_us))
        return kept

    @property
    def has_room(self) -> bool:
        """Whether every queue is below its marks."""
        return not self._blocked

    async def room(self) -> None:
        """Wait while any queue is above its marks; callers read nothing meanwhile."""
        while self._blocked:
            await next(iter(self._blocked)).room()

    def queued(self) -> dict[str, int]:
        """Rows waiting in memory, by table."""
        return {writer.table.name: writer.queued for writer in self._writers.values()}

    def spooled(self) -> dict[str, int]:
        """Rows waiting on disk, by table."""
        return {writer.table.name: writer.spooled for writer in self._writers.values()}

    def state(self) -> QueueState:
        """What waits where, for metrics."""
        names = {writer.table.name: writer for writer in self._writers.values()}
        oldest = {} if self.spool is None else {name: self.spool.oldest(name) for name in names}
        return QueueState(
            self.queued(),
            self.spooled(),
            {name: kept_at for name, kept_at in oldest.items() if kept_at is not None},
            0 if self.spool is None else self.spool.size,
            {name: writer.queue.blocked_seconds for name, writer in names.items()},
            {name: not writer.has_room for name, writer in names.items()},
        )


def _both(add: Callable[[Row], None], echo: Callable[[Row], None] | None) -> Callable[[Row], None]:
    if echo is None:
        return add

    def both(row: Row) -> None:
        add(row)
        echo(row)

    return both
