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
from kalshi_platform.defs.checks.partitioned import judged, partition_check
from kalshi_platform.defs.checks.spans import Span
from kalshi_platform.defs.checks.verdict import Figures, Verdict, clock
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase

CHANNELS: Mapping[str, str] = {
    TRADES.name: "trade",
    ORDERBOOK_DELTAS.name: "orderbook_delta",
    TICKERS.name: "ticker",
}
"""Which channel fills a table."""

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 1.0
_NOTHING_DUE = "no hour of it was to be heard: nobody listened yet, so nothing is known of what is missing"


def _coverage(table: Table) -> dg.AssetChecksDefinition:
    channel = CHANNELS[table.name]

    @partition_check(
        table,
        "coverage",
        f"In every hour of the channel `{channel}` each market that was open was heard without a gap by at least one "
        "gatherer. What nobody heard is in `uncovered_intervals`. A warning where no hour was to be heard at all.",
        "wait for the job `repair`, which runs by itself: the page of `uncovered_intervals` then says what came back",
    )
    def coverage(
        context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.AssetCheckResult:
        """Asks for what the deduplicator reckoned."""
        deadline = time.monotonic() + _WAIT_SECONDS
        return judged(
            context,
            table,
            lake.lake(),
            lambda span: _heard(production, channel, span, *_reckoned(production, channel, span, deadline)),
        )

    return coverage


def _heard(
    production: ProductionDatabase, channel: str, span: Span, hours: list[CoveredHour], unknown: list[datetime]
) -> Verdict:
    """What nobody heard of a span's hours."""
    if not hours and not unknown:
        return Verdict([_NOTHING_DUE], "", {"hours": 0}, dg.AssetCheckSeverity.WARN)
    findings = [f"hour {clock(hour)}: not reckoned yet" for hour in unknown]
    if any(hour.uncovered_markets for hour in hours):
        findings += [_said(gap) for gap in production.uncovered(channel, span.start, span.end)]
    figures: Figures = {
        "hours": len(hours),
        "hours_with_gaps": sum(hour.uncovered_markets > 0 for hour in hours),
        "markets": max((hour.markets for hour in hours), default=0),
        "uncovered_markets": max((hour.uncovered_markets for hour in hours), default=0),
        "uncovered_seconds": sum(hour.uncovered_us for hour in hours) / 1_000_000,
        "gatherers": ", ".join(sorted({name for hour in hours for name in hour.gatherers.split(",") if name})),
        "gatherers_behind": ", ".join(sorted({hour.behind for hour in hours if hour.behind})),
    }
    return Verdict(findings, f"{len(hours)} hours were heard whole", figures)


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
