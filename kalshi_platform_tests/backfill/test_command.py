"""`kalshi-platform backfill` as a process: killed for real, stopped by hand, and paid for to the token."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform.tools.children import platform_command
from kalshi_platform_tests.backfill.past import DAY_MS, START_MS, make_past, rows_of
from kalshi_platform_tests.backfill.test_run import held
from kalshi_platform_tests.exchange.rest_at_hand import KEY_ID, AtHand, exchange_at_hand
from kalshi_platform_tests.queries import value

COMMAND = platform_command("backfill", "--all", "--json", "--start", "2026-09-04", "--end", "2026-11-01")
TRADES = 40_000


def settings(hand: AtHand, folder: Path, database: str) -> Mapping[str, str]:
    """The environment of the command."""
    return {
        **os.environ, "KALSHI_REST_URL": hand.simulator.rest_url, "KALSHI_API_KEY_ID": KEY_ID,
        "KALSHI_PRIVATE_KEY_PATH": str(folder / "key.pem"), "KALSHI_PRODUCTION_DATABASE_URL": database,
    }  # fmt: skip


async def start(environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    """The command at work."""
    return await asyncio.create_subprocess_exec(
        *COMMAND, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def until_rows(database: str, rows: int) -> None:
    """Wait until production holds so many trades."""
    async with asyncio.timeout(60):
        while await value(database, "SELECT count(*) FROM trades") < rows:
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_killed_and_stopped_it_goes_on(tmp_path: Path, production_database: str, interruptible: None) -> None:
    """Ctrl-C once and SIGKILL three times, then left alone: the tape's rows, each inserted once; nothing refused."""
    rest = RestOptions(tier="prestige", historical_cutoff_ms=START_MS + 25 * DAY_MS)
    async with exchange_at_hand(tmp_path, rest, start_ms=START_MS, recent_trades=10**6) as hand:
        make_past(hand.simulator, TRADES, days=50)
        environment = settings(hand, tmp_path, production_database)
        for number, kind in enumerate((signal.SIGINT, signal.SIGKILL, signal.SIGKILL, signal.SIGKILL), start=1):
            process = await start(environment)
            await until_rows(production_database, number * TRADES // 10)
            process.send_signal(kind)
            _, errors = await process.communicate()
            if kind == signal.SIGINT:
                assert process.returncode == 1
                assert b"the same command goes on where it was" in errors
                assert b"Traceback" not in errors
        process = await start(environment)
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        report = json.loads(output)
        assert (report["inserted"], report["gaps"], report["is_complete"]) == (TRADES, [], True)
        assert await held(production_database) == sorted(rows_of(hand.simulator))
        assert hand.measured.refused == 0


@pytest.mark.slow
async def test_the_basic_budget_is_not_overdrawn(tmp_path: Path, production_database: str) -> None:
    """Nothing is refused, and no more is asked than the bucket gives; that it is used up the benchmark shows."""
    async with exchange_at_hand(tmp_path, RestOptions(), start_ms=START_MS, recent_trades=10**6, markets=120) as hand:
        make_past(hand.simulator, 120, days=10, markets=120)
        names = [one for market in hand.simulator.exchange.catalogue.markets for one in ("--ticker", market)]
        process = await asyncio.create_subprocess_exec(
            *platform_command("backfill", "--json", "--start", "2026-09-04", "--end", "2026-10-01", *names),
            env=settings(hand, tmp_path, production_database), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        seconds = json.loads(output)["seconds"]
        allowed = (320 + 200 * seconds) / 10
        assert hand.measured.refused == 0
        assert 70 < hand.measured.granted <= allowed + 1
