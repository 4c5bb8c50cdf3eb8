"""The daily report: one page about one day's capture, in figures and pictures.

- Add here: gathering what the page shows.
- Keep out: how it looks (`report_page`, `pictures`).
- The page stands in the asset's metadata and as a file of its own in the lake, under `reports/date=…/report.html`.
- Dagster's word: assets, https://docs.dagster.io/guides/build/assets
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.defs.checks.all import SPECS
from kalshi_platform.defs.checks.coverage import CHANNELS
from kalshi_platform.defs.checks.history import between
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.metadata import OWNER
from kalshi_platform.defs.partitions import DAILY
from kalshi_platform.defs.report_page import CheckDay, Day, as_html, as_markdown
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.steps import attempting
from kalshi_platform.lake.day import busiest, reach, rows_by_hour
from kalshi_platform.lake.layout import Lake

_BUSIEST = 12
_GAPS = 12
_DAY = timedelta(days=1)
_AFTERWARDS = timedelta(hours=6)
"""Within which the day's last files were looked at."""


@dg.asset(
    key=["reports", "daily"],
    deps=[raw_key(table) for table in STREAM_TABLES],
    description="One page about one day: messages by table and hour, who listened when, what nobody heard, how "
    "much the gatherers had in common, the busiest markets, and what the checks said.",
    group_name="reports",
    owners=[OWNER],
    kinds={"html"},
    partitions_def=DAILY,
)
def daily_report(
    context: dg.AssetExecutionContext, production: ProductionDatabase, lake: LakeFolder
) -> dg.MaterializeResult[None]:
    """Gathers the day, writes the page, and shows it."""
    start = DAILY.time_window_for_partition_key(context.partition_key).start
    folder = lake.lake()
    path = f"{folder.root}/reports/date={start:%Y-%m-%d}/report.html"
    with attempting(context, context.partition_key):
        day = _gathered(start, production, folder, _checks(context.instance, start))
        page = as_html(day).encode()
        with folder.replacing(path) as file:
            file.write(page)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.md(as_markdown(day)),
            "path": dg.MetadataValue.path(path),
            "bytes": len(page),
            "messages": day.messages,
            "markets": day.markets,
            "uncovered_seconds": day.uncovered_seconds,
            "checks_failed": sum(check.failed > 0 for check in day.checks),
        }
    )


def _gathered(start: datetime, production: ProductionDatabase, lake: Lake, checks: list[CheckDay]) -> Day:
    end = min(start + _DAY, datetime.now(UTC))
    markets, liveliest = busiest(lake, start, _BUSIEST)
    gaps = {channel: production.uncovered(channel, start, end) for channel in CHANNELS.values()}
    hours = [hour for channel in CHANNELS.values() for hour in production.coverage(channel, start, end)[0]]
    return Day(
        start=start,
        end=end,
        known_until=min(end, reach(lake, start)),
        rows=rows_by_hour(lake, start),
        markets=markets,
        busiest=liveliest,
        listening={channel: production.listening(channel, start, end) for channel in CHANNELS.values()},
        gaps=[(channel, gap) for channel, found in gaps.items() for gap in found[:_GAPS]],
        uncovered_seconds=sum(hour.uncovered_us for hour in hours) / 1_000_000,
        uncovered_markets=max((hour.uncovered_markets for hour in hours), default=0),
        merged=production.merged(),
        checks=checks,
    )


def _checks(instance: dg.DagsterInstance, start: datetime) -> list[CheckDay]:
    """What each check said in the day, and in the hours after it in which its last files were looked at."""
    found: dict[str, CheckDay] = {}
    failing: dict[str, dict[str | None, str]] = {}
    for said in between(instance, SPECS, start, start + _DAY + _AFTERWARDS):
        name = said.asset_check_key.to_user_string()
        day = found.setdefault(name, CheckDay(name))
        day.passed += said.passed
        day.failed += not said.passed
        if not said.passed:
            day.last_failure = said.description or ""
            failing.setdefault(name, {})[said.partition] = day.last_failure
        elif failing.get(name):
            failing[name].pop(said.partition, None)
    for name, still in failing.items():  # a partition that fails is not hidden by another one that passes
        found[name].is_failing = bool(still)
        found[name].last_failure = "; ".join(still.values()) or found[name].last_failure
    return sorted(found.values(), key=lambda one: (-one.is_failing, -(one.failed > 0), one.name))


DAILY_REPORT = daily_report
"""The report of one day."""
