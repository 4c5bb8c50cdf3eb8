"""Late rows: what was merged into a partition after its file was written is reported, and the file is written again.

- Add here: how late rows are noticed.
- Keep out: exporting.
- A gatherer that was away brings its rows whenever it comes back. Production's counts are held against the files',
  the newest partitions first, then the others of two days (a week, for files of a day) in turn, some seconds a tick.
"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.defs.partitions import key_at
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.sensors.closed_hours import report
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake

_LOOKED_BACK = {Period.HOUR: 48, Period.DAY: 7}
_BUDGET_SECONDS = 15.0
"""Of a tick; counting a busy hour takes a second."""


@dg.sensor(
    name="late_rows",
    description="Reports a partition again when production has more rows of it than its file, which is then rewritten.",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def late_rows(
    context: dg.SensorEvaluationContext, production: ProductionDatabase, lake: LakeFolder
) -> dg.SensorResult | dg.SkipReason:
    """Counts what fits into a tick; the cursor holds where the next one goes on, and what was reported."""
    cursor: dict[str, dict[str, int]] = json.loads(context.cursor or "{}")
    turns, said = cursor.get("turns", {}), cursor.get("said", {})
    reports: list[dg.AssetMaterialization] = []
    still_said: dict[str, int] = {}
    deadline = time.monotonic() + _BUDGET_SECONDS
    try:
        for table in STREAM_TABLES:
            for start in _in_turn(table, turns):
                if time.monotonic() > deadline:
                    break
                name = f"{table.name} {key_at(table, start)}"
                rows = _rows_if_late(table, start, production, lake.lake())
                if rows is not None:
                    still_said[name] = rows
                    if said.get(name) != rows:
                        reports.append(report(table, key_at(table, start)))
    except ConfigurationError as error:  # a fresh clone has no production yet, which is no failure
        return dg.SkipReason(str(error))
    after = json.dumps({"turns": turns, "said": said | still_said if reports else still_said or said})
    if not reports:
        context.update_cursor(after)
        return dg.SkipReason("every file that was looked at has all of its rows")
    context.log.info(f"late rows in {', '.join(name for name in still_said if said.get(name) != still_said[name])}")
    return dg.SensorResult(asset_events=reports, cursor=after)


def _in_turn(table: Table, turns: dict[str, int]) -> Iterator[datetime]:
    """Starts of partitions: the two newest, then the others, from where the last tick left off."""
    period = RAW[table.name].period
    newest = period.floor(datetime.now(UTC))
    yield newest
    yield newest - period.value
    others = range(2, _LOOKED_BACK[period])
    begin = turns.get(table.name, 0)
    for step in range(len(others)):
        turns[table.name] = (begin + step + 1) % len(others)
        yield newest - others[(begin + step) % len(others)] * period.value


def _rows_if_late(table: Table, start: datetime, production: ProductionDatabase, lake: Lake) -> int | None:
    """How many rows production has of a file's window, if those are more than the file has; fewer were dropped."""
    footer = read_footer(lake, RAW[table.name], start)
    if footer is None:
        return None
    rows = production.count_window(table, footer.window_start, footer.window_end)
    return rows if rows > footer.source_rows else None
