"""One connection of the gatherer on a tape, into PostgreSQL: what `cryptofeed_comparison` measures of ours.

The parts are those of the daemon: socket, session, capture, books, metrics, sink, writers. Prints how many rows are
committed and the CPU seconds of this process from the first frame on.
Run: python gatherer_client.py ws://127.0.0.1:PORT DATABASE_URL DELTAS MARKETS
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence

from measure import arguments
from tape_server import ticker

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Table
from kalshi_platform.database.sink import Sink
from kalshi_platform.database.writer import WriterRow
from kalshi_platform.exchange.session import Channel
from kalshi_platform.gatherer.connection import Connection, Surroundings
from kalshi_platform.gatherer.reports import WriterReports
from kalshi_platform.service.lifecycle import collect_rarely
from kalshi_platform.service.metrics import GathererMetrics


class Counting(WriterReports):
    """Counts committed deltas; says when all are there."""

    def __init__(self, metrics: GathererMetrics, expected: int) -> None:
        super().__init__(metrics)
        self.expected = expected
        self.deltas = 0
        self.is_done = asyncio.Event()

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """Count a batch."""
        super().written(table, rows, new, queued)
        if table is ORDERBOOK_DELTAS:
            self.deltas += new
            if self.deltas >= self.expected:
                self.is_done.set()


def waits() -> Iterator[float]:
    """Between attempts."""
    while True:
        yield 0.5


async def run(address: str, database: str, count: int, markets: int) -> None:
    """Listen until everything is committed."""
    metrics = GathererMetrics()
    reports = Counting(metrics, count)
    sink = Sink(database, reports, lambda _table: None, waits)
    around = Surroundings(
        url=address,
        signer=None,  # type: ignore[arg-type]  # the tape lets anybody in
        sink=sink,
        metrics=metrics,
        gatherer_id="bench",
        checkpoint_ms=3_600_000,
        settle_ms=5_000,
        now_us=lambda: time.time_ns() // 1000,
        retry_waits=waits,
        on_lifecycle=lambda _frame: None,
    )
    connection = Connection("orderbook-1", Channel.ORDERBOOK, around)
    connection.add_markets([ticker(number) for number in range(markets)])
    before, started = time.process_time(), time.perf_counter()
    writing = asyncio.create_task(sink.run())
    listening = asyncio.create_task(connection.run())
    await asyncio.wait([asyncio.ensure_future(reports.is_done.wait()), writing], return_when="FIRST_COMPLETED")
    spent, elapsed = time.process_time() - before, time.perf_counter() - started
    listening.cancel()
    sink.close()
    await asyncio.wait([listening, writing])
    sys.stdout.write(f"{reports.deltas} {spent} {elapsed}\n")


if __name__ == "__main__":
    collect_rarely()  # as the daemon does
    asyncio.run(run(*arguments(__doc__, socket=str, database=str, deltas=int, markets=int)))
