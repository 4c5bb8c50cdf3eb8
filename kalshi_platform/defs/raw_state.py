"""The state of series, events and markets, kept in the lake: one file a day, written anew every hour while it lasts.

- Add here: files that hold what a table of production says at a moment, and not what happened.
- Keep out: streams (`lake`), and asking the exchange (`metadata_sync`).
- Production keeps only the latest state, so a day that is over is not written again: its file is the only copy.
- Dagster's word: automation conditions, https://docs.dagster.io/guides/automate/declarative-automation
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import Table
from kalshi_platform.defs.day_assets import day_asset
from kalshi_platform.defs.partitions import window_of
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.tables import SYNCED_TABLES
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.writer import PartitionFacts, write_partition

_GRACE = timedelta(hours=1)
"""How long after its end a day may still be written: the last run of a day may have waited in the queue."""

_TICK: Any = dg.AutomationCondition.cron_tick_passed("55 * * * *")  # typed for assets alone, which `|` does not take
_NOT_YET = dg.AutomationCondition.missing() & ~dg.AutomationCondition.execution_failed()
_EVERY_HOUR_OF_TODAY = (
    dg.AutomationCondition.in_latest_time_window()
    & (_NOT_YET | _TICK.since_last_handled())
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.in_progress()
)


def _written(table: Table, key: str, production: ProductionDatabase, folder: LakeFolder) -> PartitionFacts:
    start, end = window_of(RAW[table.name], key)
    if not start <= datetime.now(UTC) < end + _GRACE:
        raise IntegrityError(f"production knows what {table.name} are now, not what they were: write today's alone")
    seen = production.last_seen(table) or start  # not the clock: the same state gives the same bytes
    with production.read_table(table) as batches:
        return write_partition(folder.lake(), RAW[table.name], start, batches, min(max(seen, start), end))


STATE_ASSETS = [
    day_asset(
        table,
        RAW[table.name],
        f"{table.comment} One Parquet file a day, with what was known at its end, or is by now.",
        _EVERY_HOUR_OF_TODAY,
        _written,
    )
    for table in SYNCED_TABLES
]
"""Series, events and markets as of each day."""
