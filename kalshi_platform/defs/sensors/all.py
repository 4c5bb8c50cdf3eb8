"""All sensors.

- Add here: a new module's sensor.
- Keep out: sensors.
"""

import dagster as dg

from kalshi_platform.defs.sensors.closed_hours import closed_hours
from kalshi_platform.defs.sensors.failed_checks import check_failures
from kalshi_platform.defs.sensors.failed_runs import run_failures
from kalshi_platform.defs.sensors.gaps import uncovered_gaps
from kalshi_platform.defs.sensors.late_rows import late_rows
from kalshi_platform.defs.sensors.left_out import left_out
from kalshi_platform.defs.sensors.sync_lag import sync_lag
from kalshi_platform.defs.sensors.tried_again import tried_again

SENSORS: list[dg.SensorDefinition] = [
    closed_hours,
    late_rows,
    left_out,
    tried_again,
    sync_lag,
    uncovered_gaps,
    run_failures,
    check_failures,
    dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
    ),
]
"""Every sensor; `automation` evaluates the conditions that assets carry."""
