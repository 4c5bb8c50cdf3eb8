"""A gatherer that died leaves its record open; the next one ends it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from urllib.parse import urlsplit

import asyncpg

from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.gatherer.predecessor import close_what_died, keep_closing
from kalshi_platform_tests.queries import fetch, value
from kalshi_platform_tests.waiting import until

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


async def test_what_another_table_had_written_proves_nothing(gatherer_database: str) -> None:
    """The writer of trades was up to date, that of changes was not: its rows died in memory."""
    await _insert(gatherer_database)
    await fetch(
        gatherer_database,
        "INSERT INTO ingest_batches (table_name, row_count, heard_until) SELECT 'trades', 0, heard_until + '20 s' "
        "FROM ingest_batches",
    )
    await close_what_died(gatherer_database, T0 + 30 * SECOND)
    (ended,) = await fetch(gatherer_database, "SELECT ended_at FROM capture_sessions WHERE ticker = 'A'")
    assert ended[0] == datetime_from_us(T0 + 5 * SECOND)


async def test_a_database_that_is_read_only_ends_no_gatherer(gatherer_database: str) -> None:
    """After a failover it may be; the record is closed when it takes writes again."""
    await _insert(gatherer_database)
    name = gatherer_database.rsplit("/", 1)[1]
    await fetch(gatherer_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    failures: list[float] = []

    def waits() -> Iterator[float]:
        while True:
            failures.append(0.01)
            yield failures[-1]

    closing = asyncio.create_task(keep_closing(gatherer_database, T0 + 30 * SECOND, waits))
    try:
        await until(lambda: closing.done() or len(failures) > 1)
        assert not closing.done()
        await fetch(f"{gatherer_database}?default_transaction_read_only=off", f"ALTER DATABASE {name} RESET ALL")
        ended = "SELECT count(*) <= 1 FROM capture_sessions WHERE ended_at IS NULL"
        await until(lambda: value(gatherer_database, ended))
    finally:
        closing.cancel()
        await asyncio.wait([closing])


@asynccontextmanager
async def _line(database: str, is_cut: asyncio.Event) -> AsyncIterator[str]:
    """The database over a network that can go away without a word."""
    there = urlsplit(database)
    pumps: list[asyncio.Task[None]] = []
    ends: list[asyncio.StreamWriter] = []

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if not is_cut.is_set():
                    target.write(data)
        target.close()

    async def serve(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        there_source, there_target = await asyncio.open_connection(there.hostname, there.port)
        ends.extend((target, there_target))
        pumps.append(asyncio.create_task(pump(source, there_target)))
        pumps.append(asyncio.create_task(pump(there_source, target)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield database.replace(f":{there.port}/", f":{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
        for one in pumps:
            one.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in ends:
            end.transport.abort()
        await asyncio.sleep(0)  # where sockets are closed


async def test_a_database_that_hangs_keeps_no_gatherer_from_stopping(gatherer_database: str) -> None:
    """Neither the end of a transaction nor a good-bye is waited for."""
    is_cut = asyncio.Event()
    other = await asyncpg.connect(gatherer_database)
    try:
        async with _line(gatherer_database, is_cut) as url, other.transaction():
            await other.execute("LOCK TABLE capture_sessions IN ACCESS EXCLUSIVE MODE")
            closing = asyncio.create_task(keep_closing(url, T0, lambda: repeat(0.01)))
            await until(lambda: other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
            is_cut.set()
            closing.cancel()
            await asyncio.wait([closing], timeout=5)
            is_done = closing.done()
    finally:
        await other.close()
    assert is_done
