"""Metadata from a simulated exchange, over sockets, into a real production database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from kalshi_platform.core.errors import ExchangeUnavailable
from kalshi_platform.core.schema import TRADES
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.exchange.rest.transport import patience
from kalshi_platform.metadata.report import Kind, MetadataReport, Mode, Step
from kalshi_platform.metadata.sync import sync_metadata
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.exchange.rest_at_hand import AtHand, exchange_at_hand
from kalshi_platform_tests.queries import fetch, value

AT_ONCE = patience(attempts=2, first=0.01, longest=0.01)


class Desk:
    """An exchange and a database, and the sync between them."""

    def __init__(self, hand: AtHand, url: str) -> None:
        self.hand = hand
        self.url = url
        self.steps: list[Step] = []

    async def sync(self, kind: Kind, mode: Mode = Mode.FULL, **options: Any) -> MetadataReport:
        """One sync."""
        return await sync_metadata(
            self.hand.client, self.url, kind, mode, on_step=self.steps.append, waits=AT_ONCE, **options
        )

    async def everything(self) -> dict[Kind, MetadataReport]:
        """A full sync of all three."""
        return {kind: await self.sync(kind) for kind in Kind}

    def market(self, place: int) -> Any:
        """A market of the exchange, to change."""
        return self.hand.simulator.exchange.catalogue.touch(place)

    async def status(self, ticker: str) -> Any:
        """A market's status in production."""
        return await value(self.url, "SELECT max(status) FROM markets WHERE ticker = $1", ticker)


@pytest.fixture
async def desk(tmp_path: Path, production_database: str) -> AsyncIterator[Desk]:
    """Twelve events of five markets, two combos, nothing known yet."""
    async with exchange_at_hand(tmp_path, RestOptions(cache_seconds=0), markets=60, combos=2) as hand:
        yield Desk(hand, production_database)


async def trade(url: str, *tickers: str, at: datetime | None = None) -> None:
    """Put trades of markets into production."""
    moment = at or datetime.now(UTC)
    connection = await asyncpg.connect(url)
    try:
        await ensure_partitions(connection, TRADES, {moment.date()})
        await connection.executemany(
            "INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at) "
            "VALUES ($1, $2, $3, 1, 1, false, $1)",
            [(moment, uuid4(), ticker) for ticker in tickers],
        )
    finally:
        await connection.close()


def archive(desk: Desk, place: int) -> Any:
    """Settle a market before the cutoff, so that only /historical knows it."""
    market = desk.market(place)
    market.status, market.settled_ms, market.result = Status.FINALIZED, 1_790_000_000_000, "yes"
    desk.hand.simulator.rest.state.cutoff_ms = 1_790_000_000_001
    return market


async def test_a_full_walk_stores_all_that_is_listed(desk: Desk) -> None:
    """Series, events and markets with their columns; combos only where they are wanted."""
    reports = await desk.everything()
    assert {kind: (report.seen, report.new) for kind, report in reports.items()} == {
        Kind.SERIES: (3, 3), Kind.EVENTS: (12, 12), Kind.MARKETS: (60, 60),
    }  # fmt: skip
    assert reports[Kind.MARKETS].statuses == 60
    (row,) = await fetch(
        desk.url,
        "SELECT m.*, m.object ->> 'title' AS title, p.series_ticker "
        "FROM markets m JOIN people.markets p USING (ticker) ORDER BY ticker LIMIT 1",
    )
    listed = await desk.hand.client.market(row["ticker"])
    assert row["close_time"] == datetime.fromisoformat(listed.close_time or "")
    assert (row["title"], row["status"], row["event_ticker"]) == (listed.title, "active", listed.event_ticker)
    assert row["series_ticker"]
    with_combos = await desk.sync(Kind.MARKETS, combos=True)
    assert with_combos.new == 2 + 2, "the combos, and the events that they name"
    without = (
        "SELECT count(*) FROM markets LEFT JOIN events e USING (event_ticker) "
        "LEFT JOIN series s ON s.ticker = e.series_ticker WHERE s.ticker IS NULL"
    )
    assert await value(desk.url, without) == 0


async def test_a_second_walk_changes_nothing(desk: Desk) -> None:
    """The same rows but for when they were last seen; no status is noted twice."""
    await desk.everything()
    columns = "ticker, status, updated_ts, open_time, close_time, result, object"
    rows = await fetch(desk.url, f"SELECT {columns} FROM markets ORDER BY ticker")  # noqa: S608 - names
    again = await desk.everything()
    assert [report.new for report in again.values()] == [0, 0, 0]
    assert again[Kind.MARKETS].statuses == 0
    assert await fetch(desk.url, f"SELECT {columns} FROM markets ORDER BY ticker") == rows  # noqa: S608 - names


async def test_an_incremental_sync_asks_little_and_misses_no_change_of_status(desk: Desk) -> None:
    """Paused, closed before its time, opened and settled, none of which touches the exchange's own stamp."""
    catalogue = desk.hand.simulator.exchange.catalogue
    unopened = desk.market(3)
    unopened.status, unopened.open_ms = Status.INITIALIZED, 1_700_000_000_000
    first = (await desk.everything())[Kind.MARKETS]
    changes = {0: Status.INACTIVE, 1: Status.CLOSED, 2: Status.FINALIZED, 3: Status.ACTIVE}
    for place, status in changes.items():
        desk.market(place).status = status
    desk.market(2).settled_ms = int(datetime.now(UTC).timestamp() * 1000)
    since = first.started_at + timedelta(hours=1)  # so late that nothing was updated or created since
    report = await desk.sync(Kind.MARKETS, Mode.INCREMENTAL, since=first.started_at)
    assert report.mode is Mode.INCREMENTAL
    assert report.statuses == 4
    for place, status in changes.items():
        assert await desk.status(catalogue.markets_in_order[place].ticker) == status.value
    desk.market(0).status = Status.ACTIVE  # back from its pause: in no list of what is new
    desk.market(1).status = Status.DETERMINED
    later = await desk.sync(Kind.MARKETS, Mode.INCREMENTAL, since=since)
    assert later.statuses == 2
    assert later.seen < 60
    history = await fetch(
        desk.url, "SELECT status FROM market_statuses WHERE ticker = $1 ORDER BY seen_at", desk.market(0).ticker
    )
    assert [row["status"] for row in history] == ["active", "inactive", "active"]


async def test_without_a_last_time_an_incremental_sync_is_a_full_one(desk: Desk) -> None:
    """And says so."""
    report = await desk.sync(Kind.MARKETS, Mode.INCREMENTAL)
    assert (report.mode, report.seen) == (Mode.FULL, 60 + 12 + 2)


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.INCREMENTAL])
async def test_what_is_settled_and_archived_is_found_again(desk: Desk, mode: Mode) -> None:
    """A market that we hold as open past its close, and that left every live list meanwhile, is asked for by name."""
    desk.market(7).close_ms = 1_790_000_000_000
    await desk.everything()
    market = archive(desk, 7)
    await desk.sync(Kind.MARKETS, mode, since=datetime.now(UTC))
    (row,) = await fetch(desk.url, "SELECT status, result, settlement_ts FROM markets WHERE ticker = $1", market.ticker)
    assert tuple(row) == ("finalized", "yes", datetime.fromtimestamp(1_790_000_000, UTC))


async def test_the_archive_is_walked_when_asked_for(desk: Desk) -> None:
    """Markets that were settled before anybody looked."""
    market = archive(desk, 7)
    assert (await desk.sync(Kind.MARKETS)).seen == 59 + 12 + 2
    assert await desk.status(market.ticker) is None
    await desk.sync(Kind.MARKETS, Mode.ARCHIVE)
    assert await desk.status(market.ticker) == "finalized"


async def test_no_trade_stays_an_orphan(desk: Desk) -> None:
    """Markets that no live list shows - archived, combos - come by name, with their events and series."""
    market = archive(desk, 7)
    combo = next(iter(desk.hand.simulator.exchange.catalogue.combos_by_event.values()))
    await trade(desk.url, market.ticker, combo.ticker, market.ticker, "KXNOBODY-1")
    await trade(desk.url, desk.market(8).ticker, at=datetime.now(UTC) - timedelta(days=3))
    report = await desk.sync(Kind.MARKETS, Mode.FULL)
    assert report.orphans == 3
    assert report.unknown == ["KXNOBODY-1"]
    orphans = (
        "SELECT DISTINCT t.ticker FROM trades t LEFT JOIN people.markets m USING (ticker) WHERE m.series_ticker IS NULL"
    )
    assert [row["ticker"] for row in await fetch(desk.url, orphans)] == ["KXNOBODY-1"]


async def test_an_incremental_sync_brings_the_events_and_series_of_what_it_was_sent(desk: Desk) -> None:
    """It does not look through all of a million markets for them."""
    combo = next(iter(desk.hand.simulator.exchange.catalogue.combos_by_event.values()))
    await trade(desk.url, combo.ticker)
    report = await desk.sync(Kind.MARKETS, Mode.INCREMENTAL, since=datetime.now(UTC))
    assert (report.orphans, report.unknown) == (1, [])
    found = "SELECT s.ticker FROM people.markets m JOIN series s ON s.ticker = m.series_ticker WHERE m.ticker = $1"
    assert await value(desk.url, found, combo.ticker)


async def test_time_never_goes_back(desk: Desk) -> None:
    """What production knows from later stands against a list that is older."""
    await desk.everything()
    ticker = desk.market(0).ticker
    connection = await asyncpg.connect(desk.url)
    await connection.execute(
        "UPDATE markets SET status = 'closed', updated_ts = now() + interval '1 hour' WHERE ticker = $1", ticker
    )
    await connection.close()
    report = await desk.sync(Kind.MARKETS)
    assert report.stored == 59
    assert await desk.status(ticker) == "closed"


async def test_a_walk_that_is_cut_off_has_stored_its_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends with the exchange's own error; a next full sync stores the rest."""
    asked = desk.hand.asked
    desk.hand.simulator.rest.gate.failures.update(dict.fromkeys(range(asked + 2, asked + 60), 503))
    monkeypatch.setattr("kalshi_platform.exchange.rest.markets._PAGE", 20)
    with pytest.raises(ExchangeUnavailable, match="503"):
        await desk.sync(Kind.MARKETS)
    stored = await value(desk.url, "SELECT count(*) FROM markets")
    assert 0 <= stored < 60
    desk.hand.simulator.rest.gate.failures.clear()
    await desk.sync(Kind.MARKETS)
    assert await value(desk.url, "SELECT count(*) FROM markets") == 60
    assert [(step.what, step.rows) for step in desk.steps if step.what == "markets"][-3:] == [
        ("markets", 20), ("markets", 40), ("markets", 60),
    ]  # fmt: skip
