"""Tried again: a partition that failed because something was away is asked for again, later and later, then given up.

- Add here: which failures pass by themselves, and how long they are waited for.
- Keep out: tries within a run, some seconds apart (`steps`), and runs whose process died, which Dagster starts again.
- Only what the step itself calls passing (`steps.PASSING`): damage, refusals and settings wait for a person.
- Of a run of several, one is asked for first; the others follow when it got through. Where it ended otherwise, damaged
  or cancelled or given up, the next one is asked for in its place, with as many tries behind it.
- Each run carries which try it is; a partition that was made meanwhile, or is being made, is left alone.
- Dagster's word: sensors, https://docs.dagster.io/guides/automate/sensors
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.defs.raw_coverage import COVERAGE_ASSETS
from kalshi_platform.defs.raw_state import STATE_ASSETS
from kalshi_platform.defs.report import DAILY_REPORT
from kalshi_platform.defs.sensors.left_out import CUT, RETRIED, asked_again, named_by, not_made
from kalshi_platform.defs.steps import PASSING

TRY_TAG = "kalshi/try"
"""Of a run that was asked for again: which try it is, from 1 on."""

TRIES = 6
_FIRST_PAUSE = timedelta(minutes=10)
"""Twice as long before each further try: the last one comes half a day after the first failure."""

_ASKED = frozenset({*CUT, DAILY_REPORT.key, *(asset.key for asset in (*STATE_ASSETS, *COVERAGE_ASSETS))})
"""What this asks for; a person's run of something beside them, a backfill say, is that person's."""

_LOOKED_BACK = timedelta(days=1)
"""Longer than all tries together take: what is behind one that was given up is then asked for."""


@dg.sensor(
    name="tried_again",
    asset_selection=dg.AssetSelection.assets(*_ASKED),
    description="Asks again for partitions that failed because a database, a disk or the exchange was away: after ten "
    f"minutes, then after twice as long each time, {TRIES} times.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def tried_again(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Looks at the failed runs of a day; a run key asks for nothing twice."""
    now = datetime.now(UTC)
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - _LOOKED_BACK)
    requests = [
        request
        for record in context.instance.get_run_records(failed)
        for request in _requests(context.instance, record, now)
    ]
    if not requests:
        return dg.SkipReason("nothing that failed because something was away is due again")
    return dg.SensorResult(run_requests=requests)


def is_tried_again(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a failed run, or a part of it, is going to be asked for again."""
    return number_of(run) < TRIES and bool(_passing(instance, run))


def number_of(run: dg.DagsterRun) -> int:
    """Which try a run is; 0 where it is the first one."""
    return int(run.tags.get(TRY_TAG, "0"))


def _requests(instance: dg.DagsterInstance, record: dg.RunRecord, now: datetime) -> Iterator[dg.RunRequest]:
    run = record.dagster_run
    number = number_of(run)
    if number >= TRIES or record.update_timestamp > now - _FIRST_PAUSE * 2**number:
        return
    keys = sorted(_passing(instance, run))
    if not keys:
        return
    left = not_made(instance, run, keys, record.create_timestamp.timestamp())
    for key in left:
        tried = _newest_try(instance, record, key)
        if tried is None:
            yield asked_again(run, key, f"again {run.run_id} {key}", **{TRY_TAG: str(number + 1)})
        if len(left) < len(keys):
            continue  # one got through: so may all
        if tried is None or _is_open(instance, tried):
            return
        number = max(number, number_of(tried) - 1)


def _passing(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[str]:
    """The partitions of a failed run that may be made once what was away is back."""
    return named_by(instance, run.run_id, PASSING) if _ASKED.issuperset(run.asset_selection or ()) else set()


def _newest_try(instance: dg.DagsterInstance, record: dg.RunRecord, key: str) -> dg.DagsterRun | None:
    """What somebody has tried last since, or is about to."""
    newer = dg.RunsFilter(tags={"dagster/partition": key}, created_after=record.create_timestamp)
    runs = (one.dagster_run for one in instance.get_run_records(newer))  # the newest first
    return next((run for run in runs if _is_same(run, record.dagster_run)), None)


def _is_open(instance: dg.DagsterInstance, tried: dg.DagsterRun) -> bool:
    """Whether a try has not ended yet, or is followed by another."""
    return not tried.is_finished or tried.tags.get(RETRIED) == "true" or is_tried_again(instance, tried)


def _is_same(one: dg.DagsterRun, other: dg.DagsterRun) -> bool:
    return bool(set(one.asset_selection or ()) & set(other.asset_selection or ()))
