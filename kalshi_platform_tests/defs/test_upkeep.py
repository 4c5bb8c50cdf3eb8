"""Retention after proof and the purge of Dagster's own history, run as Dagster runs them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, TICKERS
from kalshi_platform.database.export import read_window
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.partitions import HOUR
from kalshi_platform.defs.resources import OwnersDatabase, ProductionDatabase
from kalshi_platform.defs.schedules import SCHEDULES, daily_report_schedule, retention_schedule
from kalshi_platform.defs.upkeep import event_log_purge, retention
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.defs.dagster_at_hand import planned, said_by_a_run
from kalshi_platform_tests.queries import fetch

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.fixture
def owned(resources: dict[str, Any], production_database: str) -> dict[str, Any]:
    """The code location's resources, and the tables' owner."""
    return resources | {"owner": OwnersDatabase(url=production_database)}


def _figures(result: dg.ExecuteInProcessResult, op: str) -> dict[str, Any]:
    (output,) = (event for event in result.events_for_node(op) if event.is_successful_output)
    return {name: entry.value for name, entry in output.step_output_data.metadata.items()}


def test_retention_drops_what_is_due_and_proven(
    owned: dict[str, Any], instance: dg.DagsterInstance, production_database: str, lake: Lake, fill: Any, delta: Any,
    merged_until: Any, note: Any,
) -> None:  # fmt: skip
    """The same pass as `kalshi-platform maintain production`; with a file that lies, the run fails and nothing goes."""
    fill(ORDERBOOK_DELTAS, delta(0, exchange_ts=NOON), delta(0, exchange_ts=NOON, occurrence=1))
    asyncio.run(fetch(production_database, "UPDATE table_policies SET keep_days = 30"))
    merged_until(ORDERBOOK_DELTAS, datetime.now(UTC))
    dataset = RAW[ORDERBOOK_DELTAS.name]
    with read_window(production_database, ORDERBOOK_DELTAS, NOON, NOON + HOUR) as batches:
        rows = batches.read_all()
    write_partition(lake, dataset, NOON, rows.slice(1).to_batches())
    with pytest.raises(dg.Failure, match="holds 1 rows, production 2"):
        retention.execute_in_process(instance=instance, resources=owned)
    write_partition(lake, dataset, NOON, rows.to_batches())
    result = retention.execute_in_process(instance=instance, resources=owned)
    figures = _figures(result, "care_for_production")
    assert (figures["proven"], figures["rows_dropped"]) == (1, 2)


def test_finished_runs_that_are_old_are_deleted(instance: dg.DagsterInstance) -> None:
    """Events and all; younger ones stay, and an asset is known for what it was."""

    @dg.asset
    def thing() -> None:
        """Nothing."""

    old = [dg.materialize([thing], instance=instance).run_id for _ in range(3)]
    young = {"ops": {"purge_runs": {"config": {"keep_days": 30}}}}
    result = event_log_purge.execute_in_process(instance=instance, run_config=young)
    assert _figures(result, "purge_runs")["deleted"] == 0
    at_once = {"ops": {"purge_runs": {"config": {"keep_days": 0}}}}
    result = event_log_purge.execute_in_process(instance=instance, run_config=at_once)
    assert _figures(result, "purge_runs")["deleted"] == 4  # and the purge before
    assert not any(instance.has_run(run_id) for run_id in old)
    assert instance.has_run(result.run_id)


def test_a_run_that_never_came_to_its_blocking_check_stays(instance: dg.DagsterInstance) -> None:
    """Without the run Dagster takes the check for one that still runs, and nothing is made of the file any more."""
    check, partition = dg.AssetCheckKey(raw_key(TICKERS), "row_parity"), "2026-11-20-10:00"
    run_id = planned(instance, check, partition, dg.DagsterRunStatus.FAILURE)
    at_once = {"ops": {"purge_runs": {"config": {"keep_days": 0}}}}

    def purged() -> bool:
        assert event_log_purge.execute_in_process(instance=instance, run_config=at_once).success
        return not instance.has_run(run_id)

    assert not purged()
    said_by_a_run(
        instance,
        dg.AssetCheckEvaluation(
            asset_key=check.asset_key, check_name=check.name, passed=True, metadata={}, partition=partition
        ),
    )
    assert purged()


def test_schedules_ask_for_what_they_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The report is about yesterday; retention skips where nobody may drop, and all where there is no production."""
    monkeypatch.chdir(tmp_path)
    half_past_midnight = datetime(2026, 11, 21, 0, 25, tzinfo=UTC)
    production = ProductionDatabase(url="postgresql://reader@127.0.0.1/production")
    at_night = {"scheduled_execution_time": half_past_midnight}
    request = daily_report_schedule(dg.build_schedule_context(resources={"production": production}, **at_night))
    assert request.partition_key == "2026-11-20"
    monkeypatch.delenv("KALSHI_PRODUCTION_DATABASE_URL", raising=False)
    sync = next(one for one in SCHEDULES if one.name == "metadata_incremental")
    nowhere = sync(dg.build_schedule_context(resources={"production": ProductionDatabase()}))
    assert "KALSHI_PRODUCTION_DATABASE_URL is not set" in str(nowhere.skip_message)
    monkeypatch.delenv("KALSHI_OWNERS_DATABASE_URL", raising=False)
    skipped = retention_schedule(dg.build_schedule_context(resources={"owner": OwnersDatabase()}))
    assert "KALSHI_OWNERS_DATABASE_URL is not set" in str(skipped.skip_message)
    owner = OwnersDatabase(url="postgresql://owner@127.0.0.1/production")
    assert isinstance(retention_schedule(dg.build_schedule_context(resources={"owner": owner})), dg.RunRequest)


def test_no_sync_begins_beside_another(tmp_path: Path) -> None:
    """The first one walks over everything, for longer than the five minutes until the next is due.

    Only the archive's, which takes hours, does not keep what changes meanwhile from being known.
    """
    jobs = {job.name: job for job in build_defs().get_repository_def().get_all_jobs()}
    due = {schedule.name: schedule for schedule in SCHEDULES}
    production = ProductionDatabase(url="postgresql://reader@127.0.0.1/production")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def skips(name: str) -> bool:
            asked = due[name](dg.build_schedule_context(instance=instance, resources={"production": production}))
            return isinstance(asked, dg.SkipReason)

        assert not skips("metadata_incremental")
        for running, then in (
            ("metadata_incremental", (True, False)),
            ("metadata_full", (True, True)),
            ("metadata_archive", (False, True)),
        ):
            run = instance.create_run_for_job(jobs[running], status=dg.DagsterRunStatus.STARTED)
            assert (skips("metadata_incremental"), skips("metadata_full")) == then, running
            assert not skips("freshness")
            instance.report_run_failed(run)
            assert not skips("metadata_incremental")


def test_every_schedule_runs_by_itself() -> None:
    """An operator switches off, never on."""
    assert all(one.default_status is dg.DefaultScheduleStatus.RUNNING for one in SCHEDULES)
