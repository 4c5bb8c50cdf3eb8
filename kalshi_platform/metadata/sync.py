"""Series, events and markets from REST into production: all of them, or what changed.

`min_updated_ts` knows changes of descriptions only (kalshi-protocol.md §2.4), so an incremental sync of markets asks
five lists - updated, created, paused, closed, settled - and then by name for the markets whose status must have changed
by the clock and that no list showed. Every walk goes page by page into the database; whoever is interrupted has stored
a part, and the next sync, which begins where the last *whole* one began, stores the rest. Kept out: when to sync.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import asyncpg

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.masking import masked
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.objects import Market
from kalshi_platform.exchange.rest.pages import Pages, PatientPages, Walk
from kalshi_platform.exchange.rest.transport import Waits, patience
from kalshi_platform.metadata.facts import event_facts, market_facts, series_facts
from kalshi_platform.metadata.keeper import Keeper
from kalshi_platform.metadata.orphans import ask_by_name, resolve_orphans, resolve_parents
from kalshi_platform.metadata.report import Kind, MetadataReport, Mode, OnStep

T = TypeVar("T")

OVERLAP = timedelta(minutes=10)
"""How much earlier than the last sync an incremental one asks: answers from a cache, clocks that differ."""

_OUTAGE: Waits = patience(attempts=12, first=1.0, longest=60.0)
"""Beyond a request's own patience: a walk over a million markets is not thrown away for a minute's outage."""

_OVERDUE = """
SELECT ticker FROM markets WHERE seen_at < $1 AND status <> 'finalized' AND (
    status NOT IN ('active', 'initialized')
    OR status = 'initialized' AND open_time <= $1
    OR close_time <= $1
) ORDER BY ticker
"""
_UNSEEN = "SELECT ticker FROM markets WHERE seen_at < $1 AND status <> 'finalized' ORDER BY ticker"


async def sync_metadata(
    rest: RestClient,
    database_url: str,
    kind: Kind,
    mode: Mode,
    *,
    since: datetime | None = None,
    combos: bool = False,
    on_step: OnStep = lambda _: None,
    waits: Waits = _OUTAGE,
) -> MetadataReport:
    """Bring one of production's tables up to date.

    Args:
        rest: The exchange.
        database_url: Production, as a member of `kalshi_catalogue`.
        kind: Which table.
        mode: How much; an incremental sync without `since` is a full one.
        since: When the last sync that ended well began (`MetadataReport.started_at`).
        combos: Whether to list combos (KXMVE…) too; those that were traded are asked for by name in any case.
        on_step: Told of each page.
        waits: Makes the seconds to wait, outage by outage, before a walk is given up.

    Raises:
        ExchangeError: The exchange does not answer, or refuses.
        PlatformError: Production cannot be reached.
    """
    chosen = Mode.FULL if mode is Mode.INCREMENTAL and since is None else mode
    report = MetadataReport(kind, chosen, datetime.now(UTC))
    begun = time.monotonic()
    async with _production(database_url) as connection:
        keeper = Keeper(connection, report, on_step)
        walks = _Walks(rest, keeper, waits, None if chosen is not Mode.INCREMENTAL else since, combos=combos)
        match kind:
            case Kind.SERIES:
                await walks.series()
            case Kind.EVENTS:
                await walks.events()
            case Kind.MARKETS:
                await walks.markets(archive=chosen is Mode.ARCHIVE)
                if first := await _traded_since(connection, since, chosen):
                    await resolve_orphans(rest, keeper, first, keeper.now() + OVERLAP)
                await resolve_parents(rest, keeper)
    report.seconds = time.monotonic() - begun
    return report


async def adopt_orphans(
    rest: RestClient, database_url: str, since: datetime, until: datetime, on_step: OnStep = lambda _: None
) -> MetadataReport:
    """Fetch the markets, events and series that trades of [since, until) name and production does not have.

    Raises:
        ExchangeError: The exchange does not answer, or refuses.
        PlatformError: Production cannot be reached.
    """
    report = MetadataReport(Kind.MARKETS, Mode.INCREMENTAL, datetime.now(UTC))
    begun = time.monotonic()
    async with _production(database_url) as connection:
        keeper = Keeper(connection, report, on_step)
        await resolve_orphans(rest, keeper, since, until)
        await resolve_parents(rest, keeper)
    report.seconds = time.monotonic() - begun
    return report


class _Walks:
    """The lists that a sync walks over."""

    def __init__(self, rest: RestClient, keeper: Keeper, waits: Waits, since: datetime | None, *, combos: bool) -> None:
        self._rest = rest
        self._keeper = keeper
        self._waits = waits
        self._since = None if since is None else int((since - OVERLAP).timestamp())
        self._combos = combos
        self._mve = None if combos else "exclude"  # they dominate the list (kalshi-pitfalls.md 34)

    async def series(self) -> None:
        asked_at = self._keeper.now()
        found = await self._rest.series_list(include_product_metadata=True, min_updated_ts=self._since)
        await self._keeper.keep([series_facts(one, asked_at) for one in found])
        self._keeper.tell("series", len(found), len(found))

    async def events(self) -> None:
        pages = self._patient(lambda walk: self._rest.events(min_updated_ts=self._since, walk=walk))
        await self._keeper.keep_pages("events", pages, event_facts)
        if self._combos and self._since is None:  # their list knows no time: new ones come with their markets
            combos = self._patient(lambda walk: self._rest.multivariate_events(walk=walk))
            await self._keeper.keep_pages("events of combos", combos, event_facts)

    async def markets(self, *, archive: bool) -> None:
        started_at = self._keeper.now()
        if self._since is None:
            await self._listed("markets", MarketFilters(mve_filter=self._mve))
            if archive:
                pages = self._patient(lambda walk: self._rest.historical_markets(mve_filter=self._mve, walk=walk))
                await self._keeper.keep_pages("archived markets", pages, market_facts)
        else:
            updated = MarketFilters(mve_filter="exclude", min_updated_ts=self._since)  # the filter goes with no other
            mve = self._mve
            await self._listed("markets updated", updated)
            await self._listed("markets created", MarketFilters(mve_filter=mve, min_created_ts=self._since))
            await self._listed("markets paused", MarketFilters(mve_filter=mve, status="paused"))
            await self._listed("markets closed", MarketFilters(mve_filter=mve, status="closed"))
            settled = MarketFilters(mve_filter=mve, status="settled", min_settled_ts=self._since)
            await self._listed("markets settled", settled)
        overdue = await self._keeper.connection.fetch(_UNSEEN if self._since is None else _OVERDUE, started_at)
        await ask_by_name(self._rest, self._keeper, "markets in no list", [row["ticker"] for row in overdue])

    async def _listed(self, what: str, filters: MarketFilters) -> None:
        pages: AsyncIterator[list[Market]] = self._patient(lambda walk: self._rest.markets(filters, walk))
        await self._keeper.keep_pages(what, pages, market_facts)

    def _patient(self, begin: Callable[[Walk], Pages[T]]) -> AsyncIterator[list[T]]:
        return PatientPages(begin, Walk(), self._waits).pages()


@asynccontextmanager
async def _production(url: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(url, server_settings={"application_name": "kalshi-platform metadata"})
    except (OSError, asyncpg.PostgresError) as error:
        raise PlatformError(f"cannot reach {masked(url)}: {error}") from None
    try:
        yield connection
    finally:
        await connection.close()


async def _traded_since(connection: asyncpg.Connection, since: datetime | None, mode: Mode) -> datetime | None:
    """From which trade on to look for orphans: the first of all, unless the sync is incremental."""
    if mode is Mode.INCREMENTAL and since is not None:
        return since - OVERLAP
    first: datetime | None = await connection.fetchval("SELECT min(exchange_ts) FROM trades")
    return first
