"""Copies that do not agree."""

from collections.abc import Callable, Sequence
from uuid import UUID

from kalshi_platform.core.records import SnapshotRow, TradeRow
from kalshi_platform.core.schema import ORDERBOOK_SNAPSHOTS, TRADES, Table
from kalshi_platform.database.writer import WriterRow
from kalshi_platform_tests.deduplicator.rows import T0, running, sync_loops, until_read, write
from kalshi_platform_tests.queries import fetch, value

TRADE = TradeRow(T0, UUID(int=1), "KXA", 560_000, 100, True, False, T0)
BOOK = SnapshotRow(T0, "KXA", "checkpoint", "", [1], [2], [3], [4], 1, 999_997, T0)


async def merge_in_turn(
    databases: Callable[[], str], production: str, table: Table, copies: Sequence[Sequence[WriterRow]]
) -> float:
    """Merge one gatherer after the other; returns how many conflicts the metrics tell of."""
    conflicts = 0.0
    for number, rows in enumerate(copies, 1):
        url = databases()
        await write(url, rows, table=table)
        loops = sync_loops({f"gatherer-{number}": url}, production, table)
        async with running(loops):
            await until_read({f"gatherer-{number}": url}, production, table)
        conflicts += loops[0]._metrics.conflicts.labels(f"gatherer-{number}", table.name)._value.get()
    return conflicts


async def test_a_trade_with_two_contents_is_kept_twice(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """The first stands; the other is kept beside it, with who brought it, and once however often it comes."""
    other = TRADE._replace(price=570_000)
    found = await merge_in_turn(new_gatherer_database, production_database, TRADES, [[TRADE], [other], [TRADE]])
    assert found == 1
    assert await value(production_database, "SELECT price FROM trades") == 560_000
    rows = await fetch(
        production_database,
        "SELECT gatherer_id, ticker, (kept->>'price')::int, (refused->>'price')::int, row_key FROM merge_conflicts",
    )
    assert [tuple(row) for row in rows] == [("gatherer-2", "KXA", 560_000, 570_000, f'["{UUID(int=1)}"]')]


async def test_a_trade_with_two_times_is_found_too(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Both stand, because the time is part of the key; the conflict says that they are one."""
    other = TRADE._replace(exchange_ts=T0 + 1000)
    assert await merge_in_turn(new_gatherer_database, production_database, TRADES, [[TRADE], [other]]) == 1
    assert await value(production_database, "SELECT count(*) FROM trades") == 2


async def test_copies_that_agree_are_no_conflict(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Receipt is not content; nor is what one copy does not know of the taker, as of a trade that REST brought."""
    trades = [TRADE, *(TRADE._replace(trade_id=UUID(int=number), taker_side=None) for number in (2, 3))]
    later = [row._replace(received_at=T0 + 7) for row in trades]
    later[2] = later[2]._replace(taker_side=False)
    assert await merge_in_turn(new_gatherer_database, production_database, TRADES, [trades, later]) == 0
    assert await value(production_database, "SELECT count(*) FROM merge_conflicts") == 0


async def test_checkpoints_that_disagree_are_kept_and_other_books_are_not_compared(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Three checkpoints of one moment must be one book; books as sent carry their gatherer's name."""
    sent = [BOOK._replace(source="ws", gatherer_id=f"gatherer-{n}", yes_sizes=[n]) for n in (1, 2)]
    copies = [[BOOK, sent[0]], [BOOK._replace(yes_sizes=[7]), sent[1]], [BOOK]]
    found = await merge_in_turn(new_gatherer_database, production_database, ORDERBOOK_SNAPSHOTS, copies)
    assert found == 1
    rows = await fetch(
        production_database, "SELECT gatherer_id, kept->'yes_sizes', refused->'yes_sizes' FROM merge_conflicts"
    )
    assert [tuple(row) for row in rows] == [("gatherer-2", "[2]", "[7]")]
