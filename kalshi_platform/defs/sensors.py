"""Sensors: when something is due, and who hears of failures.

- Add here: sensors that look at the outside for less than a second and speak when its state changed.
- Keep out: work, which belongs to runs, and streams, which belong to daemons.
- `closed_hours` reports hours of production as materialized; the assets' own conditions ask for runs then.
- Dagster's word: sensors, https://docs.dagster.io/guides/automate/sensors
"""

import json
from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.defs.partitions import HOUR, hours_closed, key_at
from kalshi_platform.defs.resources import ProductionDatabase
from kalshi_platform.defs.tables import production_key

_MOST_PER_TICK = 48
"""Hours of one table that one tick reports at most: two days of catching up every half minute."""


@dg.sensor(
    name="closed_hours",
    description="Reports each hour of production's stream tables once all gatherers have been merged beyond it.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def closed_hours(
    context: dg.SensorEvaluationContext, production: ProductionDatabase
) -> dg.SensorResult | dg.SkipReason:
    """Goes from the hour of a table's first row to its watermark; the cursor holds each table's next hour."""
    try:
        marks = production.watermark(STREAM_TABLES)
    except ConfigurationError as error:  # a fresh clone has no production yet, which is no failure
        return dg.SkipReason(str(error))
    cursor: dict[str, str] = json.loads(context.cursor or "{}")
    reports: list[dg.AssetMaterialization] = []
    for table in STREAM_TABLES:
        hours = _closed(table, marks[table.name], cursor.get(table.name), production)
        keys = dict.fromkeys(key_at(table, hour) for hour in hours)  # a day once, however many of its hours closed
        reports += [_report(table, key) for key in keys]
        if hours:
            cursor[table.name] = (hours[-1] + HOUR).isoformat()
    if not reports:
        return dg.SkipReason(f"no further hour has closed; watermarks: {_shown(marks)}")
    return dg.SensorResult(asset_events=reports, cursor=json.dumps(cursor))


def _closed(
    table: Table, mark: datetime | None, next_hour: str | None, production: ProductionDatabase
) -> list[datetime]:
    """The hours of a table that are complete and not reported yet, earliest first, a bounded number of them."""
    if mark is None:
        return []
    first = datetime.fromisoformat(next_hour) if next_hour else production.earliest(table)
    return [] if first is None else hours_closed(first, mark, _MOST_PER_TICK)


def _report(table: Table, partition_key: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        production_key(table), partition=partition_key, description="All gatherers merged, as far as hours closed."
    )


def _shown(marks: Mapping[str, datetime | None]) -> str:
    return ", ".join(f"{name} {mark.isoformat() if mark else 'unknown'}" for name, mark in marks.items())


@dg.run_failure_sensor(
    name="run_failures",
    description="Writes a line for each failed run, which whatever reads the logs can alert on.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def run_failures(context: dg.RunFailureSensorContext) -> None:
    """One line: which run, of what, why."""
    run = context.dagster_run
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    reasons = "; ".join(_reason(event) for event in context.get_step_failure_events())
    context.log.error(
        f"run {run.run_id} of {assets or run.job_name} failed: {reasons or context.failure_event.message}"
    )


def _reason(failure: dg.DagsterEvent) -> str:
    """The innermost error of a failed step, without its stack."""
    error = failure.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{failure.step_key}: {error.message.strip() if error else failure.message}"


SENSORS = [
    closed_hours,
    run_failures,
    dg.AutomationConditionSensorDefinition(
        "automation", target=dg.AssetSelection.all(), default_status=dg.DefaultSensorStatus.RUNNING
    ),
]
"""All sensors; `automation` evaluates the conditions that assets carry."""
