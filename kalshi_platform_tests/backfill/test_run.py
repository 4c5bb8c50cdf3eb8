"""A backfill against a simulated exchange, into a real database."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kalshi_platform.backfill import BackfillReport, BackfillRequest, Progress, jobs, run_backfill, walk
from kalshi_platform.core.errors import ConfigurationError, ExchangeUnavailable
from kalshi_platform.database.errors import DatabaseUnreachableError
from kalshi_platform.database.roles import Role, create_login
from kalshi_platform.exchange.rest.objects import Trade
from kalshi_platform.exchange.rest.transport import patience
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.backfill.past import DAY_MS, ROWS, START_MS, make_past, rows_of
from kalshi_platform_tests.exchange.rest_at_hand import AtHand, exchange_at_hand
from kalshi_platform_tests.queries import fetch, value

START = datetime.fromtimestamp(START_MS / 1000, UTC)
FREE = RestOptions(default_cost=0, historical_cutoff_ms=START_MS + 25 * DAY_MS)
ALL = BackfillRequest(start=START, end=START + timedelta(days=60), all_markets=True)


@asynccontextmanager
async def a_past(folder: Path, trades: int = 3000, rest: RestOptions = FREE, **options: Any) -> AsyncIterator[AtHand]:
    """An exchange with so many trades of fifty days and four markets; half of them lie behind the cutoff."""
    async with exchange_at_hand(folder, rest, start_ms=START_MS, recent_trades=10**6, **options) as hand:
        make_past(hand.simulator, trades, days=50)
        yield hand


async def held(url: str) -> list[tuple[object, ...]]:
    """What production holds, times in milliseconds."""
    rows = [tuple(row) for row in await fetch(url, ROWS)]
    return sorted((round(one[0].timestamp() * 1000), *one[1:]) for one in rows)


def names(hand: AtHand) -> list[str]:
    """The markets that traded."""
    return [hand.simulator.exchange.catalogue.touch(place).ticker for place in range(4)]


async def break_off(hand: AtHand, url: str) -> None:
    """Cancel a run behind its third commit."""
    moves = 0

    def stop(progress: Progress) -> None:
        nonlocal moves
        moves += progress.stage == "fetching" and progress.trades > 0
        if moves == 3:
            running.cancel()

    running = asyncio.create_task(run_backfill(hand.client, url, ALL, stop))
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("by", ["all", "tickers", "series"])
async def test_everything_comes_once_from_both_sides(tmp_path: Path, production_database: str, by: str) -> None:
    """Whatever is asked for, the same rows; asked for again, nothing is new and hardly anything is asked."""
    async with a_past(tmp_path) as hand:
        series = {hand.simulator.exchange.catalogue.touch(place).listing.series_ticker for place in range(4)}
        chosen = {"all": ALL, "tickers": replace(ALL, all_markets=False, tickers=tuple(names(hand))),
                  "series": replace(ALL, all_markets=False, series=tuple(series))}[by]  # fmt: skip
        report = await run_backfill(hand.client, production_database, chosen)
        assert await held(production_database) == sorted(rows_of(hand.simulator))
        assert (report.inserted, report.gaps, report.conflicts, report.rejected) == (3000, (), 0, 0)
        assert (report.markets, report.unchecked, report.surplus) == (0 if by == "all" else 4, 0, 0)
        assert report.checked > 150
        assert report.first_at == min(row[0] for row in await fetch(production_database, ROWS))
        assert await value(production_database, "SELECT finished_at IS NOT NULL FROM backfill_jobs")
        chunks, asked = report.chunks, hand.asked
        again = await run_backfill(hand.client, production_database, chosen)
        assert (again.inserted, again.chunks, again.known) == (3000, chunks, report.known)
        assert hand.asked - asked < 8, "the candles and the listing of markets, no trades"


async def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, production_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled again and again in the middle of a walk, its chunks cut in pieces: the same rows, each counted once."""
    monkeypatch.setattr(walk, "LEAST_PAGES", 1)
    async with a_past(tmp_path, 20_000) as hand:
        for _ in range(3):
            await break_off(hand, production_database)
        assert 0 < await value(production_database, "SELECT count(*) FROM trades") < 20_000
        report = await run_backfill(hand.client, production_database, ALL)
        assert await held(production_database) == sorted(rows_of(hand.simulator))
        assert (report.inserted, report.gaps) == (20_000, ())
        assert report.known < 2_000, "a kill costs no more than what was under way"
        assert report.chunks > 3, "months were cut"


async def test_an_outage_is_waited_for(tmp_path: Path, production_database: str) -> None:
    """Waits double to a minute while nothing comes, and are short again when something does; patience has an end."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    async with a_past(tmp_path, 100) as hand:
        failures = hand.simulator.rest.gate.failures
        hand.client._transport._waits = patience(attempts=1)  # each failure reaches the backfill
        month = replace(ALL, end=START + timedelta(days=20))
        failures.update(dict.fromkeys(range(3, 11), 503))  # behind limits and costs
        report = await run_backfill(hand.client, production_database, month, sleep=wait)
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
        assert report.is_complete
        failures.update(dict.fromkeys(range(hand.asked + 1, hand.asked + 99), 503))
        with pytest.raises(ExchangeUnavailable):
            await run_backfill(hand.client, production_database, ALL, sleep=wait)
        failures.clear()
        assert (await run_backfill(hand.client, production_database, ALL)).inserted == 100 - report.inserted


async def test_a_day_of_which_something_is_missing_is_fetched_again(tmp_path: Path, production_database: str) -> None:
    """One trade gone from production: its market and day are named and fetched, nothing else is."""
    async with a_past(tmp_path) as hand:
        await run_backfill(hand.client, production_database, ALL)
        connection = await asyncpg.connect(production_database)
        await connection.execute(
            "DELETE FROM trades WHERE trade_id = (SELECT trade_id FROM trades LIMIT 1 OFFSET 1500)"
        )
        await connection.close()
        report = await run_backfill(hand.client, production_database, ALL)
        assert await held(production_database) == sorted(rows_of(hand.simulator))
        assert report.gaps == ()
        (queued,) = await fetch(production_database, "SELECT * FROM backfill_chunks WHERE ticker <> ''")
        assert (queued["inserted"], queued["attempts"], queued["expected"]) == (1, 1, None)


async def test_what_the_exchange_does_not_give_stays_a_gap(tmp_path: Path, production_database: str) -> None:
    """Candles know of a trade that no page brings: its day is in the report, and queued for the next run."""
    async with a_past(tmp_path) as hand:
        tape = hand.simulator.exchange.tape
        lost = next(entry for entry in tape.before(None) if entry.micros // 1000 < START_MS + 40 * DAY_MS)
        trades_between = hand.client.trades_between

        async def forgetful(*args: Any, **options: Any) -> AsyncGenerator[list[Trade], None]:
            async for page in trades_between(*args, **options):
                yield [trade for trade in page if trade.trade_id != lost.trade_id]

        hand.client.trades_between = forgetful  # type: ignore[method-assign]
        report = await run_backfill(hand.client, production_database, ALL)
        assert [(gap.ticker, gap.expected - gap.found) for gap in report.gaps] == [(lost.ticker, lost.trade.size)]
        assert not report.is_complete
        assert await value(production_database, "SELECT count(*) FROM backfill_chunks WHERE found < expected") == 1
        hand.client.trades_between = trades_between  # type: ignore[method-assign]
        healed = await run_backfill(hand.client, production_database, ALL)
        assert (healed.gaps, healed.inserted) == ((), 3000)


async def test_mistakes_are_said_plainly(tmp_path: Path, production_database: str) -> None:
    """Unknown names and ranges that are none."""
    with pytest.raises(ConfigurationError, match="turn them round"):
        replace(ALL, end=START - timedelta(days=1))
    with pytest.raises(ConfigurationError, match="choose one of the three"):
        replace(ALL, tickers=("A",))
    with pytest.raises(ConfigurationError, match="time zone"):
        replace(ALL, start=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake
    async with a_past(tmp_path, 10) as hand:
        for wrong in ({"tickers": ("KXNOBODY-1",)}, {"series": ("KXNOBODY",)}):
            with pytest.raises(ConfigurationError, match="KXNOBODY"):
                await run_backfill(hand.client, production_database, replace(ALL, all_markets=False, **wrong))  # type: ignore[arg-type]


async def test_a_range_that_is_not_over_is_gone_on_with(tmp_path: Path, production_database: str) -> None:
    """What is past by then, the rest when the same request comes again; before its start nothing is asked."""

    async def run(day: float) -> BackfillReport:
        moment = (START + timedelta(days=day)).timestamp()
        return await run_backfill(hand.client, production_database, ALL, now=lambda: moment)

    async with a_past(tmp_path) as hand:
        before = await run(-1)
        assert (before.chunks, before.inserted, hand.asked) == (0, 0, 0)
        entries = list(rows_of(hand.simulator))
        first = await run(20.5)
        assert first.inserted == sum(row[0] < START_MS + 20.5 * DAY_MS - 20_000 for row in entries)
        assert first.is_complete
        assert await value(production_database, "SELECT finished_at IS NULL FROM backfill_jobs")
        second = await run(70)
        assert (second.inserted, second.gaps) == (3000, ())
        assert second.known <= 1
        assert await value(production_database, "SELECT finished_at IS NOT NULL FROM backfill_jobs")


async def test_a_job_is_run_once_at_a_time_and_needs_few_rights(
    tmp_path: Path, production_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role that merges may backfill; while somebody runs the job, another one is told so."""
    monkeypatch.setattr(jobs, "_LOCK_PATIENCE", "SET lock_timeout = '100ms'")
    owner = await asyncpg.connect(production_database)
    await create_login(owner, "backfiller", "secret", Role.DEDUP)
    url = f"postgresql://backfiller:secret@{production_database.rpartition('@')[2]}"
    try:
        async with a_past(tmp_path, 500) as hand:
            async with jobs.open_job(production_database, ALL):
                with pytest.raises(ConfigurationError, match="is running already"):
                    await run_backfill(hand.client, url, ALL)
            assert (await run_backfill(hand.client, url, ALL)).inserted == 500
    finally:
        await owner.execute("DROP ROLE backfiller")
        await owner.close()


async def test_a_database_that_fails_meanwhile_may_recover(production_database: str) -> None:
    """It is no disagreement of the record: Dagster tries again what ends so."""

    async def interrupted() -> None:
        async with jobs.open_job(production_database, ALL) as job:
            other = await asyncpg.connect(production_database)
            await other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'kalshi-platform backfill'"
            )
            await other.close()
            await job.count_queued()

    with pytest.raises(DatabaseUnreachableError, match="goes on where it was"):
        await interrupted()


async def test_a_short_gap_costs_few_requests(tmp_path: Path, production_database: str) -> None:
    """Of all markets: pages of trades; no list of markets where no hour is whole, no archive where all is recent."""
    async with a_past(tmp_path, rest=replace(FREE, historical_cutoff_ms=START_MS)) as hand:
        gap = replace(ALL, start=START + timedelta(days=40, minutes=10), end=START + timedelta(days=40, minutes=50))
        report = await run_backfill(hand.client, production_database, gap)
        assert report.inserted == sum(
            gap.start.timestamp() <= row[0] / 1000 < gap.end.timestamp() for row in rows_of(hand.simulator)
        )
        assert hand.asked <= 4, "limits, costs, the cutoff and a page"
        asked = hand.asked
        hour = replace(gap, end=gap.end + timedelta(hours=1))
        assert (await run_backfill(hand.client, production_database, hour)).is_complete
        assert hand.asked - asked <= 5, "the cutoff twice, a page, one of markets, candles"
