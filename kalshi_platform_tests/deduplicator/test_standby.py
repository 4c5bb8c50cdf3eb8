"""Two deduplicators of one production database: one works, the other takes over."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import pytest

from kalshi_platform.deduplicator.shards import Shard
from kalshi_platform.deduplicator.standby import Lead, Role
from kalshi_platform.tools.children import launch, plain_environment, platform_command
from kalshi_platform_tests.deduplicator.rows import deltas, until_read, write
from kalshi_platform_tests.queries import fetch, value
from kalshi_platform_tests.waiting import until

_DEADLINE = 40.0


class Process:
    """`kalshi-platform deduplicate` in a process of its own."""

    def __init__(self, folder: Path, gatherers: str, production: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        settings = {"GATHERERS": gatherers, "PRODUCTION_DATABASE_URL": production, "METRICS_PORT": str(self._port)}
        environment = plain_environment(**{f"KALSHI_{name}": text for name, text in settings.items()})
        self.process: Popen[bytes] = launch(
            platform_command("deduplicate"), folder / f"{self._port}.log", environment, folder
        )

    async def health(self) -> Mapping[str, Any]:
        """What it says of itself; nothing while it does not answer."""
        try:
            return (await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{self._port}/health")).json()
        except httpx.HTTPError:
            return {}

    async def until(self, role: Role) -> None:
        """Wait until it has a role and is well."""
        async with asyncio.timeout(_DEADLINE):
            while True:
                health = await self.health()
                if health.get("role") == role and health["healthy"]:
                    return
                assert self.process.poll() is None, "the deduplicator has ended"
                await asyncio.sleep(0.05)


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Ends what a test started."""
    with ExitStack() as stack:
        yield stack


def started(stack: ExitStack, *arguments: Any) -> Process:
    """A deduplicator that ends with the test."""
    one = Process(*arguments)
    stack.callback(one.process.wait)
    stack.callback(one.process.kill)
    return one


@pytest.mark.slow
async def test_a_killed_deduplicator_is_replaced(
    tmp_path: Path, gatherer_database: str, production_database: str, processes: ExitStack
) -> None:
    """The second stands by and merges nothing; after kill -9 of the first it goes on where that was."""
    sources = {"gatherer-1": gatherer_database}
    place = (tmp_path, f"gatherer-1={gatherer_database}", production_database)
    first = started(processes, *place)
    await first.until(Role.ACTIVE)
    second = started(processes, *place)
    await second.until(Role.STANDBY)
    await write(gatherer_database, deltas(0, 500))
    await until_read(sources, production_database)
    merging = "SELECT count(DISTINCT client_port) FROM pg_stat_activity WHERE application_name LIKE 'merge %'"
    sessions = await value(production_database, f"{merging} AND datname = current_database()")
    assert sessions == 7  # one deduplicator's, not two
    first.process.kill()
    await write(gatherer_database, deltas(500, 500))
    await second.until(Role.ACTIVE)
    await until_read(sources, production_database)
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 1000
    counts = await fetch(production_database, "SELECT rows_read, rows_merged FROM sync_cursors WHERE rows_read > 0")
    assert [tuple(row) for row in counts] == [(1000, 1000)]


async def idle(ended: asyncio.Event) -> None:
    """Work that does nothing."""
    await ended.wait()


async def test_each_shard_has_a_lead_and_a_standby_of_its_own(production_database: str) -> None:
    """Whoever leads says which other shard nobody merges."""
    first, second, spare = (Lead(production_database, Shard(number, 2)) for number in (1, 2, 2))
    stops = [asyncio.Event() for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first.run(stops[0], idle))
        await until(lambda: first.problems() == ["shard 2/2 is merged by nobody: start its deduplicator"])
        tasks.create_task(second.run(stops[1], idle))
        await until(lambda: second.role is Role.ACTIVE and not first.problems())
        tasks.create_task(spare.run(stops[2], idle))
        await until(lambda: spare.role is Role.STANDBY)
        assert spare.problems() == []
        stops[1].set()
        await until(lambda: spare.role is Role.ACTIVE)
        for stop in stops:
            stop.set()


async def test_two_numbers_of_shards_do_not_work_at_once(production_database: str) -> None:
    """Who is set to another number waits, says so, and begins once the others are gone."""
    old, new = Lead(production_database), Lead(production_database, Shard(1, 2))
    stop, stop_new = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(old.run(stop, idle))
        await until(lambda: old.role is Role.ACTIVE)
        tasks.create_task(new.run(stop_new, idle))
        await until(lambda: new.role is Role.REFUSED)
        assert new.problems() == [
            "this deduplicator is set to shard 1/2 and waits, because others merge as 1/1; stop them, or set "
            "KALSHI_DEDUPLICATOR_SHARD to the same number of shards everywhere"
        ]
        stop.set()
        await until(lambda: new.role is Role.ACTIVE)
        stop_new.set()


async def test_who_loses_the_lock_stops_working(production_database: str) -> None:
    """The session that held it is cut: the work ends, and begins again with the lock."""
    lead, stop = Lead(production_database), asyncio.Event()
    begun = 0

    async def work(ended: asyncio.Event) -> None:
        nonlocal begun
        begun += 1
        await ended.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lead.run(stop, work))
        await until(lambda: begun == 1)
        assert lead.role is Role.ACTIVE
        await fetch(
            production_database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'deduplicator%lead' AND datname = current_database()",
        )
        await until(lambda: begun == 2)
        stop.set()
