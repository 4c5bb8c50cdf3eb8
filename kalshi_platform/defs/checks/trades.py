"""Trades and deltas: each trade off the book has its change of the book, the first of the two proofs of completeness.

- Add here: what trades say about the other tables.
- Keep out: the exchange's own figures about trades (`candles`).
"""

import dagster as dg

from kalshi_platform.core.schema import TRADES
from kalshi_platform.database.quality import Uncoupled
from kalshi_platform.defs.checks.spans import spans
from kalshi_platform.defs.checks.verdict import clock, verdict
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase


@dg.asset_check(
    asset=raw_key(TRADES),
    name="trade_delta_coupling",
    description="Every trade that is no block trade has a delta of the same millisecond, on the maker's side, with "
    "minus its size. A trade made while nobody heard the book whole is counted as explained.",
)
def trade_delta_coupling(
    context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
) -> dg.AssetCheckResult:
    """Asks production, which has both sides at hand."""
    looked_at = list(spans(context, TRADES, lake.lake()))
    found = [one for span in looked_at for one in production.trades_without_delta(span.start, span.end)]
    wrong = [one for one in found if one.trades > one.explained]
    figures = {
        "partitions": len(looked_at),
        "trades": sum(span.rows or 0 for span in looked_at),
        "trades_without_delta": sum(one.trades - one.explained for one in found),
        "explained": sum(one.explained for one in found),
        "markets_wrong": len({one.ticker for one in wrong}),
    }
    well = f"every one of {figures['trades']:,} trades has its delta, but for {figures['explained']} that are explained"
    return verdict([_said(one) for one in wrong], well, figures)


def _said(one: Uncoupled) -> str:
    return f"hour {clock(one.hour)}: {one.ticker}: {one.trades - one.explained} trades without a delta"


TRADE_CHECKS = [trade_delta_coupling]
"""The proof by trades."""
