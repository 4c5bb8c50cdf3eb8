"""Closed hours: production's hours are reported as materialized; the assets' own conditions ask for runs then.

- Add here: what makes an hour closed.
- Keep out: hours that change after they closed (`late_rows`).
- An hour of changes is closed once its closing checkpoints are merged too: a replay of it ends with them.
"""

import json
from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, STREAM_TABLES, Table
from kalshi_platform.defs.partitions import HOUR, hours_closed, key_at
from kalshi_platform.defs.resources import ProductionDatabase
from kalshi_platform.defs.tables import production_key

_MOST_PER_TICK = 48
"""Hours of one table that one tick reports at most: two days of catching up every half minute."""


@dg.sensor(
    name="closed_hours",
    description="Reports each hour of production's stream tables once all gatherers have been merged beyond it.",
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def closed_hours(
    context: dg.SensorEvaluationContext, production: ProductionDatabase
) -> dg.SensorResult | dg.SkipReason:
    """Goes from the hour of a table's first row to its watermark; the cursor holds each table's next hour."""
    try:
        marks = _closed_until(production.watermark(STREAM_TABLES))
    except ConfigurationError as error:  # a fresh clone has no production yet, which is no failure
        return dg.SkipReason(str(error))
    cursor: dict[str, str] = json.loads(context.cursor or "{}")
    reports: list[dg.AssetMaterialization] = []
    for table in STREAM_TABLES:
        hours = _closed(table, marks[table.name], cursor.get(table.name), production)
        keys = dict.fromkeys(key_at(table, hour) for hour in hours)  # a day once, however many of its hours closed
        reports += [report(table, key) for key in keys]
        if hours:
            cursor[table.name] = (hours[-1] + HOUR).isoformat()
    if not reports:
        return dg.SkipReason(f"no further hour has closed; watermarks: {_shown(marks)}")
    return dg.SensorResult(asset_events=reports, cursor=json.dumps(cursor))


def _closed_until(marks: Mapping[str, datetime | None]) -> dict[str, datetime | None]:
    """The watermarks, that of changes no further than that of books where both are known."""
    known = [mark for table in (ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS) if (mark := marks[table.name]) is not None]
    changes = min(known) if marks[ORDERBOOK_DELTAS.name] is not None else None
    return {**marks, ORDERBOOK_DELTAS.name: changes}


def _closed(
    table: Table, mark: datetime | None, next_hour: str | None, production: ProductionDatabase
) -> list[datetime]:
    """The hours of a table that are complete and not reported yet, earliest first, a bounded number of them."""
    if mark is None:
        return []
    first = datetime.fromisoformat(next_hour) if next_hour else production.earliest(table)
    return [] if first is None else hours_closed(first, mark, _MOST_PER_TICK)


def report(table: Table, partition_key: str) -> dg.AssetMaterialization:
    """Says that a partition of production is there, or is there anew; whatever is made from it is made again."""
    return dg.AssetMaterialization(
        production_key(table), partition=partition_key, description="All gatherers merged, as far as hours closed."
    )


def _shown(marks: Mapping[str, datetime | None]) -> str:
    return ", ".join(f"{name} {mark.isoformat() if mark else 'unknown'}" for name, mark in marks.items())
