"""Reference data: every trade's market is described, and what is settled at the exchange is settled here.

- Add here: checks of series, events and markets in production.
- Keep out: syncing them (`metadata_sync`), which resolves what these checks find, or says why it cannot.
- Joins with stale descriptions lose trades in silence, which is why both must be nothing, not few.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.core.schema import MARKETS
from kalshi_platform.database.quality import Unsettled
from kalshi_platform.defs.checks.verdict import WHAT_TO_DO, Verdict, clock
from kalshi_platform.defs.resources import Exchange, ProductionDatabase
from kalshi_platform.defs.tables import production_key

_TRADED = timedelta(days=2)
_SETTLED = timedelta(hours=6)
_SYNC = timedelta(minutes=10)
"""What happened since is the next sync's: two of them have not been yet."""

_BY_NAME = "run the job `metadata_incremental`, which asks for them by name; the exchange may not know them either"
_ALL = "run the job `metadata_full`"


@dg.asset_check(
    asset=production_key(MARKETS),
    name="orphan_trades",
    description="Every trade of the last two days, but for the last ten minutes, is of a market that production knows.",
    metadata={WHAT_TO_DO: _BY_NAME},
)
def orphan_trades(production: ProductionDatabase) -> dg.AssetCheckResult:
    """Asks production, after each sync."""
    end = datetime.now(UTC) - _SYNC
    orphans = production.orphan_trades(end - _TRADED, end)
    findings = [f"{one.ticker}: {one.trades:,} trades since {clock(one.first_at)}" for one in orphans]
    figures = {"markets": len(orphans), "trades": sum(one.trades for one in orphans)}
    return Verdict(findings, "every trade's market is known", figures).result(_BY_NAME)


@dg.asset_check(
    asset=production_key(MARKETS),
    name="settled_here_too",
    description="Every market that the exchange settled in the last six hours, but for the last ten minutes, has the "
    "same result in production.",
    metadata={WHAT_TO_DO: _ALL},
)
def settled_here_too(production: ProductionDatabase, exchange: Exchange) -> dg.AssetCheckResult:
    """Asks the exchange what it settled, and production whether it knows."""
    end = datetime.now(UTC) - _SYNC
    results = asyncio.run(_settled(exchange, end - _SETTLED, end))
    wrong = production.unsettled(results)
    figures = {"settled": len(results), "wrong": len(wrong)}
    well = f"all {len(results)} settled markets are settled here"
    return Verdict([_said(one) for one in wrong], well, figures).result(_ALL)


async def _settled(exchange: Exchange, start: datetime, end: datetime) -> dict[str, str]:
    async with exchange.client() as rest:
        markets = rest.settled_markets(int(start.timestamp()), int(end.timestamp()))
        return {market.ticker: market.result async for market in markets if market.result}


def _said(one: Unsettled) -> str:
    ours = f"{one.our_status}, {one.our_result or 'without a result'}" if one.our_status else "unknown"
    return f"{one.ticker}: {one.their_result} at the exchange, {ours} here"


REFERENCE_CHECKS = [orphan_trades, settled_here_too]
"""What production's descriptions are held to."""
