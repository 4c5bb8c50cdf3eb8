"""The deduplicator after minutes without it: how long until it has caught up, and what live traffic feels meanwhile.

Three gatherers hold a backlog of 2,000 messages a second each (90 % changes of books, 8 % tickers, 2 % trades, in the
batches in which gatherers write), and go on writing at that rate. The deduplicator is a process of its own; its figures
are its own metrics. A table has caught up when its backlog is merged, and what came meanwhile as well. Per table: when
that was, and the lag of what it merged from then on, first while others still caught up, then with everything at rest.
Every database is a server of its own, as in production: on a shared one each merge would hold back what gatherers have
just written. With `--lagging one` only one gatherer has a backlog; how far the merge of the others lay behind meanwhile
is told as well. Progress goes to stderr. Exits 1 where production does not hold each message once.

Run: python benchmarks/catch_up.py [--minutes 5] [--rate 2000] [--lagging all|one] [--folder FOLDER]
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from socket import socket
from statistics import median
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from latency import MERGE, difference
from postgres_cpu import process_cpu, server_cpu

from kalshi_platform.core.records import DeltaRow, TickerRow, TradeRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, TICKERS, TRADES, Home, Table
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.migrations import migrate
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.database.writer import TableWriter, WriterRow
from kalshi_platform.tools.children import Child, plain_environment, platform_command
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform.tools.scrape import Reading, scrape

GATHERERS = ("one", "two", "three")
SHARES = {ORDERBOOK_DELTAS: 0.9, TICKERS: 0.08, TRADES: 0.02}
FLUSHES_A_SECOND = {ORDERBOOK_DELTAS: 20, TICKERS: 10, TRADES: 10}
READ, LAG = "kalshi_deduplicator_rows_read_total", "kalshi_deduplicator_gatherer_lag_seconds"
MESSAGE_BYTES = 1_300  # three gatherers' copies and production's, with keys, indexes and WAL
REST_SECONDS, PROGRESS_SECONDS = 20, 5
LIVE_SECONDS = 2.0
"""A gatherer that lies behind by less is merged as it writes; half a second is the writers' own."""
SLOWEST = 4
"""Times the backlog's length after which it is given up."""

PRODUCTION, DATABASE = "production", "kalshi"
SETTINGS = {
    **{name: {"shared_buffers": "256MB", "max_wal_size": "4GB"} for name in GATHERERS},
    PRODUCTION: {"shared_buffers": "1GB", "max_wal_size": "4GB"},
}
Servers = Mapping[str, EmbeddedPostgres]

BURN = """
CREATE PROCEDURE burn(transactions int) LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1..transactions LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
"""
MARKET = (
    "'KXBENCHMARK-26NOV21-T' || lpad(floor(5001 ^ (n::bigint * 2654435761 % 4294967296 / 4294967296.0))::text, 5, '0')"
)
FILL = {
    ORDERBOOK_DELTAS: f"""
INSERT INTO orderbook_deltas (exchange_ts, ticker, side, price, size_delta, occurrence, position, seq, sid, received_at,
                              ingest_xid)
SELECT at, {MARKET}, n % 2 = 0, (n::bigint * 7919 % 999 + 1) * 1000, n % 2000 * 100 + 1, 0, 0, n, 1,
       at + interval '12 ms', xid""",
    TICKERS: f"""
INSERT INTO tickers (exchange_ts, ticker, last_price, yes_bid, yes_ask, volume, digest, received_at, ingest_xid)
SELECT at, {MARKET}, 500000, 490000, 510000, n, n, at + interval '12 ms', xid""",
    TRADES: f"""
INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at, ingest_xid)
SELECT at, md5(n::text)::uuid, {MARKET}, 500000, n % 2000 * 100 + 1, false, at + interval '12 ms', xid""",
}  # fmt: skip
WHERE = """
FROM generate_series(0, $1::int - 1) AS n,
     LATERAL (SELECT date_trunc('milliseconds', $2::timestamptz + n * $3::interval) AS at,
                     ($4::bigint + n / $5::int)::text::xid8 AS xid) AS batch
"""
LOG = """
INSERT INTO ingest_batches (table_name, ingest_xid, row_count, min_ts, max_ts, heard_until, written_at)
SELECT '{table}', ingest_xid, count(*), min(exchange_ts), max(exchange_ts), max(exchange_ts), max(exchange_ts)
FROM {table} GROUP BY ingest_xid
"""


class Writers:
    """What goes on being written: the same messages to every gatherer."""

    def __init__(self, urls: dict[str, str], rate: int) -> None:
        self._rate = rate
        self.written_rows: dict[str, int] = {table.name: 0 for table in SHARES}
        self._writers = {
            table: [TableWriter(url, table, self, self._heard, _no_waits) for url in urls.values()] for table in SHARES
        }

    def written(self, table: Table, rows: Any, new: int, queued: int) -> None:
        """The writers' listener."""

    def failed(self, table: Table, error: Exception) -> None:
        """Give up."""
        raise error

    async def run(self, stop: asyncio.Event) -> None:
        """Write at the rate until told to stop."""
        started, sent = time.time(), 0
        async with asyncio.TaskGroup() as tasks:
            for writer in (one for writers in self._writers.values() for one in writers):
                tasks.create_task(writer.run())
            while not stop.is_set():
                due = int((time.time() - started) * self._rate)
                for number in range(sent, due):
                    self._write(number)
                sent = max(sent, due)
                await asyncio.sleep(0.01)
            for writer in (one for writers in self._writers.values() for one in writers):
                writer.close()

    def _write(self, number: int) -> None:
        at, place = time.time_ns() // 1_000_000 * 1000, number % 100
        market = f"KXBENCHMARK-26NOV21-T{number * 7919 % 5000:05}"
        row: WriterRow
        if place < 90:
            table, row = (
                ORDERBOOK_DELTAS,
                DeltaRow(at, market, place % 2 == 0, 1000, number + 1, 0, 0, number, 1, at),
            )
        elif place < 98:
            row = TickerRow(at, market, *(None,) * 10, number, at)
            table = TICKERS
        else:
            table = TRADES
            row = TradeRow(at, UUID(int=number + 2**100), market, 1000, 100, None, is_block_trade=False, received_at=at)
        self.written_rows[table.name] += 1
        for writer in self._writers[table]:
            writer.add(row)

    def _heard(self) -> int:
        return time.time_ns() // 1000 - 500_000


def _no_waits() -> Iterator[float]:
    while True:
        yield 0.1


async def fill(gatherer: str, url: str, start: datetime, seconds: int, rate: int) -> None:
    """A gatherer's backlog: the same for all, as it had been written in so many seconds from `start` on."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET synchronous_commit = off")
    days = {start.date(), datetime_from_us(time.time_ns() // 1000).date()}
    await connection.execute(BURN)
    for table, share in SHARES.items():
        await ensure_partitions(connection, table, days)
        rows, flushes = int(seconds * rate * share), seconds * FLUSHES_A_SECOND[table]
        step = (datetime_from_us(1_000_000) - datetime_from_us(0)) * seconds / rows
        first = int(await connection.fetchval("SELECT pg_current_xact_id()::text"))
        await connection.execute(f"CALL burn({flushes + 1})")
        await connection.execute(FILL[table] + WHERE, rows, start, step, first, -(-rows // flushes))
        await connection.execute(LOG.format(table=table.name))
        await connection.execute(f"ANALYZE {table.name}")
        note(f"{gatherer}: {rows:,} rows of {table.name} are there")
    await connection.execute("ANALYZE ingest_batches")
    await connection.close()


class CatchUp:
    """What is seen of the deduplicator while it works.

    Args:
        child: It.
        port: Of its metrics.
        backlog: Rows of each gatherer and table that waited for it.
        most_seconds: When to give up.
    """

    def __init__(self, child: Child, port: int, backlog: dict[tuple[str, str], int], most_seconds: float) -> None:
        self._child, self._port, self._backlog, self._most_seconds = child, port, backlog, most_seconds
        self._client = httpx.Client()
        self._started = time.monotonic()
        self.caught: dict[str, tuple[float, Reading]] = {}
        self.lags: dict[str, list[float]] = {table.name: [] for table in SHARES}

    async def until_caught_up(self) -> Reading:
        """Wait until all that had waited, and what came meanwhile, is merged; each table's moment is noted."""
        reading, told = Reading(), self._started
        while len(self.caught) < len(SHARES):
            await asyncio.sleep(0.25)
            reading, now = await self.scrape(), time.monotonic()
            for table in SHARES:
                self._look(reading, table.name, now - self._started)
            if now - told > PROGRESS_SECONDS:
                told = now
                self._tell(reading, now - self._started)
            if not self._child.is_running:
                raise SystemExit("the deduplicator has ended")
            if now - self._started > self._most_seconds:
                raise SystemExit(f"not caught up after {self._most_seconds:.0f} s")
        return reading

    def _look(self, reading: Reading, table: str, seconds: float) -> None:
        """Note how far the gatherers without a backlog lie behind, and whether those with one have caught up."""
        lags = {name: reading.total(LAG, gatherer=name, table=table) for name in GATHERERS}
        self.lags[table] += [lag for name, lag in lags.items() if lag and (name, table) not in self._backlog]
        if table not in self.caught and all(
            reading.total(READ, gatherer=name, table=table) >= rows and lags[name] < LIVE_SECONDS
            for (name, of), rows in self._backlog.items()
            if of == table
        ):
            self.caught[table] = (seconds, reading)

    def _tell(self, reading: Reading, seconds: float) -> None:
        lags = [reading.total(LAG, gatherer=name, table=table) for name, table in self._backlog]
        names = ", ".join(self.caught) or "nothing"
        note(
            f"{seconds:4.0f} s: {reading.total(READ):,.0f} rows read of {sum(self._backlog.values()):,} and the live "
            f"ones; furthest behind {max(lags):,.0f} s; caught up: {names}"
        )

    async def scrape(self) -> Reading:
        """Its metrics now."""
        return await asyncio.to_thread(scrape, self._client, self._port)


def tell(what: str, before: Reading, after: Reading, table: str) -> None:
    """Print the shares of a lag between two scrapes."""
    lag = difference(before, after, MERGE)
    shares = {share: lag.quantile(MERGE, share, table=table) for share in (0.5, 0.99)}
    figures = ", ".join(f"p{share * 100:.0f} <= {1000 * bound:.0f} ms" for share, bound in shares.items() if bound)
    say(f"    {what}: {figures or 'nothing'}")


async def measure(servers: Servers, folder: Path, minutes: float, rate: int, lagging: str) -> bool:
    """Fill, catch up, judge."""
    urls, seconds = {name: servers[name].url(DATABASE) for name in GATHERERS}, round(minutes * 60)
    production = servers[PRODUCTION].url(DATABASE)
    behind = GATHERERS if lagging == "all" else GATHERERS[:1]
    started = time.monotonic()
    start = datetime_from_us(time.time_ns() // 1000 - seconds * 1_000_000)
    await asyncio.gather(*(fill(name, urls[name], start, seconds, rate) for name in behind))
    backlog = {(name, table.name): int(seconds * rate * share) for name in behind for table, share in SHARES.items()}
    say(f"{sum(backlog.values()):,} rows wait, filled in {time.monotonic() - started:.0f} s")
    port = _free_port()
    environment = plain_environment(
        KALSHI_GATHERERS=",".join(f"{name}={url}" for name, url in urls.items()),
        KALSHI_PRODUCTION_DATABASE_URL=production, KALSHI_METRICS_PORT=str(port),
    )  # fmt: skip
    stop, writers = asyncio.Event(), Writers(urls, rate)
    child = Child("deduplicator", platform_command("deduplicate"), environment, folder)
    writing = asyncio.create_task(writers.run(stop))
    try:
        child.start()
        watch = CatchUp(child, port, backlog, max(300.0, SLOWEST * seconds))
        await report(watch, servers, child, sum(backlog.values()))
        stop.set()
        await writing
        return await is_whole(production, seconds, rate, writers)
    finally:
        stop.set()
        child.stop(30)


async def report(watch: CatchUp, servers: Servers, child: Child, rows: int) -> None:
    """Tell how long it took and what was felt."""
    cpu = _cpu(servers, child)
    up = await watch.until_caught_up()
    seconds = max(moment for moment, _ in watch.caught.values())
    python, database = (now - then for now, then in zip(_cpu(servers, child), cpu, strict=True))
    read = up.total(READ)
    say(
        f"caught up in {seconds:.0f} s: {rows / seconds:,.0f} rows/s of the backlog, {read / seconds:,.0f} rows/s with "
        f"live ones; CPU {python / read * 1e6:.2f} µs a row in Python, {database / read * 1e6:.2f} in the databases; "
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    for table, lags in watch.lags.items():
        if lags:
            worst = f"median {median(lags):.1f} s, worst {max(lags):.1f} s (half a second is the writers' own)"
            say(f"{table} of the gatherers without a backlog lay behind by: {worst}")
    await asyncio.sleep(REST_SECONDS)
    rested = await watch.scrape()
    for table, (moment, reading) in sorted(watch.caught.items(), key=lambda one: one[1][0]):
        say(f"  {table}: caught up after {moment:.1f} s")
        if moment < seconds - 1:
            tell("from then on, while others caught up", reading, up, table)
        tell(f"in {REST_SECONDS} s at rest", up, rested, table)


async def is_whole(production: str, seconds: int, rate: int, writers: Writers) -> bool:
    """Whether production has each message once, a moment after the last was written."""
    connection = await asyncpg.connect(production)
    good = True
    for table, share in SHARES.items():
        wanted, found = int(seconds * rate * share) + writers.written_rows[table.name], -1
        deadline = time.monotonic() + 30
        while found != wanted and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            found = await connection.fetchval(f"SELECT count(*) FROM {table.name}")  # noqa: S608 - ours
        say(f"  {table.name}: {found:,} rows in production, {wanted:,} were written to each gatherer or to one")
        good &= found == wanted
    await connection.close()
    return good


def note(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(text + "\n")


def say(text: str) -> None:
    """One line of the result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _cpu(servers: Servers, child: Child) -> tuple[float, float]:
    return process_cpu(child.pid or 0), sum(server_cpu(server.pid or 0) for server in servers.values())


def _free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> bool:
    """Measure once on embedded servers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the deduplicator was away")
    parser.add_argument("--rate", type=int, default=2000, help="messages a second")
    parser.add_argument("--lagging", choices=("all", "one"), default="all", help="who has a backlog")
    parser.add_argument("--folder", type=Path, default=None, help="where the server lies; a temporary folder else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kalshi-bench-", dir=options.folder) as place:
        folder = Path(place)
        folder.chmod(0o711)
        needed = (
            options.minutes * 60 * options.rate * MESSAGE_BYTES + 16 * 2**30
        )  # what four servers keep of their logs
        if shutil.disk_usage(folder).free < needed:
            raise SystemExit(f"{needed / 2**30:.0f} GiB are needed in {folder}; ask for fewer --minutes")
        with ExitStack() as stack:
            servers = {name: _started(stack, folder / name, settings) for name, settings in SETTINGS.items()}
            for name, server in servers.items():
                migrate(server.url(DATABASE), Home.PRODUCTION if name == PRODUCTION else Home.GATHERER)
            return asyncio.run(measure(servers, folder, options.minutes, options.rate, options.lagging))


def _started(stack: ExitStack, folder: Path, settings: Mapping[str, str]) -> EmbeddedPostgres:
    server = EmbeddedPostgres(folder, settings=settings)
    stack.callback(server.delete)
    server.start()
    server.create_database(DATABASE)
    return server


if __name__ == "__main__":
    sys.exit(not main())
