"""Schedules: what is due by the clock rather than by the record.

- Add here: when a job runs.
- Keep out: jobs, and whatever follows from data (`sensors`, and conditions of assets).
- Times are UTC, and apart from each other, so that nightly work does not queue for the same databases.
- Dagster's word: schedules, https://docs.dagster.io/guides/automate/schedules
"""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.defs.checks.freshness import LAKE_FRESHNESS, PRODUCTION_FRESHNESS
from kalshi_platform.defs.partitions import DAILY
from kalshi_platform.defs.report import DAILY_REPORT
from kalshi_platform.defs.resources import OwnersDatabase, ProductionDatabase
from kalshi_platform.defs.upkeep import event_log_purge, retention

FRESHNESS = dg.define_asset_job(
    "freshness",
    selection=dg.AssetSelection.checks(*PRODUCTION_FRESHNESS, *LAKE_FRESHNESS),
    description="Whether production and the lake are up to date.",
)
"""The checks of freshness, which no export runs while nothing is exported."""

_FULL, _ARCHIVE = "metadata_full", "metadata_archive"
"""Jobs that take minutes and hours, of the same tables: a second one would only spend the exchange's budget twice. What
changes during hours is to be known all the same: two syncs may write beside each other, the newer fact wins."""

_UNFINISHED = [
    status for status in dg.DagsterRunStatus
    if status not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
]  # fmt: skip

REPORT = dg.define_asset_job(
    "daily_report",
    selection=dg.AssetSelection.assets(DAILY_REPORT),
    description="One page about one day.",
)
"""The report of one day."""


def _where_set(database: ProductionDatabase | OwnersDatabase, request: dg.RunRequest) -> dg.RunRequest | dg.SkipReason:
    """The request, or in plain words why there is none: nobody has said where the database is."""
    try:
        database.address()
    except ConfigurationError as error:
        return dg.SkipReason(str(error))
    return request


@dg.schedule(
    name="retention",
    job=retention,
    cron_schedule="20 3 * * *",
    description="Every night, where KALSHI_OWNERS_DATABASE_URL says as whom; else `kalshi-platform maintain` does it.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def retention_schedule(owner: OwnersDatabase) -> dg.RunRequest | dg.SkipReason:
    """Due every night; skipped in plain words where nobody may drop."""
    return _where_set(owner, dg.RunRequest())


@dg.schedule(
    name="daily_report",
    job=REPORT,
    cron_schedule="25 0 * * *",
    description="The page about yesterday, once its last hour is exported.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_report_schedule(
    context: dg.ScheduleEvaluationContext, production: ProductionDatabase
) -> dg.RunRequest | dg.SkipReason:
    """Yesterday's partition."""
    yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
    wanted = dg.RunRequest(partition_key=yesterday.strftime(DAILY.fmt), asset_selection=[DAILY_REPORT.key])
    return _where_set(production, wanted)


def _every(name: str, cron: str, description: str, beside: Sequence[str] = ()) -> dg.ScheduleDefinition:
    """A schedule of the job of that name, skipped in plain words without production, or while such a job still runs.

    Args:
        name: Of the schedule and of the job.
        cron: When it is due.
        description: What it does.
        beside: Other jobs that it does not run beside.
    """

    @dg.schedule(
        name=name,
        job_name=name,
        cron_schedule=cron,
        description=description,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def due(context: dg.ScheduleEvaluationContext, production: ProductionDatabase) -> dg.RunRequest | dg.SkipReason:
        """Due at each tick."""
        asked = _where_set(production, dg.RunRequest())
        for job in (name, *beside) if isinstance(asked, dg.RunRequest) else ():
            if context.instance.get_run_records(dg.RunsFilter(job_name=job, statuses=_UNFINISHED), limit=1):
                return dg.SkipReason(f"{job} has not ended yet: the next tick asks again")
        return asked

    return due


SCHEDULED_JOBS = [FRESHNESS, REPORT]
"""Jobs that are here for their schedules alone."""

SCHEDULES = [
    _every("metadata_incremental", "*/5 * * * *", "What changed of series, events and markets.", [_FULL]),
    _every(_FULL, "40 4 * * *", "All that the exchange lists of series, events and markets.", [_ARCHIVE]),
    _every("freshness", "*/15 * * * *", "Checks of freshness."),
    retention_schedule,
    dg.ScheduleDefinition(
        name="event_log_purge",
        job=event_log_purge,
        cron_schedule="50 3 * * *",
        description="Deletes runs older than a month from Dagster's own history.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    ),
    daily_report_schedule,
]
"""Every schedule."""
