"""Uncovered gaps: what nobody heard asks for a repair run, once for each finding.

- Add here: which gaps are worth a run.
- Keep out: repairing (`repair`), and reckoning coverage, which the deduplicator does.
- The deduplicator reckons an hour again whenever something came later; only other intervals ask for another run.
- A run that failed (the exchange was away, say) is asked for again after a while, until two days after the first one:
  each that is asked for again carries when that was.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.defs.repair import CHANNEL_TAG, HOUR_TAG, REPAIR, repair_request
from kalshi_platform.defs.resources import ProductionDatabase

_MOST = 20
"""Runs that one tick asks for; the rest follow in the next ones."""

_LOOKED_BACK = timedelta(days=7)
_TRIED_FOR = timedelta(days=2)
_FIRST_ASKED_TAG = "kalshi/first_asked"
_PAUSE = timedelta(minutes=30)
_RUNS = 500


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
    requests = [*map(repair_request, found), *_again(context.instance, datetime.now(UTC))]
    if not requests:
        return dg.SkipReason("no hour with uncovered intervals was reckoned since the last look")
    cursor = found[-1].computed_at.isoformat() if found else context.cursor
    return dg.SensorResult(run_requests=requests, cursor=cursor)


def _again(instance: dg.DagsterInstance, now: datetime) -> Iterator[dg.RunRequest]:
    """Hours and channels whose latest run failed some time ago; each failed run asks for one more."""
    latest: dict[tuple[str, str], dg.RunRecord] = {}
    wanted = dg.RunsFilter(job_name=REPAIR.name, created_after=now - _TRIED_FOR)
    for record in instance.get_run_records(wanted, limit=_RUNS):  # the newest come first
        tags = record.dagster_run.tags
        if HOUR_TAG in tags and CHANNEL_TAG in tags:  # not a person's
            latest.setdefault((tags[HOUR_TAG], tags[CHANNEL_TAG]), record)
    for (hour, channel), record in latest.items():
        run = record.dagster_run
        first = run.tags.get(_FIRST_ASKED_TAG) or record.create_timestamp.isoformat()
        is_over = datetime.fromisoformat(first) < now - _TRIED_FOR
        if run.status is dg.DagsterRunStatus.FAILURE and record.update_timestamp < now - _PAUSE and not is_over:
            yield dg.RunRequest(
                run_key=f"again {run.run_id}",
                run_config=run.run_config,
                tags={HOUR_TAG: hour, CHANNEL_TAG: channel, _FIRST_ASKED_TAG: first},
            )
