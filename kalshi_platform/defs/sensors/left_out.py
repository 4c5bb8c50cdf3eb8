"""Left out: what a failed run of several partitions did not make is asked for again, a run for each partition.

- Add here: which partitions a failed run leaves behind although nothing is wrong with them.
- Keep out: making them, telling of the failure (`failed_runs`), and what failed by itself (`tried_again`).
- Automation asks once: an hour that was in one run with a bad one would not be asked for again. Dagster knows no half
  of a step: where the export of one hour fails, or a blocking check refuses it, what follows is not made of any.
- Asked for here and not through automation: that takes a report made while it is starting or ending a run for handled.
- There is no loop: a run of one partition leaves nothing else behind, and which partitions failed by themselves is said
  by the step (`steps.FAILED`). Those that a check refused are tried once more, for rows that came meanwhile.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.defs.lake import RAW_ASSETS
from kalshi_platform.defs.layers import AGGREGATE_ASSETS, PROCESSED_ASSETS
from kalshi_platform.defs.steps import FAILED

CUT = {asset.key: asset.partitions_def for asset in (*RAW_ASSETS, *PROCESSED_ASSETS, *AGGREGATE_ASSETS)}
"""What is made in runs of several partitions, each of which stands for itself; a backfill's days are one job."""

_FIRST_LOOK = timedelta(days=1)
_OVERLAP = timedelta(minutes=1)
"""What clocks of two machines may differ; a run key asks for nothing twice."""

_START, _END, RETRIED = (
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
    "dagster/will_retry",
)


@dg.sensor(
    name="left_out",
    asset_selection=dg.AssetSelection.assets(*CUT),
    description="Asks for the partitions that a failed run of several left out, each in a run of its own.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def left_out(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Looks at runs that failed since the last look; the cursor holds when that was."""
    now = datetime.now(UTC)
    since = datetime.fromisoformat(context.cursor) if context.cursor else now - _FIRST_LOOK
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since - _OVERLAP)
    requests = [
        request
        for record in context.instance.get_run_records(failed, ascending=True)
        for request in _requests(context.instance, record)
    ]
    if not requests:
        context.update_cursor(now.isoformat())
        return dg.SkipReason("no run of several partitions failed and left some out since the last look")
    return dg.SensorResult(run_requests=requests, cursor=now.isoformat())


def _requests(instance: dg.DagsterInstance, record: dg.RunRecord) -> Iterator[dg.RunRequest]:
    run = record.dagster_run
    keys = partitions_of(run)
    if len(keys) < 2 or run.tags.get(RETRIED) == "true":
        return
    failed = named_by(instance, run.run_id, FAILED)
    for key in not_made(instance, run, keys, record.create_timestamp.timestamp()):
        if key not in failed:
            yield asked_again(run, key, f"{run.run_id} {key}")


def asked_again(run: dg.DagsterRun, key: str, run_key: str, **tags: str) -> dg.RunRequest:
    """One partition of a run in a run of its own, with the same checks."""
    checks = run.asset_check_selection
    return dg.RunRequest(
        run_key=run_key,
        partition_key=key,
        asset_selection=sorted(run.asset_selection or ()),
        asset_check_keys=None if checks is None else sorted(checks),
        tags={"dagster/priority": "-1", **tags},  # behind the hour that has just closed
    )


def partitions_of(run: dg.DagsterRun) -> Sequence[str]:
    """The partitions of a run over a range of what is made here; none of any other run."""
    cuts = {CUT.get(key) for key in run.asset_selection or ()}
    cut = cuts.pop() if len(cuts) == 1 else None
    if cut is None or _START not in run.tags:
        return []
    return cut.get_partition_keys_in_range(dg.PartitionKeyRange(run.tags[_START], run.tags[_END]))


def not_made(instance: dg.DagsterInstance, run: dg.DagsterRun, keys: Sequence[str], since: float) -> list[str]:
    """Partitions of which something that a run was to write was not written since a moment, in Unix seconds."""
    made = set(keys)
    for asset in run.asset_selection or ():
        wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=keys, after_timestamp=since)
        found = instance.fetch_materializations(wanted, limit=10 * len(keys)).records
        made &= {one.partition_key for one in found if one.partition_key}
    return [key for key in keys if key not in made]


def named_by(instance: dg.DagsterInstance, run_id: str, name: str) -> set[str]:
    """The partitions that the failures of a run's steps name in their metadata under a name."""
    named: set[str] = set()
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records:
        event = record.event_log_entry.dagster_event
        said = event.step_failure_data.user_failure_data if event else None
        if said and isinstance(value := said.metadata.get(name), dg.JsonMetadataValue):
            named.update(map(str, value.data))  # type: ignore[arg-type] # a list, from `each_partition`
    return named
