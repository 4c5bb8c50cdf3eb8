"""Who listened, and when nobody did: reckoned in a real production database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import pairwise

import asyncpg
import pytest

from kalshi_platform.core.records import GapRow, SessionRow
from kalshi_platform.core.schema import CAPTURE_GAPS, CAPTURE_SESSIONS, Home, Table
from kalshi_platform.database.binary_copy import RowEncoder
from kalshi_platform.deduplicator import coverage
from kalshi_platform.deduplicator.coverage import cover_hour, next_hour, uncovered_markets
from kalshi_platform.deduplicator.merge import Merger
from kalshi_platform.deduplicator.source import Copied
from kalshi_platform.deduplicator.window import Window

TEN = datetime(2026, 11, 21, 10, tzinfo=UTC)
BOOKS, TRADES = "orderbook_delta", "trade"
MINUTE = 60_000_000


def at(minute: float) -> int:
    """So many minutes after ten, µs since 1970."""
    return int(TEN.timestamp() * 1_000_000 + minute * MINUTE)


def session(
    gatherer: str,
    since: float,
    until: float | None = None,
    ended_by: str = "disconnected",
    ticker: str = "KXA",
    channel: str = BOOKS,
) -> SessionRow:
    """A session in minutes after ten; without an end it is open."""
    row = SessionRow(at(since), gatherer, "c", channel, ticker, 1)
    return row if until is None else row._replace(ended_at=at(until), ended_by=ended_by)


def gap(
    gatherer: str,
    since: float,
    until: float | None,
    ticker: str = "",
    healed_by: str = "snapshots",
    channel: str = BOOKS,
) -> GapRow:
    """A hole in minutes after ten."""
    row = GapRow(at(since) + 1, gatherer, "c", 1, channel, ticker, "sequence", 1, 3, 1, at(since))
    return row if until is None else row._replace(until_at=at(until), healed_by=healed_by)


class Production:
    """A production database into which gatherers are merged by hand."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def merge(self, *rows: SessionRow | GapRow) -> None:
        """Merge rows as the loops do."""
        for row in rows:
            table: Table = CAPTURE_SESSIONS if isinstance(row, SessionRow) else CAPTURE_GAPS
            merger = Merger(self.connection, row.gatherer_id, table)
            cursor = await merger.cursor(self.connection)  # no source is asked: there is one shard
            window = Window(cursor.next_xid, cursor.next_xid + 1, None, None, None, None, None, is_full=False)
            copied = Copied(1, BytesIO(RowEncoder(table, Home.PRODUCTION).encode([row])))
            await merger.merge(cursor, "s", window, copied)

    async def heard(self, gatherer: str, minute: float, table: str = "orderbook_deltas") -> None:
        """A gatherer is merged so far."""
        await self.connection.execute(
            "INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, watermark, rows_read, rows_merged) "
            "VALUES ($1, $2, 's', '0', $3, 0, 0) "
            "ON CONFLICT (gatherer_id, table_name, shard) DO UPDATE SET watermark = excluded.watermark",
            gatherer, table, TEN + timedelta(minutes=minute),
        )  # fmt: skip

    async def cover(self, mark: float, channel: str = BOOKS) -> int:
        """Compute what is due up to a watermark in minutes after ten; returns how many hours."""
        hours = 0
        while (hour := await next_hour(self.connection, channel, TEN + timedelta(minutes=mark))) is not None:
            assert await cover_hour(self.connection, channel, hour)
            hours += 1
            assert hours < 50
        return hours

    async def uncovered(self, channel: str = BOOKS) -> list[tuple[str, float, float]]:
        """Uncovered intervals: market, from and until in minutes after ten."""
        rows = await self.connection.fetch(
            "SELECT ticker, from_at, until_at FROM uncovered_intervals WHERE channel = $1 ORDER BY 2, 1", channel
        )
        return [(row[0], *((moment - TEN) / timedelta(minutes=1) for moment in row[1:])) for row in rows]


@pytest.fixture
async def production(production_database: str) -> AsyncIterator[Production]:
    """Nothing was merged yet."""
    connection = await asyncpg.connect(production_database)
    yield Production(connection)
    await connection.close()


async def test_what_one_gatherer_missed_another_heard(production: Production) -> None:
    """Only where the holes of all overlap is nothing covered."""
    await production.merge(session("g1", 0), session("g2", 0), gap("g1", 10, 30), gap("g2", 20, 40))
    for name in ("g1", "g2"):
        await production.heard(name, 61)
    assert await production.cover(61) == 1
    assert await production.uncovered() == [("KXA", 20, 30)]
    row = await production.connection.fetchrow("SELECT * FROM coverage_hours")
    assert (row["markets"], row["uncovered_markets"], row["uncovered_us"]) == (1, 1, 10 * MINUTE)
    assert (row["gatherers"], row["behind"]) == ("g1,g2", "{}")
    assert await uncovered_markets(production.connection, BOOKS) == 1
    assert await production.cover(61) == 0  # what is right is not computed again


async def test_who_listened_can_be_asked_of_any_interval(production: Production) -> None:
    """The function answers for minutes as well as for hours."""
    await production.merge(session("g1", 0, 5), session("g2", 3, 20))
    ask = "SELECT gatherers, isempty(uncovered) FROM kalshi_coverage('orderbook_delta', $1, $2) WHERE ticker = 'KXA'"
    moments = [TEN + timedelta(minutes=minute) for minute in (0, 2, 4, 6, 21)]
    answers = [tuple(await production.connection.fetchrow(ask, *pair)) for pair in pairwise(moments)]
    assert answers == [(["g1"], True), (["g1", "g2"], True), (["g1", "g2"], True), (["g2"], False)]


async def test_a_bad_hour_is_told_though_a_good_one_was_computed_after_it(production: Production) -> None:
    """Behind an outage several hours are computed at once."""
    await production.merge(session("g1", 0, 30), session("g1", 60))
    await production.heard("g1", 181)
    assert await production.cover(181) == 3
    assert await uncovered_markets(production.connection, BOOKS) == 1


async def test_a_hole_that_late_frames_filled_is_none(production: Production) -> None:
    """Nothing was missed in the end; one that nobody healed lasts."""
    await production.merge(session("g1", 0), gap("g1", 10, 11, healed_by="late frames"), gap("g1", 50, None))
    await production.heard("g1", 61)
    await production.cover(61)
    assert await production.uncovered() == [("KXA", 50, 60)]


async def test_a_hole_of_one_market_is_not_its_neighbours(production: Production) -> None:
    """A hole of a subscription touches all of its markets, one of a market that market only."""
    await production.merge(session("g1", 0), session("g1", 0, ticker="KXB"), gap("g1", 5, 6, "KXB"), gap("g1", 8, 9))
    await production.heard("g1", 61)
    await production.cover(61)
    assert await production.uncovered() == [("KXB", 5, 6), ("KXA", 8, 9), ("KXB", 8, 9)]


async def test_a_channel_of_every_market_with_a_hole_of_one(production: Production) -> None:
    """The channel counts as one, a market with holes of its own beside it."""
    trades = session("g1", 0, ticker="", channel=TRADES)
    await production.merge(trades, gap("g1", 5, 6, "KXB", channel=TRADES), gap("g1", 8, 9, channel=TRADES))
    await production.heard("g1", 61, "trades")
    await production.cover(61, TRADES)
    assert await production.uncovered(TRADES) == [("KXB", 5, 6), ("", 8, 9), ("KXB", 8, 9)]


async def test_an_open_session_of_a_silent_gatherer_ends_where_it_was_last_heard(production: Production) -> None:
    """What it still has comes later, and then the hour is computed again."""
    await production.merge(session("g1", 0))
    await production.heard("g1", 20)
    await production.cover(61)
    assert await production.uncovered() == [("KXA", 20, 60)]
    await production.heard("g1", 125)
    assert await production.cover(125) == 2
    assert await production.uncovered() == []


async def test_late_rows_correct_the_hour(production: Production) -> None:
    """A gatherer that was away brings its sessions; a session turns out to have ended earlier."""
    await production.merge(session("g1", 0, 30))
    await production.heard("g1", 61)
    await production.cover(61)
    assert await production.uncovered() == [("KXA", 30, 60)]
    await production.merge(session("g2", 25))
    await production.heard("g2", 61)
    assert await production.cover(61) == 1
    assert await production.uncovered() == []
    await production.merge(session("g2", 25, 50))
    assert await production.cover(61) == 1
    assert await production.uncovered() == [("KXA", 50, 60)]
    await production.merge(session("g2", 25, 50), gap("g1", 10, 12))
    assert await production.cover(61) == 1
    assert await production.uncovered() == [("KXA", 10, 12), ("KXA", 50, 60)]


async def test_news_of_now_leaves_old_hours_alone(production: Production) -> None:
    """A reconnect ends sessions of long ago; only what changes is computed again."""
    await production.merge(session("g1", 0))
    await production.heard("g1", 190)
    assert await production.cover(185) == 3
    await production.merge(session("g1", 0, 189), session("g1", 189.5), gap("g1", 189, 190))
    assert await production.cover(185) == 0


@pytest.mark.parametrize("is_known", [False, True])
async def test_sessions_are_merged_while_an_hour_is_computed(
    is_known: bool, production: Production, production_database: str
) -> None:
    """Nobody waits for a long reckoning; what came meanwhile is in the next, of a new hour as of one that was known."""
    await production.merge(session("g1", 0, 30))
    await production.heard("g1", 61)
    if is_known:
        await production.cover(61)
        await production.merge(session("g1", 0, 29, ticker="KXB"))
    gate, other = await asyncpg.connect(production_database), await asyncpg.connect(production_database)
    await gate.execute("BEGIN; LOCK TABLE markets")  # the reckoning reads it, long after it has begun
    hour = await next_hour(production.connection, BOOKS, TEN + timedelta(minutes=61))
    assert hour is not None
    computing = asyncio.create_task(cover_hour(production.connection, BOOKS, hour))
    async with asyncio.timeout(20):
        while not await gate.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await Production(other).merge(session("g2", 25, 50))
    assert not computing.done()
    await gate.close()
    await computing
    assert (await production.uncovered())[-1] == ("KXA", 30, 60)
    assert await production.cover(61) == 1
    assert (await production.uncovered())[-1] == ("KXA", 50, 60)
    await other.close()


@pytest.mark.parametrize("is_known", [False, True])
async def test_two_that_reckon_the_same_hour_leave_it_right(
    is_known: bool, production: Production, production_database: str
) -> None:
    """Who lost the lead is still at it, and a session came; the next leader leaves the hour alone until that ends."""
    await production.merge(session("g1", 0, 30))
    await production.heard("g1", 61)
    if is_known:
        await production.cover(61)
        await production.merge(session("g1", 0, 29, ticker="KXB"))
    gate, other = await asyncpg.connect(production_database), await asyncpg.connect(production_database)
    await gate.execute("BEGIN; LOCK TABLE markets")  # the reckoning reads it, long after it has begun
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    computing = asyncio.create_task(cover_hour(production.connection, BOOKS, TEN))
    async with asyncio.timeout(20):
        while await gate.fetchval(waiting) < 1:
            await asyncio.sleep(0.01)
        await Production(other).merge(session("g2", 25, 50))
        second = asyncio.create_task(cover_hour(other, BOOKS, TEN))
        while not second.done() and await gate.fetchval(waiting) < 2:
            await asyncio.sleep(0.01)
        await gate.close()
        assert await asyncio.gather(computing, second) == [True, False]
    assert await Production(other).cover(61) == 1
    assert (await production.uncovered())[-1] == ("KXA", 50, 60)
    await other.close()


async def test_an_hour_whose_reckoning_was_killed_is_computed_again(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not left as if nothing had come since it was last right."""
    await production.merge(session("g1", 0, 30))
    await production.heard("g1", 61)
    await production.cover(61)
    await production.merge(session("g1", 0, 40))
    monkeypatch.setattr(coverage, "_COMPUTE", "SELECT 1 / 0, $1::text, $2::text, $3::timestamptz")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await production.cover(61)
    monkeypatch.undo()
    assert await production.cover(61) == 1
    assert await production.uncovered() == [("KXA", 40, 60)]


async def test_a_market_is_expected_while_it_is_open(production: Production) -> None:
    """From its opening until its close or until it was left; one left alone by accident stays expected."""
    await production.connection.execute(
        "INSERT INTO markets (ticker, event_ticker, status, open_time, close_time, seen_at, object) "
        "VALUES ('KXOPEN', 'E', 'active', $1, $2, now(), '{}')",
        TEN + timedelta(minutes=2), TEN + timedelta(minutes=50),
    )  # fmt: skip
    await production.merge(
        session("g1", 0, 1, ticker="KXCUT"),
        session("g1", 5, 49, ticker="KXOPEN"),
        session("g1", 10, 20, "unsubscribed", ticker="KXLEFT"),
        session("g2", 10, 15, "process died", ticker="KXLEFT"),
    )
    for name in ("g1", "g2"):
        await production.heard(name, 61)
    await production.cover(61)
    assert await production.uncovered() == [("KXCUT", 1, 60), ("KXOPEN", 2, 5), ("KXOPEN", 49, 50)]


async def test_a_market_that_was_heard_soon_after_it_opened_was_heard_whole(production: Production) -> None:
    """Its first book has what changed before; a later start, and any hole once it was heard, are told."""
    second = 1 / 60
    await production.connection.executemany(
        "INSERT INTO markets (ticker, event_ticker, status, open_time, seen_at, object) "
        "VALUES ($1, 'E', 'active', $2, $2, '{}')",
        [(name, TEN + timedelta(minutes=10)) for name in ("KXSOON", "KXLATE", "KXHOLE")],
    )
    await production.merge(
        session("g1", 0),
        session("g1", 10 + 5 * second, ticker="KXSOON"),
        session("g1", 10 + 6 * second, ticker="KXLATE"),
        session("g1", 10 + second, ticker="KXHOLE"),
        gap("g1", 20, 20 + second, ticker="KXHOLE"),
    )
    await production.heard("g1", 61)
    await production.cover(61)
    found = [(ticker, round((until - since) * 60)) for ticker, since, until in await production.uncovered()]
    assert found == [("KXLATE", 6), ("KXHOLE", 1)]
