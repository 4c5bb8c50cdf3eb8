import asyncio
import json
from datetime import UTC, date, datetime, timedelta

import asyncpg

from kalshi_platform.core.schema import Home
from kalshi_platform.database.upkeep import keep_up
from kalshi_platform_tests.queries import value
from kalshi_platform_tests.waiting import until

DAY = date(2026, 11, 21)


async def test_midnight_finds_its_partitions(gatherer_database: str) -> None:
    """Today's and tomorrow's are made at once; when the day changes, the next one's."""
    stop, days = asyncio.Event(), [DAY]

    async def has(name: str) -> bool:
        return bool(await value(gatherer_database, "SELECT to_regclass($1) IS NOT NULL", name))

    running = asyncio.create_task(keep_up(gatherer_database, Home.GATHERER, stop, lambda: days[0], 0.05))
    await until(lambda: has("tickers_20261122"))
    assert await has("orderbook_deltas_20261121")
    days[0] += timedelta(days=1)
    await until(lambda: has("tickers_20261123"))
    stop.set()
    await asyncio.wait_for(running, 5)


async def test_recent_rows_are_indexed_behind_the_writers(production_database: str) -> None:
    """What a writer leaves aside in today's partition is merged soon after, by a role that owns nothing."""
    stop = asyncio.Event()
    connection = await asyncpg.connect(production_database)
    await connection.execute("SELECT kalshi_ensure_partition('trades', (now() AT TIME ZONE 'UTC')::date)")
    await connection.execute(
        "INSERT INTO trades SELECT now(), gen_random_uuid(), 'T' || n, 1, 1, true, false, now() "
        "FROM generate_series(1, 8000) AS n"
    )
    await connection.execute("SET enable_seqscan = off; SET enable_indexscan = off; SET enable_indexonlyscan = off")
    explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT 1 FROM trades WHERE ticker = 'absent'"

    async def buffers() -> int:
        plan = json.loads(await connection.fetchval(explain))[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    before = await buffers()  # the list is read through
    running = asyncio.create_task(
        keep_up(production_database, Home.PRODUCTION, stop, lambda: datetime.now(UTC).date(), 0.05)
    )

    async def is_merged() -> bool:
        return await buffers() < before / 4

    await until(is_merged)
    stop.set()
    await asyncio.wait_for(running, 5)
    await connection.close()


async def test_a_database_that_is_away_ends_nothing() -> None:
    """It is tried again later; stopping does not wait for that."""
    stop = asyncio.Event()
    running = asyncio.create_task(
        keep_up("postgresql://nobody@127.0.0.1:1/nothing", Home.GATHERER, stop, lambda: DAY, 0.05)
    )
    done, _ = await asyncio.wait([running], timeout=0.5)
    assert not done
    stop.set()
    await asyncio.wait_for(running, 5)
