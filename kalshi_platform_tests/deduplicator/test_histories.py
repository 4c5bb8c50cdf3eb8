"""What real servers do with transaction ids beside counting up: two phases, standbys, lost commits, epochs, copies."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.records import SessionRow
from kalshi_platform.core.schema import CAPTURE_SESSIONS, ORDERBOOK_DELTAS, Home
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.migrations import migrate, migrate_async
from kalshi_platform.database.partition_list import partitions_of
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.database.proofs import Proof, record_proof
from kalshi_platform.database.retention import drop_merged
from kalshi_platform.deduplicator import advice
from kalshi_platform.deduplicator.source import refuse_replica
from kalshi_platform.lake.layout import HOUR
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform_tests.database.test_forgetting import forget
from kalshi_platform_tests.deduplicator.rows import T0, deltas, running, sync_loops, until_read, write
from kalshi_platform_tests.deduplicator.test_cursor import DAY_US, merge_all, numbers, source_of, steps
from kalshi_platform_tests.queries import fetch, value

pytestmark = pytest.mark.slow

SESSIONS = "SELECT count(*) FROM capture_sessions"
SETTINGS = {"fsync": "off", "max_prepared_transactions": "2", "wal_level": "logical", "wal_writer_delay": "10s"}
RECORD = "INSERT INTO ingest_batches (table_name, row_count, min_ts, max_ts) VALUES ('orderbook_deltas', $1, $2, $3)"


@pytest.fixture(scope="module")
def place(roomy_place: Path | None) -> Iterator[Path]:
    """Where the servers of these tests lie."""
    with tempfile.TemporaryDirectory(prefix="kalshi-tests-", dir=roomy_place) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="module")
def whole_server(place: Path) -> Iterator[EmbeddedPostgres]:
    """A gatherers' server that a test may do anything to, as long as it works again afterwards."""
    one = EmbeddedPostgres(place / "first", settings=SETTINGS)
    try:
        one.start()
        one.create_database("migrated")
        migrate(one.url("migrated"), Home.GATHERER)
        yield one
    finally:
        one.delete()


@pytest.fixture
async def server(whole_server: EmbeddedPostgres) -> AsyncIterator[EmbeddedPostgres]:
    """It, with a fresh database of a gatherer's."""
    whole_server.create_database("gatherer", template="migrated")
    await write(whole_server.url("gatherer"), deltas(0, 1))  # makes the partition
    await fetch(whole_server.url("gatherer"), "TRUNCATE orderbook_deltas, ingest_batches")
    yield whole_server
    whole_server.drop_database("gatherer")


async def add(connection: asyncpg.Connection, first: int, count: int) -> None:
    """A batch, in whatever transaction is open."""
    rows = deltas(first, count)
    await Stage(ORDERBOOK_DELTAS, Home.GATHERER).copy_new(connection, rows)
    times = (datetime_from_us(rows[0].exchange_ts), datetime_from_us(rows[-1].exchange_ts))
    await connection.execute(RECORD, count, *times)


def program(server: EmbeddedPostgres, binaries: Path, name: str, *arguments: str) -> None:
    """One of PostgreSQL's programs, as the user who owns the server's files."""
    owner = server.data_folder.stat()
    other: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    done = subprocess.run(
        [str(binaries / name), *arguments], cwd="/", env={"PGPASSWORD": (server.folder / "password").read_text()},
        capture_output=True, text=True, check=False, **(other if os.geteuid() == 0 else {}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def binaries_of(server: EmbeddedPostgres) -> Path:
    """The folder of the programs that a running server was started from."""
    return Path(f"/proc/{server.pid}/exe").readlink().parent


def crash(server: EmbeddedPostgres) -> None:
    """As a power cut: nobody writes what is in memory. Started again in this thread, with which it would end."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGQUIT)
    server.stop()
    server.start()


async def test_a_prepared_transaction_delays_and_loses_nothing(
    server: EmbeddedPostgres, production_database: str
) -> None:
    """It outlives its session, and no list of sessions shows it: health says where it is."""
    url = server.url("gatherer")
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN")
    await add(connection, 0, 10)
    await connection.execute("PREPARE TRANSACTION 'late'")
    await connection.close()
    await write(url, deltas(10, 10))
    loop = await merge_all(url, production_database)
    assert await numbers(production_database) == []
    loop.state.connected = True
    (held,) = advice.problems([loop], loop._now() + 61, patience=60)
    query = held.rpartition("prepared one, ")[2]
    assert await value(url, query) == "late"
    await fetch(url, "COMMIT PREPARED 'late'")
    await merge_all(url, production_database)
    assert await numbers(production_database) == [*range(20)]


async def test_commits_that_a_crash_takes_back_are_found_out(
    server: EmbeddedPostgres, production_database: str
) -> None:
    """Asynchronous commits were merged and are gone: their ids are given out anew, and what has them now is merged."""
    url = server.url("gatherer")
    await write(url, deltas(0, 10))
    connection = await asyncpg.connect(url, server_settings={"synchronous_commit": "off"})
    await add(connection, 10, 10)
    before = await source_of(server)
    await merge_all(url, production_database)
    assert await numbers(production_database) == [*range(20)]
    cursor = await value(production_database, "SELECT next_xid::text::int FROM sync_cursors")
    connection.terminate()
    crash(server)
    url = server.url("gatherer")
    assert await source_of(server) == before
    assert await numbers(url) == [*range(10)]  # else this would prove nothing
    for number in range(100, 110):
        await write(url, deltas(number, 1))
    assert await value(url, "SELECT count(*) FROM orderbook_deltas WHERE ingest_xid < $1::text::xid8", str(cursor)) > 10
    await merge_all(url, production_database)
    assert await numbers(production_database) == [*range(20), *range(100, 110)]


async def test_what_a_gatherer_forgets_has_survived_at_production(
    server: EmbeddedPostgres, gatherer_database: str
) -> None:
    """Production commits without waiting for its disk; nothing is deleted on the word of such a commit."""
    server.create_database("production")
    await migrate_async(server.url("production"), Home.PRODUCTION)
    old = SessionRow(T0 - 9 * DAY_US, "g", "c", "trade", "", 1, T0 - 8 * DAY_US, "stopped")
    await write(gatherer_database, [old], table=CAPTURE_SESSIONS)
    await write(gatherer_database, deltas(0, 1))  # sessions are read up to a batch
    async with running(sync_loops({"g": gatherer_database}, server.url("production"), CAPTURE_SESSIONS)):
        async with asyncio.timeout(20):
            while not await value(server.url("production"), SESSIONS):
                await asyncio.sleep(0.01)
    assert await forget(gatherer_database, server.url("production")) == {"capture_sessions": 1}
    crash(server)
    assert await value(server.url("production"), SESSIONS) == 1


async def test_what_a_gatherer_drops_has_survived_at_production(
    server: EmbeddedPostgres, gatherer_database: str
) -> None:
    """As above, of a whole partition: its file is proven, and the merge that brought its rows was asynchronous."""
    server.create_database("production")
    url = server.url("production")
    await migrate_async(url, Home.PRODUCTION)
    await write(gatherer_database, deltas(0, 10))
    production, gatherer = await asyncpg.connect(url), await asyncpg.connect(gatherer_database)
    start = datetime_from_us(T0)
    await ensure_partitions(production, ORDERBOOK_DELTAS, [start.date()])
    await record_proof(production, ORDERBOOK_DELTAS, Proof(start, start + HOUR, 10, "", "", start))
    sources = {"g": gatherer_database}
    async with running(sync_loops(sources, url)):
        await until_read(sources, url)
    (partition,) = [one for one in await partitions_of(gatherer, ORDERBOOK_DELTAS) if one.start <= start < one.end]
    verdict = await drop_merged(gatherer, partition, "g", production, lambda _: "")
    assert (verdict.rows, verdict.kept_because) == (10, "")
    await gatherer.close()
    production.terminate()
    crash(server)
    assert await numbers(server.url("production")) == [*range(10)]


async def test_ids_go_on_behind_a_wraparound(server: EmbeddedPostgres, production_database: str) -> None:
    """Tuples hold 32 bits; cursors, windows and batches 64."""
    await write(server.url("gatherer"), deltas(0, 10))
    await merge_all(server.url("gatherer"), production_database)
    binaries = binaries_of(server)
    server.stop()
    program(server, binaries, "pg_resetwal", "-e", "3", "-D", str(server.data_folder))
    server.start()
    url = server.url("gatherer")
    await write(url, deltas(10, 10))
    idle = await asyncpg.connect(url)
    await idle.execute("BEGIN; SELECT pg_current_xact_id()")
    await write(url, deltas(20, 10))
    loop = await merge_all(url, production_database)
    assert await value(production_database, "SELECT next_xid::text::bigint > 3 * 2::bigint ^ 32 FROM sync_cursors")
    assert await numbers(production_database) == [*range(20)]
    (held,) = [text for text in advice.problems([loop], loop._now() + 61, patience=60) if "held back" in text]
    query = held.partition("end it: ")[2].partition(", or, if")[0]
    assert await value(url, query) == idle.get_server_pid()
    await idle.close()
    await merge_all(url, production_database)
    assert await numbers(production_database) == [*range(30)]


async def test_a_standby_may_be_read_and_promoted(
    server: EmbeddedPostgres, place: Path, production_database: str
) -> None:
    """What runs on the primary holds back the standby's rows too; its promotion is another history."""
    standby = EmbeddedPostgres(place / "second", settings=SETTINGS)
    primary = await asyncpg.connect(server.url("gatherer"))
    late = await asyncpg.connect(server.url("gatherer"))
    try:
        await asyncio.to_thread(_clone, server, standby)
        await write(server.url("gatherer"), deltas(0, 10))
        await late.execute("BEGIN")
        await add(late, 10, 10)
        await write(server.url("gatherer"), deltas(20, 10))
        url = standby.url("gatherer")
        (loop,) = sync_loops({"gatherer-1": url}, production_database)
        async with steps(loop, url, production_database) as step:
            await _replayed(primary, url)
            assert await step()
            assert not await step()
            assert await numbers(production_database) == [*range(10)]
            await late.execute("COMMIT")
            await _replayed(primary, url)
            while await step():
                pass
            assert await numbers(production_database) == [*range(30)]
            await fetch(url, "SELECT pg_promote()")
            await write(url, deltas(30, 10))
            while await step():  # over a connection from before
                pass
        await write(url, deltas(40, 10))
        await merge_all(url, production_database)
        assert await numbers(production_database) == [*range(50)]
        await write(server.url("gatherer"), deltas(100, 10))  # and back to the old one, which went on by itself
        await merge_all(server.url("gatherer"), production_database)
        assert await numbers(production_database) == [*range(50), *range(100, 110)]
    finally:
        primary.terminate()
        late.terminate()
        standby.delete()


def _clone(server: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
    standby.folder.mkdir(mode=0o711)
    owner = server.data_folder.stat()
    os.chown(standby.folder, owner.st_uid, owner.st_gid)
    program(
        server, binaries_of(server), "pg_basebackup", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres",
        "-D", str(standby.folder / "cluster"), "-X", "stream", "-R", "--checkpoint=fast",
    )  # fmt: skip
    (standby.folder / "password").write_text((server.folder / "password").read_text())
    standby.start()


async def _replayed(primary: asyncpg.Connection, standby: str) -> None:
    written = await primary.fetchval("SELECT pg_current_wal_insert_lsn()::text")
    await primary.execute("SELECT pg_switch_wal()")
    async with asyncio.timeout(20):
        while not await value(standby, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written):
            await asyncio.sleep(0.01)


async def test_a_logical_replica_is_refused(server: EmbeddedPostgres) -> None:
    """Its ids are another server's, and come in the order of commits: a cursor over them would skip rows."""
    server.create_database("replica")
    await migrate_async(server.url("replica"), Home.GATHERER)
    await fetch(server.url("gatherer"), "CREATE PUBLICATION p FOR TABLE ingest_batches")
    await fetch(server.url("gatherer"), "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    target = server.url("gatherer")
    replica = await asyncpg.connect(server.url("replica"))
    await refuse_replica(replica)
    await replica.execute(
        f"CREATE SUBSCRIPTION s CONNECTION '{target}' PUBLICATION p WITH (create_slot = false, enabled = false)"
    )
    try:
        with pytest.raises(IntegrityError, match=r"logical replica.*name the original"):
            await refuse_replica(replica)
    finally:
        await replica.execute("DROP SUBSCRIPTION s")
        await replica.close()
