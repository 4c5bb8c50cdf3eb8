"""A gatherer that died leaves its record open; the next one ends it."""

import asyncpg

from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.gatherer.predecessor import close_what_died
from kalshi_platform_tests.queries import fetch

T0 = 1_795_219_200_000_000
SECOND = 1_000_000


async def _insert(database: str) -> None:
    """A dead process's open session and hole, one that had ended, and those of the process that lives."""
    connection = await asyncpg.connect(database)
    try:
        sessions = [
            (T0, "A", None),
            (T0 + 8 * SECOND, "B", None),
            (T0, "C", T0 + SECOND),
            (T0 + 60 * SECOND, "D", None),
        ]
        await connection.executemany(
            "INSERT INTO capture_sessions (started_at, gatherer_id, connection, channel, ticker, sid, ended_at) "
            "VALUES ($1, 'g', 'orderbook-1', 'orderbook_delta', $2, 1, $3)",
            [(datetime_from_us(start), ticker, end and datetime_from_us(end)) for start, ticker, end in sessions],
        )
        await connection.execute(
            "INSERT INTO capture_gaps (detected_at, gatherer_id, connection, sid, channel, ticker, cause, "
            "expected_seq, seen_seq, markets, from_at) "
            "VALUES ($1, 'g', 'orderbook-1', 1, 'orderbook_delta', '', 'sequence', 1, 3, 1, $1)",
            datetime_from_us(T0 + 2 * SECOND),
        )
        await connection.execute(
            "INSERT INTO ingest_batches (table_name, row_count, heard_until) VALUES ('orderbook_deltas', 0, $1)",
            datetime_from_us(T0 + 5 * SECOND),
        )
    finally:
        await connection.close()


async def test_what_was_open_ends_where_the_last_flush_says_that_all_was_heard(gatherer_database: str) -> None:
    """A session that began after that flush has no length; those of the living process go on."""
    await _insert(gatherer_database)
    assert await close_what_died(gatherer_database, T0 + 30 * SECOND) == 2
    rows = await fetch(gatherer_database, "SELECT ticker, ended_at, ended_by FROM capture_sessions ORDER BY ticker")
    moment = datetime_from_us
    assert [tuple(row) for row in rows] == [
        ("A", moment(T0 + 5 * SECOND), "process died"),
        ("B", moment(T0 + 8 * SECOND), "process died"),
        ("C", moment(T0 + SECOND), None),
        ("D", None, None),
    ]
    (gap,) = await fetch(gatherer_database, "SELECT until_at, healed_by FROM capture_gaps")
    assert tuple(gap) == (moment(T0 + 30 * SECOND), "unhealed")
    assert await close_what_died(gatherer_database, T0 + 30 * SECOND) == 0
