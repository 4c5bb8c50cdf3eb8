"""Merging real gatherers into a real production database."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.deduplicator.merge import Merged, Merger
from kalshi_platform.deduplicator.source import copy_out, next_window
from kalshi_platform_tests.deduplicator.rows import T0, deltas, running, sync_loops, until_read, write
from kalshi_platform_tests.queries import fetch, value
from kalshi_platform_tests.waiting import until

_KEYS = "SELECT exchange_ts, ticker, side, price, size_delta, occurrence FROM orderbook_deltas ORDER BY 1"


async def test_three_copies_become_one(new_gatherer_database: Callable[[], str], production_database: str) -> None:
    """Each gatherer missed something else; production is the union, each row once."""
    sources = {f"gatherer-{number}": new_gatherer_database() for number in (1, 2, 3)}
    for number, url in enumerate(sources.values(), 1):
        await write(url, [row for row in deltas(0, 3000, gatherer=number) if row.exchange_ts // 1000 % 5 != number])
    async with running(sync_loops(sources, production_database)):
        await until_read(sources, production_database)
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 3000
    cursors = await fetch(production_database, "SELECT sum(rows_read)::int, sum(rows_merged)::int FROM sync_cursors")
    assert tuple(cursors[0]) == (3 * 2400, 3000)


async def test_a_transaction_that_commits_late_is_not_skipped(gatherer_database: str, production_database: str) -> None:
    """Rows that become visible after younger ones were merged are merged too."""
    sources = {"gatherer-1": gatherer_database}
    await write(gatherer_database, deltas(0, 1))
    late = await asyncpg.connect(gatherer_database)
    transaction = late.transaction()
    await transaction.start()
    await Stage(ORDERBOOK_DELTAS, Home.GATHERER).insert_new(late, deltas(100, 5))
    await late.execute(
        "INSERT INTO ingest_batches (table_name, row_count, min_ts, max_ts) "
        "SELECT 'orderbook_deltas', 5, min(exchange_ts), max(exchange_ts) FROM orderbook_deltas"
    )
    await write(gatherer_database, deltas(1, 9))
    async with running(sync_loops(sources, production_database)):
        await until(lambda: _holds(production_database, 1))
        await transaction.commit()
        await late.close()
        await until_read(sources, production_database)
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 15


async def test_everything_survives_cut_connections(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Backends of both sides are killed again and again while rows arrive; nothing is lost, nothing twice."""
    sources = {f"gatherer-{number}": new_gatherer_database() for number in (1, 2)}
    killer = await asyncpg.connect(production_database)
    async with running(sync_loops(sources, production_database)):
        for start in range(0, 4000, 200):
            for number, url in enumerate(sources.values(), 1):
                await write(url, deltas(start, 200, gatherer=number))
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'merge %' OR application_name LIKE 'sync %'"
            )
        await until_read(sources, production_database)
    await killer.close()
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 4000
    keys = await fetch(production_database, _KEYS)
    assert keys == await fetch(next(iter(sources.values())), _KEYS)


async def test_a_dead_gatherer_delays_nobody(gatherer_database: str, production_database: str) -> None:
    """The others are merged while one does not answer."""
    await write(gatherer_database, deltas(0, 10))
    dead = {"gatherer-9": "postgresql://nobody@127.0.0.1:1/none"}
    loops = sync_loops({**dead, "gatherer-1": gatherer_database}, production_database)
    async with running(loops):
        await until_read({"gatherer-1": gatherer_database}, production_database)
    assert "ConnectionRefusedError" in loops[0].state.last_error


async def test_a_gatherer_replaced_under_its_name_is_read_from_its_beginning(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Transaction ids of another database mean nothing to the old cursor."""
    old, new = new_gatherer_database(), new_gatherer_database()
    await write(new, deltas(10, 10))
    await write(old, deltas(0, 10))
    for url in (old, new):
        async with running(sync_loops({"gatherer-1": url}, production_database)):
            await until(lambda: _holds(production_database, 10 if url == old else 20))  # noqa: B023


async def test_rows_that_the_gatherer_did_not_record_stop_the_cursor(
    gatherer_database: str, production_database: str
) -> None:
    """The batch log is the proof of completeness; a difference is never papered over."""
    await write(gatherer_database, deltas(0, 10))
    await fetch(gatherer_database, "UPDATE ingest_batches SET row_count = 11 WHERE row_count = 10")
    source = await asyncpg.connect(gatherer_database)
    window = await next_window(source, ORDERBOOK_DELTAS, 0, 1000)
    with pytest.raises(IntegrityError, match="hold 10 rows, but the gatherer recorded 11"):
        await copy_out(source, ORDERBOOK_DELTAS, window)
    await source.close()


async def test_where_counts_do_not_agree_the_page_has_the_remedy(
    gatherer_database: str, production_database: str
) -> None:
    """Rows that somebody has deleted, changed and added by hand: health names the numbers, the page the statements."""
    for first in range(0, 30, 10):
        await write(gatherer_database, deltas(first, 10))
    await fetch(gatherer_database, "DELETE FROM orderbook_deltas WHERE size_delta > 105")
    (loop,) = sync_loops({"gatherer-1": gatherer_database}, production_database)
    async with running([loop]):
        async with asyncio.timeout(20):
            while not loop.state.defect:
                await asyncio.sleep(0.01)
        assert loop.state.summary(0.0, 1.0, 1.0) == "refused: see problems"
        found = re.search(
            r"transactions \[(\d+), (\d+)\) hold 26 rows, .* recorded 30;.*docs/cursor.md", loop.state.defect
        )
        assert found
        page = (Path(__file__).parents[2] / "docs/cursor.md").read_text()
        (remedy,) = re.findall(r"## Where counts.*?```sql\n(.*?)```", page, re.DOTALL)
        remedy = remedy.replace("trades", "orderbook_deltas").replace("1000", found[1]).replace("2000", found[2])
        connection = await asyncpg.connect(gatherer_database)
        await connection.execute(remedy)
        await connection.close()
        await until_read({"gatherer-1": gatherer_database}, production_database)
    assert loop.state.defect == ""
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 26


async def test_a_large_backlog_is_read_in_pieces(gatherer_database: str) -> None:
    """A window holds as many whole batches as fit, at least one."""
    for start in range(0, 50, 10):
        await write(gatherer_database, deltas(start, 10))
    source = await asyncpg.connect(gatherer_database)
    first, sizes = 0, []
    while True:
        window = await next_window(source, ORDERBOOK_DELTAS, first, 25)
        sizes.append(window.rows)
        assert window.next_xid > first
        first = window.next_xid
        if not window.is_full:
            break
    await source.close()
    assert sizes == [20, 20, 10]


async def test_thousands_of_empty_batches_are_passed(gatherer_database: str, production_database: str) -> None:
    """Transactions that say nothing move the cursor too; behind them stand rows."""
    await fetch(
        gatherer_database,
        "DO $$ BEGIN FOR n IN 1..4500 LOOP "
        "INSERT INTO ingest_batches (table_name, row_count) VALUES ('orderbook_deltas', 0); COMMIT; END LOOP; END $$",
    )
    await write(gatherer_database, deltas(0, 10))
    sources = {"gatherer-1": gatherer_database}
    async with running(sync_loops(sources, production_database)):
        await until_read(sources, production_database)
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 10


async def test_a_source_that_went_back_in_time_is_read_again(gatherer_database: str) -> None:
    """A cursor ahead of every transaction belongs to a past that a restore has undone."""
    await write(gatherer_database, deltas(0, 10))
    source = await asyncpg.connect(gatherer_database)
    window = await next_window(source, ORDERBOOK_DELTAS, 2**40, 1000)
    await source.close()
    assert (window.first_xid, window.rows) == (0, 10)


async def test_another_deduplicator_s_cursor_is_not_overwritten(
    gatherer_database: str, production_database: str
) -> None:
    """Who lost the race changes nothing."""
    await write(gatherer_database, deltas(0, 10))
    source = await asyncpg.connect(gatherer_database)
    production = await asyncpg.connect(production_database)
    identity = await source_identity(source)
    merger = Merger(production, "gatherer-1", ORDERBOOK_DELTAS)
    stored = await merger.cursor(source)
    window = await next_window(source, ORDERBOOK_DELTAS, 0, 1000)
    copied = await copy_out(source, ORDERBOOK_DELTAS, window)
    assert await merger.merge(stored, identity, window, copied) == Merged(10)
    copied.rows.seek(0)
    with pytest.raises(IntegrityError, match="moved by another deduplicator"):
        await merger.merge(stored, identity, window, copied)
    await source.close()
    await production.close()
    assert await value(production_database, "SELECT rows_read::int FROM sync_cursors") == 10


async def test_the_watermark_moves_with_what_was_heard(gatherer_database: str, production_database: str) -> None:
    """A heartbeat without rows moves it too, and it never goes back."""
    sources = {"gatherer-1": gatherer_database}
    await write(gatherer_database, deltas(0, 3), heard=T0 + 5_000_000)
    await write(gatherer_database, [], heard=T0 + 9_000_000)
    await write(gatherer_database, [], heard=T0 + 7_000_000)
    loops = sync_loops(sources, production_database)
    async with running(loops):
        await until(
            lambda: _is(
                production_database, "SELECT max(extract(epoch FROM watermark))::int FROM sync_cursors", T0 // 10**6 + 9
            )
        )
        await until_read(sources, production_database)
    assert loops[0].state.watermark is not None


async def test_days_between_rows_that_lie_far_apart_get_no_partitions(
    gatherer_database: str, production_database: str
) -> None:
    """A recording that is played to a gatherer at work, and today's messages, may come in one merge."""
    old = [row._replace(exchange_ts=row.exchange_ts - 90 * 86_400_000_000) for row in deltas(0, 10)]
    await write(gatherer_database, [*old, *deltas(0, 10)])
    sources = {"gatherer-1": gatherer_database}
    async with running(sync_loops(sources, production_database)):
        await until_read(sources, production_database)
    partitions = "SELECT count(DISTINCT substring(relname FROM '_(2026[0-9]{4})')) FROM pg_class WHERE relname LIKE $1"
    assert await value(production_database, partitions, "orderbook_deltas_2026%") == 2
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 20


_BACKLOG = """
DO $$ BEGIN FOR n IN 0..999 LOOP
    INSERT INTO orderbook_deltas
        (exchange_ts, ticker, side, price, size_delta, occurrence, position, seq, sid, received_at)
    SELECT '2026-11-21'::timestamptz + n * interval '1 ms', 'KXB', true, 1000 * k, 1, 0, 0, k, 1, now()
    FROM generate_series(1, 20) AS k;
    INSERT INTO ingest_batches (table_name, row_count, min_ts, max_ts)
    VALUES ('orderbook_deltas', 20, '2026-11-21'::timestamptz + n * interval '1 ms',
            '2026-11-21'::timestamptz + n * interval '1 ms');
    COMMIT;
END LOOP; END $$
"""


async def test_live_rows_of_others_come_between_the_pieces_of_a_backlog(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """A thousand merges are due from one gatherer; what another writes meanwhile does not stand behind them."""
    lagging, live = new_gatherer_database(), new_gatherer_database()
    await write(lagging, deltas(0, 1))  # makes the day's partition
    await fetch(lagging, _BACKLOG)
    sources = {"lagging": lagging, "live": live}
    read = "SELECT coalesce(max(rows_read), 0)::int FROM sync_progress WHERE gatherer_id = $1"
    async with running(sync_loops(sources, production_database, most_rows=20)):
        await until(lambda: value(production_database, read, "lagging"))
        await write(live, deltas(10_000, 1))
        await until(lambda: value(production_database, read, "live"))
        assert await value(production_database, read, "lagging") < 20_001


async def _holds(url: str, rows: int) -> bool:
    return await _is(url, "SELECT count(*)::int FROM orderbook_deltas", rows)


async def _is(url: str, sql: str, wanted: object) -> bool:
    return await value(url, sql) == wanted
