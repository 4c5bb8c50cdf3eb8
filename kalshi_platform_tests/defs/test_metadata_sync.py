"""The assets of metadata, run by Dagster against a simulated exchange and a real database."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.core.schema import MARKETS
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.metadata_sync import METADATA_ASSETS, METADATA_JOBS, last_sync
from kalshi_platform.defs.resources import CatalogueDatabase, Exchange
from kalshi_platform.defs.tables import production_key
from kalshi_platform.metadata.report import Mode
from kalshi_platform.simulator import Simulator, SimulatorOptions, running
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.queries import value


class SimulatorThread:
    """An exchange with a loop of its own, since Dagster's steps bring theirs."""

    def __init__(self) -> None:
        self.simulator: Simulator | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    async def _serve(self) -> None:
        options = SimulatorOptions(
            markets=25, rate=0.0, new_market_seconds=0.0, close_market_seconds=0.0, rest=RestOptions(cache_seconds=0)
        )
        async with running(options) as self.simulator:
            self._is_up.set()
            await self._stop.wait()

    def __enter__(self) -> Simulator:
        self._thread.start()
        assert self._is_up.wait(20)
        assert self.simulator is not None
        return self.simulator

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A quiet exchange with 25 markets."""
    with SimulatorThread() as exchange:
        yield exchange


@pytest.fixture
def given(resources: dict[str, Any], production_database: str, simulator: Simulator) -> dict[str, Any]:
    """The resources of the code location, the exchange among them."""
    return resources | {
        "catalogue": CatalogueDatabase(url=production_database), "exchange": Exchange(rest_url=simulator.rest_url)
    }  # fmt: skip


def run(job: str, given: dict[str, Any], instance: dg.DagsterInstance) -> dict[str, dict[str, Any]]:
    """Run a job as its schedule does; returns the metadata of each table."""
    result = build_defs(given).resolve_job_def(job).execute_in_process(instance=instance)
    assert result.success
    events = (event.step_materialization_data.materialization for event in result.get_asset_materialization_events())
    return {one.asset_key.path[-1]: {k: entry.value for k, entry in one.metadata.items()} for one in events}


def test_the_first_sync_is_full_and_the_next_asks_since_then(
    given: dict[str, Any], instance: dg.DagsterInstance, simulator: Simulator, production_database: str
) -> None:
    """Dagster's record of the last sync is the memory of an incremental one."""
    before = datetime.now(UTC)
    first = run("metadata_incremental", given, instance)
    assert {name: (of["mode"], of["dagster/row_count"], of["new"]) for name, of in first.items()} == {
        "series": ("full", 1, 1), "events": ("full", 5, 5), "markets": ("full", 25, 25),
    }  # fmt: skip
    since = last_sync(instance, production_key(MARKETS))
    assert since is not None
    assert before < since < datetime.now(UTC)
    market = simulator.exchange.catalogue.touch(0)
    market.status = Status.INACTIVE
    second = run("metadata_incremental", given, instance)
    assert (second["markets"]["mode"], second["markets"]["status_changes"]) == ("incremental", 1)
    status = value(production_database, "SELECT status FROM markets WHERE ticker = $1", market.ticker)
    assert asyncio.run(status) == "inactive"


@pytest.mark.parametrize("mode", list(Mode))
def test_there_is_a_job_for_each_mode(mode: Mode, given: dict[str, Any], instance: dg.DagsterInstance) -> None:
    """Schedules and people start them by name."""
    assert {job.name for job in METADATA_JOBS} == {f"metadata_{mode.value}" for mode in Mode}
    run(f"metadata_{mode.value}", given, instance)
    assert run(f"metadata_{mode.value}", given, instance)["events"]["mode"] == mode.value


def test_a_sync_that_fails_is_not_where_the_next_begins(
    given: dict[str, Any], instance: dg.DagsterInstance, simulator: Simulator
) -> None:
    """What the exchange refuses is not tried again, and leaves no mark."""
    gate = simulator.rest.gate
    gate.failures.update(dict.fromkeys(range(gate.requests + 1, gate.requests + 50), 403))
    result = dg.materialize(METADATA_ASSETS, resources=given, instance=instance, raise_on_error=False)
    assert not result.success
    assert last_sync(instance, production_key(MARKETS)) is None
    failure = result.all_events[[event.is_step_failure for event in result.all_events].index(True)]
    assert "403" in str(failure.step_failure_data.error)
