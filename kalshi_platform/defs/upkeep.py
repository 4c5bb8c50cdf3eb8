"""Upkeep: retention after proof, and keeping Dagster's own history small.

- Add here: jobs that care for databases, ours and Dagster's.
- Keep out: how a partition is proven and dropped (`maintenance`), and when (`schedules`).
- Dagster never deletes an event by itself: at 32 events a run its log would grow by hundreds of MB a day.
- Dagster's word: jobs, https://docs.dagster.io/guides/build/jobs
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from kalshi_platform.defs.checks.all import SPECS
from kalshi_platform.defs.resources import LakeFolder, OwnersDatabase
from kalshi_platform.defs.steps import attempting, run_async
from kalshi_platform.maintenance.passes import lines, maintain_production
from kalshi_platform.service.settings import load_settings

_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_TOLD = 100


@dg.op(description="One pass of `kalshi-platform maintain production`: prove new files, drop what is proven and due.")
def care_for_production(context: dg.OpExecutionContext, owner: OwnersDatabase, lake: LakeFolder) -> None:
    """Says what was done, line by line; a proof that fails fails the run."""
    now = datetime.now(UTC)
    with attempting(context):
        report = run_async(maintain_production(owner.address(), lake.lake(), now, load_settings().silence_seconds))
    for line in lines(report):
        context.log.info(line)
    dropped = [verdict for verdict in report.verdicts if not verdict.kept_because]
    context.add_output_metadata(
        {
            "proven": len(report.proven),
            "not_proven": len(report.disputed),
            "dropped": ", ".join(verdict.name for verdict in dropped) or "nothing",
            "rows_dropped": sum(verdict.rows for verdict in dropped),
            "kept": len(report.verdicts) - len(dropped),
        }
    )
    if report.disputed:
        raise dg.Failure(f"not proven: {'; '.join(report.disputed[:10])}", allow_retries=False)


class PurgeConfig(dg.Config):
    """How long finished runs are kept with their events; the latest of each asset stays known without them."""

    keep_days: int = 30


@dg.op(description="Deletes finished runs, with their events, that are older than so many days.")
def purge_runs(context: dg.OpExecutionContext, config: PurgeConfig) -> None:
    """Oldest first; a run that has not ended stays, however old it is, and so does one whose checks are still owed."""
    before = datetime.now(UTC) - timedelta(days=config.keep_days)
    old = context.instance.get_run_ids(dg.RunsFilter(statuses=list(_FINISHED), created_before=before))
    owing = _owing(context.instance) if old else set()
    due = [run_id for run_id in reversed(old) if run_id not in owing]
    for deleted, run_id in enumerate(due, 1):
        context.instance.delete_run(run_id)
        if deleted % _TOLD == 0:
            context.log.info(f"{deleted:,} of {len(due):,} runs deleted")
    context.add_output_metadata({"deleted": len(due), "kept_since": before.isoformat()})


def _owing(instance: dg.DagsterInstance) -> set[str]:
    """Runs that planned the latest look of a blocking check at a partition, and never came to it.

    Once such a run is deleted, Dagster takes its check for one that still runs, and `layers` waits for it for ever.
    """
    blocking = [spec.key for spec in SPECS if spec.blocking]
    looks = instance.event_log_storage.get_asset_check_partition_info(blocking)
    planned = AssetCheckExecutionRecordStatus.PLANNED
    return {look.latest_planned_run_id for look in looks if look.latest_execution_status is planned}


@dg.job(
    name="retention",
    description="Proves new files of the lake, and drops partitions of production that are due and proven.",
    executor_def=dg.in_process_executor,
)
def retention() -> None:
    """One pass."""
    care_for_production()


@dg.job(
    name="event_log_purge",
    description="Keeps Dagster's own history small.",
    executor_def=dg.in_process_executor,
)
def event_log_purge() -> None:
    """Everything that is due."""
    purge_runs()


UPKEEP_JOBS = [retention, event_log_purge]
"""Care for databases."""
