"""Trades and deltas: each trade off the book has its change of the book, the first of the two proofs of completeness.

- Add here: what trades say about the other tables.
- Keep out: the exchange's own figures about trades (`candles`).
"""

import dagster as dg

from kalshi_platform.core.schema import TRADES
from kalshi_platform.database.quality import Uncoupled
from kalshi_platform.defs.checks.partitioned import judged, partition_check
from kalshi_platform.defs.checks.spans import Span
from kalshi_platform.defs.checks.verdict import Verdict, clock
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase


@partition_check(
    TRADES,
    "trade_delta_coupling",
    "Every trade that is no block trade has a delta of the same millisecond, on the maker's side, with minus its size. "
    "A trade made while nobody heard the book whole, or before it was first heard, is counted as explained; a warning "
    "where that is so of every trade.",
    "a change is missing that nobody noticed: look into `book_differences` and `capture_gaps`",
)
def trade_delta_coupling(
    context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
) -> dg.AssetCheckResult:
    """Asks production, which has both sides at hand."""

    def judge(span: Span) -> Verdict:
        found = production.trades_without_delta(span.start, span.end)
        wrong = [one for one in found if one.trades > one.explained]
        explained = sum(one.explained for one in found)
        figures = {
            "trades": span.rows or 0,
            "trades_without_delta": sum(one.trades - one.explained for one in found),
            "explained": explained,
            "markets_wrong": len({one.ticker for one in wrong}),
        }
        if explained and explained >= (span.rows or 0):
            nothing = [f"nobody heard the books of any of {explained:,} trades: nothing was proven"]
            return Verdict(nothing, "", figures, dg.AssetCheckSeverity.WARN)
        well = f"each of {span.rows or 0:,} trades has its delta, but for {explained:,} that are explained"
        return Verdict([_said(one) for one in wrong], well, figures)

    return judged(context, TRADES, lake.lake(), judge)


def _said(one: Uncoupled) -> str:
    return f"hour {clock(one.hour)}: {one.ticker}: {one.trades - one.explained} trades without a delta"


TRADE_CHECKS = [trade_delta_coupling]
"""The proof by trades."""
