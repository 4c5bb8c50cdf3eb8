"""Several deduplicators that share the tickers: whatever becomes of their number, nothing is lost."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from random import Random
from uuid import UUID

import asyncpg
import pytest

from kalshi_platform.core.errors import ConfigurationError, IntegrityError
from kalshi_platform.core.records import DeltaRow, TradeRow
from kalshi_platform.core.schema import CAPTURE_SESSIONS, ORDERBOOK_DELTAS, STREAM_TABLES, TRADES
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database import export
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.deduplicator.cursors import expect
from kalshi_platform.deduplicator.merge import Merger
from kalshi_platform.deduplicator.shards import WHOLE, Shard
from kalshi_platform.deduplicator.source import copy_out, next_window
from kalshi_platform_tests.deduplicator.rows import T0, deltas, running, sync_loops, until_read, write
from kalshi_platform_tests.queries import fetch, value

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
CURSORS = "SELECT shard, shards, next_xid::text::int, rows_read::int, witness FROM sync_cursors ORDER BY shard"


def many(first: int, count: int) -> list[DeltaRow]:
    """Rows of a hundred markets."""
    return [row._replace(ticker=f"KX-{first + n * 7919 % 100}") for n, row in enumerate(deltas(first, count))]


def shards(count: int) -> list[Shard]:
    """All parts of so many."""
    return [Shard(number, count) for number in range(1, count + 1)]


async def step(gatherer: str, production: str, shard: Shard, most_rows: int = 50_000) -> bool:
    """One merge of a shard, over connections of its own; true where it moved anything."""
    (loop,) = sync_loops({"gatherer-1": gatherer}, production, most_rows=most_rows, shard=shard)
    source, target = await asyncpg.connect(gatherer), await asyncpg.connect(production)
    try:
        merger = Merger(target, "gatherer-1", ORDERBOOK_DELTAS, shard)
        before = await merger.cursor(source)
        await loop.step(source, merger, await source_identity(source))
        return await merger.cursor(source) != before
    finally:
        source.terminate()
        target.terminate()


async def test_shards_together_merge_everything_once(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Each row is read by one of them; what has no log of batches by the first alone."""
    sources = {f"gatherer-{number}": new_gatherer_database() for number in (1, 2, 3)}
    for number, url in enumerate(sources.values()):
        for first in range(0, 2000, 500):
            await write(url, [row for row in many(first, 500) if row.exchange_ts // 1000 % 4 != number])
    async with AsyncExitStack() as stack:
        for shard in shards(3):
            await stack.enter_async_context(running(sync_loops(sources, production_database, shard=shard)))
        await until_read(sources, production_database)
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 2000
    by_shard = "SELECT sum(rows_merged)::int FROM sync_cursors GROUP BY shard ORDER BY shard"
    merged = [row[0] for row in await fetch(production_database, by_shard)]
    assert sum(merged) == 2000
    assert min(merged) > 300
    assert [shard.of_table(CAPTURE_SESSIONS) for shard in shards(2)] == [WHOLE, None]
    assert all(shard.of_table(table) == shard for table in STREAM_TABLES for shard in shards(2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_their_number_may_change_at_any_moment(
    seed: int, gatherer_database: str, production_database: str
) -> None:
    """Every step may belong to another number of shards than the one before."""
    random = Random(seed)  # noqa: S311 - a schedule
    count = 1
    for first in range(0, 600, 20):
        await write(gatherer_database, many(first, 20))
        if random.random() < 0.3:
            count = random.randint(1, 4)
        for shard in random.sample(shards(count), random.randint(0, count)):
            await step(gatherer_database, production_database, shard, most_rows=random.choice((10, 50_000)))
    for shard in shards(count):
        while await step(gatherer_database, production_database, shard):
            pass
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 600
    assert await value(production_database, "SELECT sum(rows_merged)::int FROM sync_cursors") == 600


async def test_another_number_begins_at_the_earliest_of_the_old_cursors(
    gatherer_database: str, production_database: str
) -> None:
    """Not behind what one of them has still to read; what falls away is merged no more and holds nothing back."""
    await write(gatherer_database, many(0, 100))
    for shard in shards(2):
        await step(gatherer_database, production_database, shard)
    early = (await fetch(production_database, CURSORS))[1]
    await write(gatherer_database, many(100, 100))
    await step(gatherer_database, production_database, Shard(1, 2))
    late = (await fetch(production_database, CURSORS))[0]
    assert late["next_xid"] > early["next_xid"]
    assert await value(production_database, "SELECT next_xid::text::int FROM sync_progress") == early["next_xid"]

    assert await step(gatherer_database, production_database, WHOLE)
    whole, rest = await fetch(production_database, CURSORS)
    assert (whole["shards"], whole["next_xid"]) == (1, late["next_xid"])
    assert (rest["shards"], rest["next_xid"], rest["witness"]) == (1, 0, None)
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 200
    progress = (await fetch(production_database, "SELECT next_xid::text::int, rows_read::int FROM sync_progress"))[0]
    assert tuple(progress) == (late["next_xid"], late["rows_read"] + early["rows_read"] + 100)


async def test_ids_of_two_histories_are_not_compared(gatherer_database: str, production_database: str) -> None:
    """One shard has read what a restore has undone, and has not noticed: another number begins at the beginning."""
    await write(gatherer_database, many(0, 100))
    for shard in shards(2):
        await step(gatherer_database, production_database, shard)
    assert not await step(gatherer_database, production_database, WHOLE)  # nothing new: it went on where they were
    await step(gatherer_database, production_database, Shard(1, 2))
    await fetch(production_database, "UPDATE sync_cursors SET witness = 'orderbook_deltas 1 1' WHERE shard = 2")
    assert await step(gatherer_database, production_database, WHOLE)
    assert await value(production_database, "SELECT rows_read::int FROM sync_cursors WHERE shard = 1") >= 100
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 100


async def test_a_merge_of_the_old_number_changes_nothing(gatherer_database: str, production_database: str) -> None:
    """It began before the cursors were cut anew."""
    await write(gatherer_database, many(0, 100))
    source, production = await asyncpg.connect(gatherer_database), await asyncpg.connect(production_database)
    merger = Merger(production, "gatherer-1", ORDERBOOK_DELTAS, Shard(1, 2))
    stored = await merger.cursor(source)
    window = await next_window(source, ORDERBOOK_DELTAS, 0, 1000)
    copied = await copy_out(source, ORDERBOOK_DELTAS, window, Shard(1, 2))
    assert 0 < copied.count < 100
    await step(gatherer_database, production_database, WHOLE)
    with pytest.raises(IntegrityError, match="moved by another deduplicator"):
        await merger.merge(stored, await source_identity(source), window, copied)
    await source.close()
    await production.close()
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 100


async def test_rows_that_the_gatherer_did_not_record_stop_a_shard_too(gatherer_database: str) -> None:
    """All rows of the window are counted, not only its own."""
    await write(gatherer_database, many(0, 100))
    await fetch(gatherer_database, "UPDATE ingest_batches SET row_count = 101 WHERE row_count = 100")
    source = await asyncpg.connect(gatherer_database)
    window = await next_window(source, ORDERBOOK_DELTAS, 0, 1000)
    with pytest.raises(IntegrityError, match="hold 100 rows, but the gatherer recorded 101"):
        await copy_out(source, ORDERBOOK_DELTAS, window, Shard(2, 2))
    await source.close()


async def test_the_watermark_waits_for_the_slowest_shard(gatherer_database: str, production_database: str) -> None:
    """Also where nobody runs it: hours do not close over its rows."""
    connection = await asyncpg.connect(production_database)
    await expect(connection, "gatherer-1", ORDERBOOK_DELTAS, Shard(1, 2))
    await expect(connection, "gatherer-1", TRADES)
    await connection.close()
    await write(gatherer_database, many(0, 10), heard=T0 + 10_000)
    await step(gatherer_database, production_database, Shard(1, 2))
    assert export.watermark(production_database, [ORDERBOOK_DELTAS]) == {"orderbook_deltas": None}
    await step(gatherer_database, production_database, Shard(2, 2))
    await write(gatherer_database, many(10, 10), heard=T0 + 20_000)
    await step(gatherer_database, production_database, Shard(1, 2))
    mark = export.watermark(production_database, [ORDERBOOK_DELTAS], 60.0)["orderbook_deltas"]
    assert mark == datetime_from_us(T0 + 10_000)


async def test_a_trade_with_two_markets_is_noted_though_two_shards_bring_it(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """At the same moment: whoever comes second sees the first."""
    rows = dict(zip(shards(2), await _trades_of_both(production_database), strict=True))
    sources = {shard: new_gatherer_database() for shard in rows}
    for shard, row in rows.items():
        await write(sources[shard], [row], table=TRADES)
    gate = await asyncpg.connect(production_database)
    await gate.execute("BEGIN; LOCK TABLE merge_conflicts IN EXCLUSIVE MODE")  # both have inserted, or one waits
    loops = [
        loop
        for number, (shard, url) in enumerate(sources.items())
        for loop in sync_loops({f"gatherer-{number}": url}, production_database, TRADES, shard=shard)
    ]
    async with running(loops):
        async with asyncio.timeout(20):
            while await gate.fetchval(WAITING) < 2:
                await asyncio.sleep(0.01)
        await gate.close()
        async with asyncio.timeout(20):
            while await value(production_database, "SELECT count(*) FROM trades") < 2:
                await asyncio.sleep(0.01)
    assert await value(production_database, "SELECT count(*) FROM merge_conflicts") == 1


async def _trades_of_both(url: str) -> list[TradeRow]:
    """One trade id, two times, two markets: one of each shard."""
    trade = TradeRow(T0, UUID(int=1), "", 560_000, 100, True, False, T0)
    found: dict[int, str] = {}
    for number in range(50):
        name = f"KX-{number}"
        found.setdefault(await value(url, "SELECT (hashtextextended($1, 0) & 1)::int", name), name)
    return [trade._replace(ticker=found[part], exchange_ts=T0 + part * 1000) for part in (0, 1)]


@pytest.mark.parametrize("text", ["", "1", "0/1", "2/1", "1/65", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_is_none_is_refused_in_plain_words(text: str) -> None:
    """The setting's name and what it should look like."""
    with pytest.raises(ConfigurationError, match="KALSHI_DEDUPLICATOR_SHARD must read `1/1`"):
        Shard.named(text)
    assert str(Shard.named("2/3")) == "2/3"
