"""The cursor on a real PostgreSQL, one test for each case of docs/cursor.md that can be played here."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from random import Random

import asyncpg
import pytest
from structlog.testing import capture_logs

from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.database.migrations import migrate_async
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.deduplicator.merge import Merger
from kalshi_platform.deduplicator.sync import SyncLoop
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform_tests.deduplicator.rows import T0, deltas, running, sync_loops, until_read, write
from kalshi_platform_tests.queries import fetch, value

Step = Callable[[], Coroutine[None, None, bool]]

DAY_US = 86_400_000_000
_NUMBERS = "SELECT (extract(epoch FROM exchange_ts) * 1000)::bigint - $1 FROM orderbook_deltas ORDER BY 1"


async def numbers(url: str) -> list[int]:
    """Which rows a database has, by number."""
    return [row[0] for row in await fetch(url, _NUMBERS, T0 // 1000)]


async def merge_all(gatherer: str, production: str) -> SyncLoop:
    """Merge until a loop has nothing more to do; returns it."""
    (loop,) = sync_loops({"gatherer-1": gatherer}, production)
    async with steps(loop, gatherer, production) as step:
        while await step():
            pass
    return loop


@asynccontextmanager
async def steps(loop: SyncLoop, gatherer: str, production: str) -> AsyncIterator[Step]:
    """A loop's connections, and its step: true while the cursor moves."""
    source, target = await asyncpg.connect(gatherer), await asyncpg.connect(production)
    merger = Merger(target, loop.gatherer_id, loop.table, loop.shard)
    identity = await source_identity(source)

    async def step() -> bool:
        before = await merger.cursor(source)
        await loop.step(source, merger, identity)
        return await merger.cursor(source) != before

    try:
        yield step
    finally:
        source.terminate()
        target.terminate()


@pytest.fixture
def own_server(roomy_place: Path | None) -> Iterator[EmbeddedPostgres]:
    """A server that a test may stop, and whose files it may put back."""
    with tempfile.TemporaryDirectory(prefix="kalshi-tests-", dir=roomy_place) as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "postgres", settings={"fsync": "off", "full_page_writes": "off"})
        try:
            with server:
                yield server
        finally:
            server.delete()


async def test_equal_stamps_and_a_clock_that_steps_back(gatherer_database: str, production_database: str) -> None:
    """No clock takes part: rows received later by a clock that went back are merged like any other."""
    for number, received in enumerate((T0, T0, T0 - 3_600_000_000, T0 - 1, T0)):
        row = deltas(number, 1)[0]._replace(received_at=received)
        await write(gatherer_database, [row])
        await merge_all(gatherer_database, production_database)
    assert await numbers(production_database) == [0, 1, 2, 3, 4]


@pytest.mark.slow
async def test_a_gatherer_restored_in_place_is_known_by_its_missing_batch(
    own_server: EmbeddedPostgres, production_database: str
) -> None:
    """The same cluster, timeline and database give out transaction ids anew; what has them now is merged too."""
    own_server.create_database("gatherer")
    await migrate_async(own_server.url("gatherer"), Home.GATHERER)
    await write(own_server.url("gatherer"), deltas(0, 10))
    own_server.stop()
    backup = own_server.folder / "backup"
    shutil.copytree(own_server.data_folder, backup, symlinks=True)
    own_server.start()
    await write(own_server.url("gatherer"), deltas(10, 10))
    before = await source_of(own_server)
    await merge_all(own_server.url("gatherer"), production_database)
    cursor = await value(production_database, "SELECT next_xid::text::int FROM sync_cursors")

    own_server.stop()
    for place in own_server.data_folder.iterdir():
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    shutil.copytree(backup, own_server.data_folder, symlinks=True, dirs_exist_ok=True)
    give_back(own_server.data_folder)
    own_server.start()
    url = own_server.url("gatherer")
    assert await source_of(own_server) == before  # nothing in the catalogs tells
    for number in range(100, 130):
        await write(url, deltas(number, 1))
    reused = await value(url, "SELECT count(*) FROM orderbook_deltas WHERE ingest_xid < $1::text::xid8", str(cursor))
    assert reused > 10  # else this would prove nothing

    loop = await merge_all(url, production_database)
    assert await numbers(production_database) == [*range(20), *range(100, 130)]
    assert loop._metrics.restarts.labels("gatherer-1", "orderbook_deltas")._value.get() == 1


async def source_of(server: EmbeddedPostgres) -> str:
    """The identity of the server's database."""
    connection = await asyncpg.connect(server.url("gatherer"))
    try:
        return await source_identity(connection)
    finally:
        await connection.close()


def give_back(folder: Path) -> None:
    """Files put back by root belong to whom the server runs as, like the folder around them."""
    owner = folder.stat()
    for place in folder.rglob("*"):
        shutil.chown(place, owner.st_uid, owner.st_gid)


async def test_a_gatherer_rebuilt_empty_is_read_from_its_beginning(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Its transaction ids are below the old cursor, and it is another database."""
    old, new = new_gatherer_database(), new_gatherer_database()
    await write(old, deltas(0, 10))
    await merge_all(old, production_database)
    await merge_all(new, production_database)  # still empty
    await write(new, deltas(10, 10))
    await merge_all(new, production_database)
    assert await numbers(production_database) == [*range(20)]


async def test_production_restored_to_an_earlier_moment_reads_again(
    cluster: EmbeddedPostgres, gatherer_database: str, production_database: str
) -> None:
    """Rows and cursors go back together."""
    await write(gatherer_database, deltas(0, 10))
    await merge_all(gatherer_database, production_database)
    earlier = f"{production_database.rpartition('/')[2]}_earlier"
    cluster.create_database(earlier, template=production_database.rpartition("/")[2])
    try:
        await write(gatherer_database, deltas(10, 10))
        await merge_all(gatherer_database, production_database)
        await write(gatherer_database, deltas(20, 10))
        await merge_all(gatherer_database, cluster.url(earlier))
        assert await numbers(cluster.url(earlier)) == [*range(30)]
    finally:
        cluster.drop_database(earlier)


async def test_an_idle_transaction_delays_and_alarms_and_loses_nothing(
    gatherer_database: str, production_database: str
) -> None:
    """What is younger waits, however long; the age of the horizon says so."""
    idle = await asyncpg.connect(gatherer_database)
    await idle.execute("BEGIN; SELECT pg_current_xact_id()")
    await write(gatherer_database, deltas(0, 10))
    (loop,) = sync_loops({"gatherer-1": gatherer_database}, production_database)
    clock = [1000.0]
    loop._now = lambda: clock[0]
    async with steps(loop, gatherer_database, production_database) as step:
        for moment in (1000.0, 1030.0, 1090.0):
            clock[0] = moment
            assert not await step()
        assert await numbers(production_database) == []
        assert loop.state.horizon.age(1090.0) == 90.0
        loop.state.connected = True
        assert loop.state.summary(1090.0, 9999.0, 60.0) == "held back by a transaction at the gatherer"
        await idle.execute("ROLLBACK")
        await idle.close()
        assert await step()
        assert loop.state.horizon.age(1090.0) == 0.0
    assert await numbers(production_database) == [*range(10)]


@pytest.mark.parametrize("has_older", [False, True])
async def test_partitions_that_a_gatherer_has_dropped_do_not_stop_a_second_reading(
    has_older: bool, gatherer_database: str, production_database: str
) -> None:
    """It drops what was merged and proven; the log of its batches still tells of it. Older rows may have come since."""
    old = [row._replace(exchange_ts=row.exchange_ts - 3 * DAY_US) for row in deltas(0, 10)]
    await write(gatherer_database, old)
    await write(gatherer_database, deltas(0, 10))
    dropped = date(2026, 11, 21) - timedelta(days=3)
    tables = await fetch(
        gatherer_database, "SELECT relname FROM pg_class WHERE relname LIKE $1", f"orderbook_deltas_{dropped:%Y%m%d}%"
    )
    for row in tables:
        if row["relname"].count("_") <= 3 and not row["relname"].endswith(("pkey", "xid")):
            await fetch(gatherer_database, f"DROP TABLE IF EXISTS {row['relname']}")
    assert len(await numbers(gatherer_database)) == 10
    if has_older:
        await write(gatherer_database, [row._replace(exchange_ts=row.exchange_ts - 9 * DAY_US) for row in deltas(0, 1)])
    (loop,) = sync_loops({"gatherer-1": gatherer_database}, production_database, most_rows=10)
    with capture_logs() as logs:
        async with steps(loop, gatherer_database, production_database) as step:
            while await step():
                pass
    assert await numbers(production_database) == await numbers(gatherer_database)
    assert [log["rows"] for log in logs if "has dropped" in log["event"]] == [10]


class Writers:
    """Transactions of one gatherer that begin and end in any order."""

    def __init__(self, connections: Sequence[asyncpg.Connection]) -> None:
        self._idle = list(connections)
        self._open: list[tuple[asyncpg.Connection, asyncpg.transaction.Transaction, list[DeltaRow]]] = []
        self._stages = {id(connection): Stage(ORDERBOOK_DELTAS, Home.GATHERER) for connection in connections}
        self.committed: set[int] = set()

    async def begin(self, first: int, count: int) -> None:
        """Write a batch and leave its transaction open."""
        if not self._idle:
            return
        connection = self._idle.pop()
        transaction = connection.transaction()
        await transaction.start()
        rows = deltas(first, count)
        stage = self._stages[id(connection)]
        await stage.copy_new(connection, rows)
        await connection.execute(
            "INSERT INTO ingest_batches (table_name, row_count, min_ts, max_ts) "
            "SELECT 'orderbook_deltas', $1, to_timestamp($2::bigint / 1e6), to_timestamp($3::bigint / 1e6)",
            count, rows[0].exchange_ts, rows[-1].exchange_ts,
        )  # fmt: skip
        self._open.append((connection, transaction, rows))

    async def end(self, index: int, *, commits: bool) -> None:
        """End one of the open transactions."""
        if not self._open:
            return
        connection, transaction, rows = self._open.pop(index % len(self._open))
        if commits:
            await transaction.commit()
            self.committed |= {row.exchange_ts // 1000 - T0 // 1000 for row in rows}
        else:
            await transaction.rollback()
        self._idle.append(connection)

    async def end_all(self) -> None:
        """Commit what is open."""
        while self._open:
            await self.end(0, commits=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
async def test_random_writers_commit_in_any_order(seed: int, gatherer_database: str, production_database: str) -> None:
    """Seeded schedules on a real server: late commits, rollbacks, a deduplicator that dies between statements."""
    random = Random(seed)  # noqa: S311 - a schedule
    connections = [await asyncpg.connect(gatherer_database) for _ in range(4)]
    await ensure_partitions(connections[0], ORDERBOOK_DELTAS, [date(2026, 11, 21)])
    writers = Writers(connections)
    (loop,) = sync_loops({"gatherer-1": gatherer_database}, production_database, most_rows=8)
    first = 0
    for _ in range(6):
        async with steps(loop, gatherer_database, production_database) as step:
            for _ in range(random.randrange(12)):
                dice = random.random()
                if dice < 0.4:
                    count = random.randint(1, 5)
                    await writers.begin(first, count)
                    first += count
                elif dice < 0.7:
                    await writers.end(random.randrange(4), commits=random.random() < 0.8)
                else:
                    await _cut_short(step, random)
    await writers.end_all()
    for connection in connections:
        await connection.close()
    await merge_all(gatherer_database, production_database)
    assert set(await numbers(production_database)) == writers.committed
    assert await value(production_database, "SELECT sum(rows_merged)::int FROM sync_cursors") == len(writers.committed)


async def _cut_short(step: Step, random: Random) -> None:
    """A step that may be cancelled at any of its statements."""
    task = asyncio.ensure_future(step())
    if random.random() < 0.3:
        for _ in range(random.randrange(6)):
            await asyncio.sleep(0)
        task.cancel()
    with suppress(asyncio.CancelledError, asyncpg.InterfaceError, asyncpg.PostgresError):
        await task


async def test_rows_merged_meanwhile_by_two_loops_are_counted_once(
    gatherer_database: str, production_database: str
) -> None:
    """Two loops of one gatherer, as when two deduplicators believe to lead."""
    sources = {"gatherer-1": gatherer_database}
    for start in range(0, 400, 20):
        await write(gatherer_database, deltas(start, 20))
    loops = [loop for _ in range(2) for loop in sync_loops(sources, production_database, most_rows=40)]
    async with running(loops):
        await until_read(sources, production_database)
    assert await value(production_database, "SELECT rows_merged::int FROM sync_cursors") == 400
