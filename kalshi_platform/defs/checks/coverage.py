"""Coverage: in each hour, every market was heard whole by at least one gatherer.

- Add here: checks of who listened when.
- Keep out: reckoning it, which the deduplicator does, and repairing, which the sensor `uncovered_gaps` asks for.
- The deduplicator reckons an hour a moment after it has merged it, so a check waits for it, but not for long.
"""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta

import dagster as dg

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, TICKERS, TRADES, Table
from kalshi_platform.database.quality import CoveredHour, Uncovered
from kalshi_platform.defs.checks.spans import Span, spans
from kalshi_platform.defs.checks.verdict import Figures, clock, verdict
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase

CHANNELS: Mapping[str, str] = {
    TRADES.name: "trade",
    ORDERBOOK_DELTAS.name: "orderbook_delta",
    TICKERS.name: "ticker",
}
"""Which channel fills a table."""

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 1.0


def _coverage(table: Table) -> dg.AssetChecksDefinition:
    channel = CHANNELS[table.name]

    @dg.asset_check(
        asset=raw_key(table),
        name="coverage",
        description=f"In every hour of the channel `{channel}` each market that was open was heard without a gap by at "
        "least one gatherer. What nobody heard is in `uncovered_intervals`.",
    )
    def coverage(
        context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.AssetCheckResult:
        """Asks for what the deduplicator reckoned."""
        hours: list[CoveredHour] = []
        findings: list[str] = []
        deadline = time.monotonic() + _WAIT_SECONDS
        for span in spans(context, table, lake.lake()):
            known, unknown = _reckoned(production, channel, span, deadline)
            hours += known
            findings += [f"hour {clock(hour)}: not reckoned yet" for hour in unknown]
            if any(hour.uncovered_markets for hour in known):
                findings += [_said(gap) for gap in production.uncovered(channel, span.start, span.end)]
        worst = max(hours, key=lambda hour: hour.uncovered_us, default=None)
        figures: Figures = {
            "hours": len(hours),
            "hours_with_gaps": sum(hour.uncovered_markets > 0 for hour in hours),
            "markets": max((hour.markets for hour in hours), default=0),
            "uncovered_markets": worst.uncovered_markets if worst else 0,
            "uncovered_seconds": sum(hour.uncovered_us for hour in hours) / 1_000_000,
            "gatherers": ", ".join(sorted({name for hour in hours for name in hour.gatherers.split(",") if name})),
            "gatherers_behind": ", ".join(sorted({hour.behind for hour in hours if hour.behind})),
        }
        return verdict(findings, f"{len(hours)} hours were heard whole", figures)

    return coverage


def _reckoned(
    production: ProductionDatabase, channel: str, span: Span, deadline: float
) -> tuple[list[CoveredHour], list[datetime]]:
    """The hours of a span; waits until the deadline for those that are not reckoned."""
    while True:
        known, unknown = production.coverage(channel, span.start, span.end)
        if not unknown or time.monotonic() > deadline:
            return known, unknown
        time.sleep(_POLL_SECONDS)


def _said(gap: Uncovered) -> str:
    seconds = (gap.until_at - gap.from_at) / timedelta(seconds=1)
    return f"{gap.ticker or 'every market'}: {seconds:,.1f} s from {clock(gap.from_at)} on heard by nobody"


COVERAGE_CHECKS = [_coverage(table) for table in (TRADES, ORDERBOOK_DELTAS, TICKERS)]
"""Coverage of every channel that has one."""
