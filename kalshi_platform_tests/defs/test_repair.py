"""Repair of what nobody heard, against a simulated exchange over sockets."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.database.quality import Uncovered
from kalshi_platform.defs.partitions import HOUR
from kalshi_platform.defs.repair import repair, stretches
from kalshi_platform.defs.resources import CatalogueDatabase, Exchange
from kalshi_platform.simulator import Simulator
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.backfill.past import START_MS, make_past
from kalshi_platform_tests.exchange.rest_at_hand import AtHand, exchange_at_hand
from kalshi_platform_tests.queries import fetch, value

FREE = RestOptions(default_cost=0, cache_seconds=0)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def hand(tmp_path: Path, resources: dict[str, Any], production_database: str) -> AsyncIterator[AtHand]:
    """An exchange with a day of trades, which the code location asks."""
    async with exchange_at_hand(tmp_path, FREE, start_ms=START_MS, recent_trades=10**6) as at_hand:
        make_past(at_hand.simulator, 1000, days=1)
        resources["exchange"] = Exchange(rest_url=at_hand.simulator.rest_url)
        resources["catalogue"] = CatalogueDatabase(url=production_database)
        yield at_hand


def _run(channel: str, hour: datetime, resources: dict[str, Any], instance: dg.DagsterInstance) -> tuple[Any, str]:
    config = {"ops": {"repair_gaps": {"config": {"hour": hour.isoformat(), "channel": channel}}}}
    result = repair.execute_in_process(run_config=config, resources=resources, instance=instance)
    said = [event.event_specific_data.asset_observation for event in result.all_events if event.is_asset_observation]
    return result, said[0].description if said else ""


async def test_trades_that_nobody_heard_come_back(
    hand: AtHand, note: Any, resources: dict[str, Any], instance: dg.DagsterInstance, production_database: str
) -> None:
    """Those of exactly the interval, and of what clocks may differ; the day's file is asked for again."""
    start = datetime.fromtimestamp(START_MS / 1000, UTC) + 6 * HOUR
    end = start + timedelta(minutes=40)

    def run() -> tuple[Any, str]:
        note("uncovered_intervals", hour=start, channel="trade", ticker="", from_at=start, until_at=end)
        return _run("trade", start, resources, instance)

    result, said = await asyncio.to_thread(run)
    trades = {one.trade_id for one in hand.simulator.exchange.tape.before(None) if _within(one, start, end)}
    held = {str(row["trade_id"]) for row in await fetch(production_database, "SELECT trade_id FROM trades")}
    assert len(trades) > 10
    assert held == trades
    assert said.startswith(f"repaired: {len(trades)} trades that nobody heard were fetched over REST")
    assert said.endswith("nothing of this channel is lost")
    days = {
        event.partition for event in result.all_events
        if event.is_step_materialization and event.asset_key == dg.AssetKey(["production", "trades"])
    }  # fmt: skip
    assert days == {"2026-09-04"}


async def test_changes_of_books_do_not_come_back_and_that_is_said(
    hand: AtHand, note: Any, resources: dict[str, Any], instance: dg.DagsterInstance, production_database: str
) -> None:
    """Books are taken as they stand now; the interval stays where readers can see it, beside the hour's file too."""
    tickers = list(hand.simulator.exchange.catalogue.markets)[:2]
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)

    def run() -> tuple[Any, str]:
        for ticker in tickers:
            span = {"from_at": now - 60 * SECOND, "until_at": now - 30 * SECOND}
            note("uncovered_intervals", hour=hour, channel="orderbook_delta", ticker=ticker, **span)
        return _run("orderbook_delta", hour, resources, instance)

    result, said = await asyncio.to_thread(run)
    written_again = {
        (event.asset_key.path[-1], event.partition) for event in result.all_events if event.is_step_materialization
    }
    assert ("orderbook_deltas", f"{hour:%Y-%m-%d-%H:00}") in written_again
    assert "2 books were taken as they stand now" in said
    assert "Not repaired: changes of the books of 2 markets (60 s) are gone" in said
    rows = await fetch(production_database, "SELECT ticker, source, gatherer_id FROM orderbook_snapshots ORDER BY 1")
    assert [tuple(row) for row in rows] == [(ticker, "rest", "repair") for ticker in sorted(tickers)]
    assert len(await fetch(production_database, "SELECT FROM uncovered_intervals")) == 2


def test_a_cancelled_repair_stops_cleanly_and_the_next_one_goes_on(
    resources_over_rest: dict[str, Any],
    instance: dg.DagsterInstance,
    simulator: Simulator,
    note: Any,
    production_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cancelling is a signal, as in the UI; a run that was killed goes on in the same way, from what was committed."""
    make_past(simulator, trades=3_000, days=1)
    start = datetime.fromtimestamp(START_MS / 1000, UTC)
    note("uncovered_intervals", hour=start, channel="trade", ticker="", from_at=start, until_at=start + 23 * HOUR)

    def impatient(_: Any) -> Any:
        def told(step: Any) -> None:
            if step.inserted:
                (run,) = instance.get_runs()
                instance.report_run_canceling(run)  # what the button does before it sends the signal
                os.kill(os.getpid(), signal.SIGINT)

        return told

    config = {"ops": {"repair_gaps": {"config": {"hour": start.isoformat(), "channel": "trade"}}}}

    def run() -> dg.ExecuteInProcessResult:
        return repair.execute_in_process(
            run_config=config, resources=resources_over_rest, instance=instance, raise_on_error=False
        )

    count = "SELECT count(*) FROM trades"
    with monkeypatch.context() as patched:
        patched.setattr("kalshi_platform.defs.repair._teller", impatient)
        cancelled = run()
    assert not any(event.is_step_up_for_retry for event in cancelled.all_events)
    stopped = instance.get_run_by_id(cancelled.run_id)
    assert stopped is not None
    assert stopped.status is dg.DagsterRunStatus.CANCELED
    half = asyncio.run(value(production_database, count))
    assert 0 < half < 2_800
    assert run().success
    heard = {one.trade_id for one in simulator.exchange.tape.before(None) if _within(one, start, start + 23 * HOUR)}
    assert asyncio.run(value(production_database, count)) == len(heard)


def _within(one: Any, start: datetime, end: datetime) -> bool:
    first, last = (moment.timestamp() * 1_000_000 for moment in (start - 5 * SECOND, end + 6 * SECOND))
    return bool(first <= one.micros < last)


def test_ticker_updates_do_not_come_back(note: Any, resources: dict[str, Any], instance: dg.DagsterInstance) -> None:
    """Nothing is asked of anybody; it is only said."""
    resources |= {"exchange": Exchange(rest_url="http://127.0.0.1:1"), "catalogue": CatalogueDatabase(url="x")}
    note("uncovered_intervals", hour=NOON, channel="ticker", ticker="", from_at=NOON, until_at=NOON + 9 * SECOND)
    _, said = _run("ticker", NOON, resources, instance)
    assert said == "not repaired: ticker updates of every market (9 s) are gone; the next ones carry all values"


def test_an_hour_that_is_covered_by_now_needs_nothing(resources: dict[str, Any], instance: dg.DagsterInstance) -> None:
    """A gatherer came back between the request and the run."""
    resources |= {"exchange": Exchange(rest_url="http://127.0.0.1:1"), "catalogue": CatalogueDatabase(url="x")}
    result, said = _run("trade", NOON, resources, instance)
    assert result.success
    assert said == ""


def test_intervals_become_stretches_of_whole_seconds() -> None:
    """Those that touch are fetched once; many markets are asked for as all; clocks may differ by seconds."""

    def gap(start: float, end: float, ticker: str = "KXA") -> Uncovered:
        return Uncovered(NOON, ticker, NOON + start * SECOND, NOON + end * SECOND)

    found = stretches([gap(0.5, 10.2), gap(12, 20, "KXB"), gap(60, 61, "KXC"), gap(200, 201), gap(203, 204, "")])
    assert [((s.start - NOON) / SECOND, (s.end - NOON) / SECOND, sorted(s.tickers)) for s in found] == [
        (-5, 26, ["KXA", "KXB"]), (55, 67, ["KXC"]), (195, 210, []),
    ]  # fmt: skip
    (many,) = stretches([gap(0, 1, f"KX{number}") for number in range(201)])
    assert not many.tickers
    assert many.end - many.start < HOUR
