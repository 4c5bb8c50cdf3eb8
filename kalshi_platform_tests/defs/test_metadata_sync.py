"""The assets of metadata, run by Dagster against a simulated exchange and a real database."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.core.schema import MARKETS
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.metadata_sync import METADATA_ASSETS, METADATA_JOBS, last_sync
from kalshi_platform.defs.tables import production_key
from kalshi_platform.metadata.report import Mode
from kalshi_platform.simulator import Simulator
from kalshi_platform.simulator.market import Status
from kalshi_platform_tests.queries import value


def run(job: str, given: dict[str, Any], instance: dg.DagsterInstance) -> dict[str, dict[str, Any]]:
    """Run a job as its schedule does; returns the metadata of each table."""
    result = build_defs(given).resolve_job_def(job).execute_in_process(instance=instance)
    assert result.success
    events = (event.step_materialization_data.materialization for event in result.get_asset_materialization_events())
    return {one.asset_key.path[-1]: {k: entry.value for k, entry in one.metadata.items()} for one in events}


def test_the_first_sync_is_full_and_the_next_asks_since_then(
    resources_over_rest: dict[str, Any], instance: dg.DagsterInstance, simulator: Simulator, production_database: str
) -> None:
    """Dagster's record of the last sync is the memory of an incremental one."""
    before = datetime.now(UTC)
    first = run("metadata_incremental", resources_over_rest, instance)
    assert {name: (of["mode"], of["dagster/row_count"], of["new"]) for name, of in first.items()} == {
        "series": ("full", 1, 1), "events": ("full", 5, 5), "markets": ("full", 25, 25),
    }  # fmt: skip
    since = last_sync(instance, production_key(MARKETS))
    assert since is not None
    assert before < since < datetime.now(UTC)
    market = simulator.exchange.catalogue.touch(0)
    market.status = Status.INACTIVE
    second = run("metadata_incremental", resources_over_rest, instance)
    assert (second["markets"]["mode"], second["markets"]["status_changes"]) == ("incremental", 1)
    status = value(production_database, "SELECT status FROM markets WHERE ticker = $1", market.ticker)
    assert asyncio.run(status) == "inactive"


@pytest.mark.parametrize("mode", list(Mode))
def test_there_is_a_job_for_each_mode(
    mode: Mode, resources_over_rest: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    """Schedules and people start them by name."""
    assert {job.name for job in METADATA_JOBS} == {f"metadata_{mode.value}" for mode in Mode}
    run(f"metadata_{mode.value}", resources_over_rest, instance)
    assert run(f"metadata_{mode.value}", resources_over_rest, instance)["events"]["mode"] == mode.value


def test_a_sync_that_fails_is_not_where_the_next_begins(
    resources_over_rest: dict[str, Any], instance: dg.DagsterInstance, simulator: Simulator
) -> None:
    """What the exchange refuses is not tried again, and leaves no mark."""
    gate = simulator.rest.gate
    gate.failures.update(dict.fromkeys(range(gate.requests + 1, gate.requests + 50), 403))
    result = dg.materialize(METADATA_ASSETS, resources=resources_over_rest, instance=instance, raise_on_error=False)
    assert not result.success
    assert last_sync(instance, production_key(MARKETS)) is None
    failure = result.all_events[[event.is_step_failure for event in result.all_events].index(True)]
    assert "403" in str(failure.step_failure_data.error)
