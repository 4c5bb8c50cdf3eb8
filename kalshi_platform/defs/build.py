"""Assembly: one `Definitions` of everything in this room.

- Add here: a new module's list, once it has one.
- Keep out: definitions themselves, and reading the environment.
- Tests call `build_defs` with resources of their own.
- Dagster's word: code locations, https://docs.dagster.io/deployment/code-locations
"""

from collections.abc import Mapping

import dagster as dg

from kalshi_platform.defs.backfills import BACKFILL_ASSETS
from kalshi_platform.defs.channels import EXCHANGE_SOURCES, GATHERER_TABLES
from kalshi_platform.defs.checks.all import CHECKS
from kalshi_platform.defs.lake import RAW_ASSETS
from kalshi_platform.defs.layers import AGGREGATE_ASSETS, PROCESSED_ASSETS
from kalshi_platform.defs.metadata_sync import METADATA_ASSETS, METADATA_JOBS
from kalshi_platform.defs.raw_coverage import COVERAGE_ASSETS
from kalshi_platform.defs.raw_state import STATE_ASSETS
from kalshi_platform.defs.repair import REPAIR
from kalshi_platform.defs.report import DAILY_REPORT
from kalshi_platform.defs.resources import default_resources
from kalshi_platform.defs.schedules import SCHEDULED_JOBS, SCHEDULES
from kalshi_platform.defs.sensors.all import SENSORS
from kalshi_platform.defs.tables import PRODUCTION_TABLES
from kalshi_platform.defs.upkeep import UPKEEP_JOBS


def build_defs(resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """A fresh code location; resources given here take the place of the default ones of that name.

    Steps run in the process of their run: a process for each would cost more than the step (211 s against 81 s for
    six hours, ecosystem.md part 1 section 3).
    """
    return dg.Definitions(
        assets=[
            *BACKFILL_ASSETS,
            *EXCHANGE_SOURCES,
            *GATHERER_TABLES,
            *PRODUCTION_TABLES,
            *METADATA_ASSETS,
            *RAW_ASSETS,
            *STATE_ASSETS,
            *COVERAGE_ASSETS,
            *PROCESSED_ASSETS,
            *AGGREGATE_ASSETS,
            DAILY_REPORT,
        ],
        jobs=[*METADATA_JOBS, *SCHEDULED_JOBS, *UPKEEP_JOBS, REPAIR],
        asset_checks=CHECKS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={**default_resources(), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )
