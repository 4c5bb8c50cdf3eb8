"""Failed runs: what fails is told to the people on call, once, and again when it works.

- Add here: which runs are worth an alert.
- Keep out: failed checks (`failed_checks`), trying again (`tried_again`), who is told and how (`service.alerts`).
- What fails every five minutes while the exchange is away is one incident: the cursor holds what fails, and a partition
  that is made, by whomever, or the next good run of a job ends it.
- Not Dagster's own run failure sensor: it has no memory, and goes on where nobody could be told.
- Dagster's word: sensors, https://docs.dagster.io/guides/automate/sensors
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from kalshi_platform.defs.repair import CHANNEL_TAG, HOUR_TAG
from kalshi_platform.defs.resources import Alerts
from kalshi_platform.defs.sensors.left_out import RETRIED, not_made, partitions_of
from kalshi_platform.defs.sensors.tried_again import TRIES, is_tried_again, number_of
from kalshi_platform.service.alerts import Alert, Level

_OVERLAP = timedelta(minutes=1)
"""What clocks of two machines may differ."""

_PARTS = (
    "dagster/partition",
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
    CHANNEL_TAG,
    HOUR_TAG,
)
"""Tags that say which part of an asset, or of a job's work, a run is of."""


@dg.sensor(
    name="run_failures",
    description="Writes a line for each failed run; alerts when something fails that worked before, when it is given "
    "up, and when it works again.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def run_failures(context: dg.SensorEvaluationContext, alerts: Alerts) -> dg.SkipReason:
    """Looks at runs that ended since the last look; the cursor holds when that was, and what fails since which run."""
    now = datetime.now(UTC)
    cursor: dict[str, Any] = json.loads(context.cursor or "{}")
    since = datetime.fromisoformat(cursor["since"]) if "since" in cursor else now
    failing: dict[str, str] = cursor.get("failing", {})
    ended = list(_failed(context.instance, since - _OVERLAP))
    for record in ended:
        if record.dagster_run.run_id not in cursor.get("seen", ()):
            _tell(context, alerts, record.dagster_run, failing)
    for name in list(_mended(context.instance, failing)):
        alerts.send(
            Alert(Level.RESOLVED, f"run/{name}", f"{name} works again", f"It failed in run {failing.pop(name)}.")
        )
    seen = [record.dagster_run.run_id for record in ended]
    context.update_cursor(json.dumps({"since": now.isoformat(), "failing": failing, "seen": seen}))
    return dg.SkipReason(f"failing: {'; '.join(failing) or 'nothing'}")


def _failed(instance: dg.DagsterInstance, since: datetime) -> Iterator[dg.RunRecord]:
    """Runs that ended badly; other things than its end change a run too."""
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    for record in instance.get_run_records(wanted, ascending=True):
        if _end_of(record) >= since.timestamp():
            yield record


def _end_of(record: dg.RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()


def _tell(context: dg.SensorEvaluationContext, alerts: Alerts, run: dg.DagsterRun, failing: dict[str, str]) -> None:
    name, reasons = _name(run), "; ".join(_reasons(context.instance, run))
    context.log.error(f"run {run.run_id} of {name} failed: {reasons}")
    is_given_up = number_of(run) == TRIES
    if name not in failing or is_given_up:
        title = f"{name} is given up after {TRIES} more tries" if is_given_up else f"run of {name} failed"
        text = f"{reasons}\nrun {run.run_id}\n{_next(context.instance, run)}"
        alerts.send(Alert(Level.ERROR, f"run/{name}", title, text))
    failing[name] = run.run_id


def _name(run: dg.DagsterRun) -> str:
    """What failed: a job or assets, and which part of it; the same however often it is tried."""
    what = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name
    part = [run.tags[tag] for tag in _PARTS if tag in run.tags]
    return f"{what} ({' to '.join(part)})" if part else what


def _reasons(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[str]:
    """The innermost error of each failed step, without its stack; else why the run ended."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    found = [one.event_log_entry for one in instance.get_records_for_run(run.run_id, of_type=kinds).records]
    steps = [one for one in found if one.dagster_event_type is dg.DagsterEventType.STEP_FAILURE]
    for one in steps or found[-1:]:
        event = one.dagster_event
        error = event.step_failure_data.error if event and steps else None
        while error is not None and error.cause is not None:
            error = error.cause
        yield f"{one.step_key}: {error.message.strip()}" if error else (event and event.message) or one.user_message


def _next(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What happens without a person, and what does not."""
    if run.tags.get(RETRIED) == "true":
        return "Its process died; Dagster starts it again."
    if is_tried_again(instance, run):
        return f"What was away is waited for: it is asked for again by itself, {TRIES} times within half a day."
    if not run.asset_selection:
        return "Its schedule or sensor asks for it again: see to the reason where it goes on failing."
    return "Nobody asks for it again: see to the reason, then materialize it on the asset's page."


def _mended(instance: dg.DagsterInstance, failing: Mapping[str, str]) -> Iterator[str]:
    """What works again; or is forgotten, because its run has left Dagster's history."""
    for name, run_id in failing.items():
        record = instance.get_run_record_by_id(run_id)
        if record is None or _works_again(instance, record):
            yield name


def _works_again(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    run, end = record.dagster_run, _end_of(record)
    if not run.asset_selection:
        tags = {name: run.tags[name] for name in _PARTS if name in run.tags}
        good = dg.RunsFilter(job_name=run.job_name, statuses=[dg.DagsterRunStatus.SUCCESS], tags=tags)
        newest = instance.get_run_records(good, limit=1)
        return bool(newest) and newest[0].create_timestamp > record.create_timestamp
    keys = [run.tags["dagster/partition"]] if "dagster/partition" in run.tags else partitions_of(run)
    if keys:
        return not not_made(instance, run, keys, end)
    assets = [dg.AssetRecordsFilter(asset_key=key, after_timestamp=end) for key in run.asset_selection or ()]
    return all(instance.fetch_materializations(one, limit=1).records for one in assets)
