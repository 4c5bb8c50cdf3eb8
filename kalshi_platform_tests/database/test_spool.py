"""The spool: order, bounds, and what a kill, a cut or a second process does to it."""

import asyncio
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.database.errors import SpoolError, SpoolFullError
from kalshi_platform.database.spool import SMALLEST, Spool, SpooledBatch

ROOMY = 256 * 2**20


async def _put(spool: Spool, *numbers: int, table: str = "trades", size: int = 1000) -> None:
    for number in numbers:
        await spool.put(table, "a,b", 10, number.to_bytes(4, "big") * (size // 4))


async def _all(spool: Spool, table: str = "trades") -> list[int]:
    """Take everything out, in order."""
    found: list[int] = []
    while batches := await spool.head(table, 100):
        found += _numbers(batches)
        await spool.remove(table, batches)
    return found


async def _left(folder: Path) -> list[int]:
    async with Spool(folder, ROOMY) as spool:
        return await _all(spool)


def _numbers(batches: Sequence[SpooledBatch]) -> list[int]:
    for one in batches:
        assert one.data == one.data[:4] * (len(one.data) // 4), "a batch is whole or not there"
    return [int.from_bytes(one.data[:4], "big") for one in batches]


async def test_what_goes_in_comes_out_in_order_by_table(tmp_path: Path) -> None:
    """Tables do not stand in each other's way."""
    async with Spool(tmp_path, ROOMY) as spool:
        for number in range(30):
            await _put(spool, number)
            await _put(spool, 100 + number, table="tickers")
        assert (spool.rows("trades"), spool.rows("tickers"), spool.rows("orderbook_deltas")) == (300, 300, 0)
        assert spool.filled("trades").is_set()
        assert await _all(spool) == list(range(30))
        assert not spool.filled("trades").is_set()
        assert spool.oldest("trades") is None
        assert await _all(spool, "tickers") == list(range(100, 130))


async def test_a_head_holds_as_many_rows_as_asked_for_and_one_batch_at_least(tmp_path: Path) -> None:
    """So that small batches are written together and a large one is not stuck."""
    async with Spool(tmp_path, ROOMY) as spool:
        await _put(spool, 1, 2, 3)
        assert _numbers(await spool.head("trades", 25)) == [1, 2]
        assert _numbers(await spool.head("trades", 3)) == [1]
        assert await spool.head("tickers", 25) == []


async def test_a_later_process_finds_what_an_earlier_one_left(tmp_path: Path) -> None:
    """With its counts and its age."""
    async with Spool(tmp_path, ROOMY) as spool:
        await _put(spool, 1, 2, 3)
        await spool.remove("trades", await spool.head("trades", 10))
    async with Spool(tmp_path, ROOMY) as spool:
        assert spool.rows("trades") == 20
        assert spool.filled("trades").is_set()
        assert spool.oldest("trades") is not None
        await _put(spool, 4)
        assert await _all(spool) == [2, 3, 4]


async def test_a_full_spool_refuses_and_evicts_nothing(tmp_path: Path) -> None:
    """Its bound is the file's; room comes back when batches leave."""
    async with Spool(tmp_path, SMALLEST) as spool:
        with pytest.raises(SpoolFullError, match="KALSHI_SPOOL_BYTES"):
            await _put(spool, *range(100), size=100_000)
        kept = spool.rows("trades") // 10
        assert 5 <= kept <= 10
        assert spool.path.stat().st_size <= SMALLEST
        await spool.remove("trades", await spool.head("trades", 10))
        await _put(spool, kept, size=100_000)
        assert await _all(spool) == list(range(1, kept + 1))
        assert spool.size < SMALLEST // 2


async def test_the_disk_is_given_back_once_everything_has_left(tmp_path: Path) -> None:
    """An outage leaves no gigabytes behind."""
    async with Spool(tmp_path, ROOMY) as spool:
        await _put(spool, *range(40), size=200_000)
        assert spool.size > 40 * 200_000
        await _all(spool)
        assert spool.path.stat().st_size < 1_000_000
        assert sum(one.stat().st_size for one in spool.path.parent.iterdir()) < 1_000_000


async def _fill(spool: Spool) -> int:
    """Put batches until none fits any more; returns how many did."""
    for number in range(1000):
        try:
            await _put(spool, number, size=20_000)
        except SpoolError:
            return number
    raise AssertionError("the disk has no end")


@contextmanager
def _full_disk(most_bytes: int) -> Iterator[None]:
    """No file can grow any further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_keeps_nobody_from_taking_everything_out(tmp_path: Path) -> None:
    """Nothing can be deleted then; what is out is out all the same, and in the end the disk is given back."""
    async with Spool(tmp_path, ROOMY) as spool:
        with _full_disk(2 * 2**20):
            number = await _fill(spool)
            await spool.remove("trades", await spool.head("trades", 100))
            assert await _all(spool) == list(range(10, number))
            assert spool.rows("trades") == 0
            await _put(spool, 1, 2, 3)
            assert await _all(spool) == [1, 2, 3]
        assert sum(one.stat().st_size for one in spool.path.parent.iterdir()) < 1_000_000


async def test_a_file_that_could_not_be_emptied_stays_while_other_rows_are_in_it(tmp_path: Path) -> None:
    """Even those that are just being put when the last one before them leaves."""
    async with Spool(tmp_path, ROOMY) as spool:
        with _full_disk(2 * 2**20):
            await _fill(spool)
            while spool.rows("trades") > 10:
                await spool.remove("trades", await spool.head("trades", 10))
        last = await spool.head("trades", 10)
        await asyncio.gather(spool.remove("trades", last), _put(spool, 7, table="tickers"))
        assert await _all(spool, "tickers") == [7]


async def test_a_second_process_is_sent_away(tmp_path: Path) -> None:
    """Two gatherers of one name would take each other's rows; the setting is named."""
    async with Spool(tmp_path, ROOMY):
        with pytest.raises(ConfigurationError, match="KALSHI_SPOOL_DIRECTORY"):
            async with Spool(tmp_path, ROOMY):
                pass
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="KALSHI_SPOOL_DIRECTORY"):
        async with Spool(tmp_path / "file" / "folder", ROOMY):
            pass


async def test_a_damaged_file_is_kept_and_capture_goes_on(tmp_path: Path) -> None:
    """A person may recover it; nothing is deleted."""
    async with Spool(tmp_path, ROOMY) as spool:
        path = spool.path
    path.write_bytes(b"this is no database" * 100)
    async with Spool(tmp_path, ROOMY) as spool:
        await _put(spool, 1)
        assert await _all(spool) == [1]
    (damaged,) = path.parent.glob("*.damaged-*")
    assert damaged.read_bytes().startswith(b"this is no database")


async def test_a_spool_that_is_not_open_says_so(tmp_path: Path) -> None:
    """It has lost nothing: it never promised."""
    spool = Spool(tmp_path, ROOMY)
    with pytest.raises(SpoolError, match="not open"):
        await _put(spool, 1)


async def test_a_torn_tail_is_cut_and_never_half_a_batch(tmp_path: Path) -> None:
    """A log cut or garbled at any place holds a prefix of what was put, each batch whole."""
    source, chance = tmp_path / "source", random.Random(4)  # noqa: S311 - a fixed seed for a test
    async with Spool(source, ROOMY) as spool:
        await _put(spool, *range(40), size=60_000)
        wal = spool.path.with_name(spool.path.name + "-wal")
        log, base = wal.read_bytes(), spool.path.read_bytes()
    assert len(log) > 40 * 60_000
    lengths = set()
    for attempt in range(60):
        copy = tmp_path / f"copy-{attempt}"
        copy.mkdir()
        cut = chance.randrange(len(log))
        torn = log[:cut] + (b"" if attempt % 3 else chance.randbytes(50_000) if attempt % 2 else bytes(50_000))
        (copy / spool.path.name).write_bytes(base)
        (copy / wal.name).write_bytes(torn)
        async with Spool(copy, ROOMY) as after:
            found = await _all(after)
            assert found == list(range(len(found)))
            assert len(found) >= cut // 130_000 - 1
            lengths.add(len(found))
        shutil.rmtree(copy)
    assert len(lengths) > 10


_WRITER = """
import asyncio, sys
from pathlib import Path
from kalshi_platform.database.spool import Spool

async def main():
    async with Spool(Path(sys.argv[1]), 2**30) as spool:
        number = 0
        while True:
            await spool.put("trades", "a,b", 10, number.to_bytes(4, "big") * 10_000)
            print(number, flush=True)
            number += 1

asyncio.run(main())
"""


def test_what_was_put_survives_kill_9(tmp_path: Path) -> None:
    """Everything whose `put` had returned is there, in order, whole; at most the one in hand besides."""
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = -1
    try:
        for line in process.stdout:
            last = int(line)
            if last == 25:
                break
    finally:
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate(timeout=10)
    last = max([last, *map(int, rest.split())])
    found = asyncio.run(_left(tmp_path))
    assert found in (list(range(last + 1)), list(range(last + 2)))


async def test_writers_of_several_tables_at_once(tmp_path: Path) -> None:
    """Each keeps its own order; somebody drains meanwhile."""
    tables = ("trades", "tickers", "orderbook_deltas")
    drained: list[int] = []
    async with Spool(tmp_path, ROOMY) as spool:

        async def drain() -> None:
            while len(drained) < 50:
                await spool.filled("trades").wait()
                batches = await spool.head("trades", 30)
                await spool.remove("trades", batches)
                drained.extend(_numbers(batches))

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(drain())
            for table in tables:
                tasks.create_task(_put(spool, *range(50), table=table))
        assert drained == list(range(50))
        for table in tables[1:]:
            assert await _all(spool, table) == list(range(50))


def test_sqlite_syncs_each_commit(tmp_path: Path) -> None:
    """The promise of `put` rests on two settings of the file."""

    async def settings() -> tuple[object, ...]:
        async with Spool(tmp_path, ROOMY) as spool:

            def ask() -> tuple[object, ...]:
                database = spool._database
                assert isinstance(database, sqlite3.Connection)
                return tuple(
                    database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
                )

            return await asyncio.get_running_loop().run_in_executor(spool._thread, ask)

    assert asyncio.run(settings()) == ("wal", 2)
