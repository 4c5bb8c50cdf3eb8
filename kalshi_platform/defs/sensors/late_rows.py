"""Late rows: what was merged into a partition after its file was written is reported, and the file is written again.

- Add here: how late rows are noticed.
- Keep out: exporting.
- A gatherer that was away brings its rows whenever it comes back. Production's counts are held against the files',
  the newest partitions first, then the others of KALSHI_LATE_ROWS_DAYS in turn, some seconds a tick.
- Counts are enough: a row of a stream is never changed or replaced (another version of it is refused, into
  `merge_conflicts`), and rows go by whole partitions only, after which nobody asks for their file again.
- Each table has its share of a tick, so that one with busy hours leaves time for those behind it.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError, IntegrityError
from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.defs.partitions import key_at
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.sensors.closed_hours import report
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.service.settings import load_settings

_DAY = timedelta(days=1)
_BUDGET_SECONDS = 4.0
"""Of a tick, for each table; counting a busy hour takes a second."""


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
    folder = lake.lake()
    try:
        for table in STREAM_TABLES:
            deadline = monotonic() + _BUDGET_SECONDS
            for start in _in_turn(table, turns):
                if monotonic() > deadline:
                    break
                key = key_at(table, start)
                name = f"{table.name} {key}"
                rows = _rows_if_late(table, start, production, folder)
                if rows is None:
                    said.pop(name, None)
                elif said.get(name) != rows:
                    said[name] = rows
                    reports.append(report(table, key))
    except ConfigurationError as error:  # a fresh clone has no production yet, which is no failure
        return dg.SkipReason(str(error))
    most = len(STREAM_TABLES) * 24 * load_settings().late_rows_days  # more than are looked at
    after = json.dumps({"turns": turns, "said": dict(list(said.items())[-most:])})
    if not reports:
        context.update_cursor(after)
        return dg.SkipReason("no file that was looked at lacks rows that were not reported yet")
    context.log.info(f"late rows in {', '.join(f'{one.asset_key.path[-1]} {one.partition}' for one in reports)}")
    return dg.SensorResult(asset_events=reports, cursor=after)


def _in_turn(table: Table, turns: dict[str, int]) -> Iterator[datetime]:
    """Starts of partitions: the two newest, then the others, from where the last tick left off."""
    period = RAW[table.name].period
    newest = period.floor(datetime.now(UTC))
    yield newest
    yield newest - period.value
    others = range(2, max(3, load_settings().late_rows_days * _DAY // period.value))
    begin = turns.get(table.name, 0)
    for step in range(len(others)):
        yield newest - others[(begin + step) % len(others)] * period.value
        turns[table.name] = (begin + step + 1) % len(others)  # not before it was looked at


def _rows_if_late(table: Table, start: datetime, production: ProductionDatabase, lake: Lake) -> int | None:
    """How many rows production has of a file's window, if those are more than the file has; fewer were dropped.

    A file that cannot be read has none: it is written again, and keeps nobody from looking at those behind it.
    """
    dataset = RAW[table.name]
    try:
        footer = read_footer(lake, dataset, start)
    except IntegrityError:
        return production.count_window(table, start, dataset.end(start)) or None
    if footer is None:
        return None
    rows = production.count_window(table, footer.window_start, footer.window_end)
    return rows if rows > footer.source_rows else None
