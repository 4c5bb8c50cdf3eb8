"""The asset of missed trades, run by Dagster against a simulated exchange with a past."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.core.schema import TRADES
from kalshi_platform.defs import backfills
from kalshi_platform.defs.backfills import BACKFILL_ASSETS, BACKFILL_KEY
from kalshi_platform.defs.tables import production_key
from kalshi_platform.simulator import Simulator
from kalshi_platform_tests.backfill.past import ROWS, START_MS, make_past, rows_of
from kalshi_platform_tests.queries import fetch, value

DAYS = {
    "dagster/asset_partition_range_start": "2026-09-04",
    "dagster/asset_partition_range_end": "2026-09-06",
}
Fetch = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def fetched(resources_over_rest: dict[str, Any], instance: dg.DagsterInstance) -> Fetch:
    """Runs the asset as a backfill of its page does."""

    def run(*, tags: dict[str, str] = DAYS, **config: Any) -> dg.ExecuteInProcessResult:
        given = {"ops": {"backfill__trade_backfill": {"config": config}}}
        return dg.materialize(
            BACKFILL_ASSETS, resources=resources_over_rest, instance=instance, tags=tags, run_config=given,
            raise_on_error=False,
        )  # fmt: skip

    return run


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str | None, dict[str, Any]]:
    """What was recorded of each day of the backfill."""
    events = (event.step_materialization_data.materialization for event in result.get_asset_materialization_events())
    return {
        one.partition: {name: entry.value for name, entry in one.metadata.items()}
        for one in events
        if one.asset_key == BACKFILL_KEY
    }


def missing(url: str, simulator: Simulator) -> int:
    """Trades of the exchange that production does not have."""
    rows = asyncio.run(fetch(url, ROWS))
    return len({row[1] for row in rows_of(simulator)} - {row["trade_id"] for row in rows})


def test_days_of_all_markets_come_with_their_completeness(
    fetched: Fetch, simulator: Simulator, production_database: str, instance: dg.DagsterInstance
) -> None:
    """Three days in one run, on both sides of the cutoff: every trade, its market, and its day to be exported."""
    make_past(simulator, trades=600, days=3)
    simulator.rest.state.cutoff_ms = START_MS + 86_400_000
    result = fetched()
    assert result.success
    facts = metadata_of(result)
    assert sorted(facts, key=str) == ["2026-09-04", "2026-09-05", "2026-09-06"]
    (told,) = {(of["dagster/row_count"], of["days_incomplete"], of["orphans"]) for of in facts.values()}
    assert told == (600, 0, 4)
    assert facts["2026-09-04"]["days_compared_with_candles"] == 12, "four markets, three days"
    assert "agree with the exchange's candles" in facts["2026-09-04"]["completeness"]
    assert missing(production_database, simulator) == 0
    orphans = "SELECT count(*) FROM trades WHERE ticker NOT IN (SELECT ticker FROM people.markets)"
    assert asyncio.run(value(production_database, orphans)) == 0
    assert instance.get_materialized_partitions(production_key(TRADES)) == set(facts)


def test_a_second_run_finds_nothing_new(fetched: Fetch, simulator: Simulator) -> None:
    """The same days with the same configuration are the same job."""
    make_past(simulator, trades=50, days=1)
    first, second = (metadata_of(fetched())["2026-09-04"] for _ in range(2))
    assert first["job_id"] == second["job_id"]
    assert (first["dagster/row_count"], second["dagster/row_count"]) == (50, 50), "of the job, over all its runs"


def test_a_wrong_configuration_is_said_and_not_tried_again(fetched: Fetch) -> None:
    """Series and tickers at once."""
    result = fetched(series=["KXA"], tickers=["KXB"])
    assert not result.success
    failures = [event for event in result.all_events if event.is_step_failure]
    assert "choose one of the three" in str(failures[0].step_failure_data.error)
    assert not any(event.is_step_up_for_retry for event in result.all_events)


def test_a_cancelled_run_stops_cleanly_and_the_next_goes_on(
    fetched: Fetch,
    simulator: Simulator,
    production_database: str,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cancelling is a signal, as in the UI; what was committed stays, what was not is fetched by the next run."""
    make_past(simulator, trades=3_000, days=3)
    teller = backfills._teller

    def impatient(context: Any) -> Callable[[Any], None]:
        tell = teller(context)

        def told(progress: Any) -> None:
            tell(progress)
            if progress.inserted and progress.stage == "fetching":
                instance.report_run_canceling(context.run)  # what the button does before it sends the signal
                os.kill(os.getpid(), signal.SIGINT)

        return told

    monkeypatch.setattr(backfills, "_teller", impatient)
    cancelled = fetched()
    assert not any(event.is_step_up_for_retry for event in cancelled.all_events)
    run = instance.get_run_by_id(cancelled.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
    left = missing(production_database, simulator)
    assert 0 < left < 3_000
    monkeypatch.setattr(backfills, "_teller", teller)
    assert fetched().success
    assert missing(production_database, simulator) == 0
