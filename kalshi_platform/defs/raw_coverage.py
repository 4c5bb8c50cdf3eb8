"""What was heard of each day, kept in the lake, so that books are told, or refused, without production.

- Add here: files that say how complete others are.
- Keep out: reckoning coverage, which the deduplicator does, and judging it (`checks.coverage`).
- Today and yesterday are written every hour: an hour is reckoned after it is merged, and again when late rows came.
- Dagster's word: automation conditions, https://docs.dagster.io/guides/automate/declarative-automation
"""

from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from kalshi_platform.core.schema import COVERAGE_HOURS, ORDERBOOK_SNAPSHOTS, UNCOVERED_INTERVALS, Table
from kalshi_platform.defs.channels import CHANNEL_OF
from kalshi_platform.defs.day_assets import day_asset
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.partitions import window_of
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.lake.datasets import COVERAGE
from kalshi_platform.lake.writer import PartitionFacts, write_partition

_LAST_TWO_DAYS = timedelta(hours=48)
_TICK: Any = dg.AutomationCondition.cron_tick_passed("20 * * * *")  # typed for assets and checks at once
_EVERY_HOUR = (
    _TICK.since_last_handled()
    & dg.AutomationCondition.in_latest_time_window(_LAST_TWO_DAYS)
    & dg.AutomationCondition.any_deps_match(~dg.AutomationCondition.missing()).allow(
        dg.AssetSelection.assets(raw_key(ORDERBOOK_SNAPSHOTS))
    )
    & ~dg.AutomationCondition.in_progress()
)
"""Once an hour, of the last two days of which the lake has anything."""


def _written(table: Table, key: str, production: ProductionDatabase, folder: LakeFolder) -> PartitionFacts:
    dataset = COVERAGE[table.name]
    start, end = window_of(dataset, key)
    until = _reckoned_until(production, start, end)
    with production.read_hours(table, start, until) as batches:
        return write_partition(folder.lake(), dataset, start, batches, until)


def _reckoned_until(production: ProductionDatabase, start: datetime, end: datetime) -> datetime:
    """The first hour of which some channel is not reckoned; a day of which nothing is known is known up to nowhere."""
    found = [production.coverage(channel, start, end) for channel in sorted(set(CHANNEL_OF.values()))]
    if not any(known for known, _ in found):
        return start
    return min([end, *(hour for _, not_yet in found for hour in not_yet)])


COVERAGE_ASSETS = [
    day_asset(
        table,
        COVERAGE[table.name],
        f"{table.comment} One Parquet file a day; readers of the lake know by it what nobody can tell.",
        _EVERY_HOUR,
        _written,
        after=[raw_key(ORDERBOOK_SNAPSHOTS)],
    )
    for table in (COVERAGE_HOURS, UNCOVERED_INTERVALS)
]
"""Coverage of each day, and the intervals that nobody heard."""
