"""The sink: every row of a capture finds the writer of its table, rejected frames pass the quarantine.

Live gatherers and replays write through this same sink. Kept out: where rows come from.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.quarantine import Quarantine
from kalshi_platform.core.records import TABLE_OF, Row, rejected_row
from kalshi_platform.core.schema import Table
from kalshi_platform.database.writer import TableWriter, WriterListener


class Sink:
    """Writes every table of a gatherer's database.

    Args:
        url: The gatherer's database.
        listener: Told of each batch.
        heard_until: For a table, the exchange time (µs) up to which all that was heard has been handed over.
        retry_waits: Makes the waits between attempts, in seconds.
    """

    def __init__(
        self,
        url: str,
        listener: WriterListener,
        heard_until: Callable[[Table], int | None],
        retry_waits: Callable[[], Iterator[float]],
    ) -> None:
        self.quarantine = Quarantine()
        self._writers = {
            kind: TableWriter(url, table, listener, partial(heard_until, table), retry_waits)
            for kind, table in TABLE_OF.items()
        }

    async def run(self) -> None:
        """Write until closed and everything is in the database."""
        async with asyncio.TaskGroup() as tasks:
            for writer in self._writers.values():
                tasks.create_task(writer.run())

    def close(self) -> None:
        """Ask `run` to end once everything is written."""
        for writer in self._writers.values():
            writer.close()

    def add(self, row: Row) -> None:
        """Take one row."""
        self._writers[type(row)].add(row)

    def reject(self, raw: bytes, rejection: FrameRejected, connection: str, received_us: int) -> bool:
        """Count a frame that cannot be used; true where it was kept whole as well."""
        kept = self.quarantine.admit(rejection)
        if kept:
            self.add(rejected_row(raw, rejection, connection, received_us))
        return kept

    async def room(self) -> None:
        """Wait while any queue is above its marks; callers read nothing meanwhile."""
        for writer in self._writers.values():
            if not writer.has_room:
                await writer.room()

    def queued(self) -> dict[str, int]:
        """Rows waiting, by table."""
        return {writer.table.name: writer.queued for writer in self._writers.values()}
