"""Uncovered gaps: what nobody heard asks for a repair run, once for each finding.

- Add here: which gaps are worth a run.
- Keep out: repairing (`repair`), and reckoning coverage, which the deduplicator does.
- The deduplicator reckons an hour again whenever something came later; only other intervals ask for another run.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.defs.repair import REPAIR, repair_request
from kalshi_platform.defs.resources import ProductionDatabase

_MOST = 20
"""Runs that one tick asks for; the rest follow in the next ones."""

_LOOKED_BACK = timedelta(days=7)


@dg.sensor(
    name="uncovered_gaps",
    job_name=REPAIR.name,
    description="Asks for a repair run for each hour and channel with intervals that no gatherer heard.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def uncovered_gaps(
    context: dg.SensorEvaluationContext, production: ProductionDatabase
) -> dg.SensorResult | dg.SkipReason:
    """Goes by when hours were reckoned; the cursor holds the last of those moments."""
    since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.now(UTC) - _LOOKED_BACK
    try:
        found = production.gap_hours(since, _MOST)
    except ConfigurationError as error:  # a fresh clone has no production yet, which is no failure
        return dg.SkipReason(str(error))
    if not found:
        return dg.SkipReason("no hour with uncovered intervals was reckoned since the last look")
    return dg.SensorResult(
        run_requests=[repair_request(hour) for hour in found], cursor=found[-1].computed_at.isoformat()
    )
