"""What gatherers note of their own listening, in production."""

import asyncio
from collections.abc import Callable, Sequence

from kalshi_platform.core.records import BookDifferenceRow, GapRow, SessionRow
from kalshi_platform.core.schema import BOOK_DIFFERENCES, CAPTURE_GAPS, CAPTURE_SESSIONS
from kalshi_platform.database.writer import WriterRow
from kalshi_platform_tests.deduplicator.rows import T0, deltas, running, sync_loops, write
from kalshi_platform_tests.queries import fetch, value

TABLES = (CAPTURE_GAPS, CAPTURE_SESSIONS, BOOK_DIFFERENCES)
SESSION = SessionRow(T0, "gatherer-1", "orderbook-0", "orderbook_delta", "KXA", 1)
GAP = GapRow(T0 + 5, "gatherer-1", "orderbook-0", 1, "orderbook_delta", "KXA", "sequence", 3, 5, 1, T0)
DIFFERENCE = BookDifferenceRow(T0, "gatherer-1", "", "KXA", T0, 1, 100, "yes 0.50: 1 and 2")


async def note(url: str, row: WriterRow) -> None:
    """A row of a gatherer's own work, and a heartbeat behind it."""
    table = {SessionRow: CAPTURE_SESSIONS, GapRow: CAPTURE_GAPS, BookDifferenceRow: BOOK_DIFFERENCES}[type(row)]
    await write(url, [row], table=table)
    await write(url, [], heard=T0)


async def merged(url: str, sql: str, wanted: Sequence[object]) -> None:
    """Wait until production says what is wanted."""
    async with asyncio.timeout(20):
        while [tuple(row) for row in await fetch(url, sql)] != wanted:
            await asyncio.sleep(0.02)


async def test_what_was_noted_is_merged_under_each_gatherer_s_name(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Two gatherers saw the same in the same microsecond: two rows."""
    sources = {name: new_gatherer_database() for name in ("gatherer-1", "gatherer-2")}
    for name, url in sources.items():
        for row in (SESSION, GAP, DIFFERENCE):
            await note(url, row._replace(gatherer_id=name))
    counts = " UNION ALL ".join(f"SELECT count(*) FROM {table.name}" for table in TABLES)  # noqa: S608
    async with running(sync_loops(sources, production_database, *TABLES)):
        await merged(production_database, counts, [(2,), (2,), (2,)])
    names = await fetch(production_database, "SELECT gatherer_id FROM capture_sessions ORDER BY 1")
    assert [row[0] for row in names] == ["gatherer-1", "gatherer-2"]


async def test_a_later_version_closes_an_open_row_and_never_opens_it_again(
    new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """A session's end reaches production; a gatherer restored to before it does not take it away."""
    old, new = new_gatherer_database(), new_gatherer_database()
    ends = "SELECT ended_by FROM capture_sessions"
    await note(old, SESSION)
    async with running(sync_loops({"gatherer-1": old}, production_database, CAPTURE_SESSIONS)):
        await merged(production_database, ends, [(None,)])
        await note(old, SESSION._replace(ended_at=T0 + 9, ended_by="stopped"))
        await merged(production_database, ends, [("stopped",)])
    await note(new, SESSION)
    async with running(sync_loops({"gatherer-1": new}, production_database, CAPTURE_SESSIONS)):
        read = "SELECT rows_read FROM sync_cursors WHERE table_name = 'capture_sessions'"
        await merged(production_database, read, [(3,)])
    assert await value(production_database, ends) == "stopped"


async def test_a_start_with_many_sessions_is_read_in_pieces(gatherer_database: str, production_database: str) -> None:
    """More rows than one merge takes, of several transactions, one of them larger than a merge."""
    sources = {"gatherer-1": gatherer_database}
    for first, count in ((0, 40), (40, 40), (80, 150), (230, 40)):
        rows = [SESSION._replace(ticker=f"KX{n}") for n in range(first, first + count)]
        await write(gatherer_database, rows, table=CAPTURE_SESSIONS)
    await write(gatherer_database, deltas(0, 1))
    async with running(sync_loops(sources, production_database, CAPTURE_SESSIONS, most_rows=100)):
        await merged(production_database, "SELECT count(*) FROM capture_sessions", [(270,)])
    assert await value(production_database, "SELECT rows_read FROM sync_cursors") == 270
