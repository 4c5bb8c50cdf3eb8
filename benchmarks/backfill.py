"""A million trades of the past from the simulator into production, whole, killed ten times, and at the Basic budget.

The exchange is a process of its own, half of its trades behind the historical cutoff; the backfill is the command that
people run, with its comparison with candles. Absolute by its budget: a million trades in two minutes at an unlimited
bucket (design.md §10). Killed ten times with SIGKILL the rows must be the same; at the Basic tier no request may be
refused, and the budget must be used.

Run: python benchmarks/backfill.py [TRADES]
"""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import asyncpg

from kalshi_platform.core.schema import Home
from kalshi_platform.database.migrations import migrate
from kalshi_platform.simulator import SimulatorOptions, running, write_key_pair
from kalshi_platform.simulator.rest.options import TIERS, RestOptions
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform_tests.backfill.past import DAY_MS, START_MS, make_past

TRADES = 1_000_000
BASIC_TRADES = 300_000
DAYS = 28.0
MARKETS = 20
KILLS = 10
BUDGET_SECONDS = 120.0
KEY_ID = "backfill"
COMMAND = [sys.executable, "-m", "kalshi_platform.cli", "backfill", "--all", "--json"]
RANGE = ["--start", "2026-09-04", "--end", "2026-10-04"]
DIGEST = """
SELECT count(*) AS rows, sum(hashtextextended(concat_ws('|', exchange_ts, trade_id, ticker, price, size, taker_side,
    is_block_trade), 0)::numeric) AS digest FROM trades
"""


def exchange(folder: Path, trades: int, cost: int, pipe: Connection) -> None:
    """An exchange with a past; says where it is, and when asked what its key spent."""

    async def serve() -> None:
        rest = RestOptions(default_cost=cost, historical_cutoff_ms=START_MS + round(DAYS / 2 * DAY_MS))
        options = SimulatorOptions(
            keys={KEY_ID: folder / "key.pub"}, rate=0.0, new_market_seconds=0.0, close_market_seconds=0.0,
            start_ms=START_MS, recent_trades=trades, rest=rest,
        )  # fmt: skip
        async with running(options) as simulator:
            make_past(simulator, trades, DAYS, MARKETS)
            pipe.send(simulator.rest_url)
            while await asyncio.to_thread(pipe.recv):
                measured = simulator.rest.gate.limits.buckets[KEY_ID]
                pipe.send((measured.granted, measured.refused))

    asyncio.run(serve())


class Exchange:
    """That process."""

    def __init__(self, folder: Path, trades: int, cost: int) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=exchange, args=(folder, trades, cost, theirs), daemon=True)
        self._process.start()
        self.rest_url: str = self._pipe.recv()

    def spent(self) -> tuple[int, int]:
        """Requests that were paid for, and those that were refused."""
        self._pipe.send("spent?")
        granted, refused = self._pipe.recv()
        return granted, refused

    def end(self) -> None:
        """Stop."""
        self._process.kill()
        self._process.join()


def environment(folder: Path, rest_url: str, database: str) -> dict[str, str]:
    """Settings of the command."""
    return {
        **os.environ, "KALSHI_REST_URL": rest_url, "KALSHI_API_KEY_ID": KEY_ID,
        "KALSHI_PRIVATE_KEY_PATH": str(folder / "key.pem"), "KALSHI_PRODUCTION_DATABASE_URL": database,
    }  # fmt: skip


def fetch_all(settings: dict[str, str]) -> tuple[dict[str, Any], float]:
    """The command's report, and how long it took, its start included."""
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - ours
        [*COMMAND, *RANGE], env=settings, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return json.loads(done.stdout), time.perf_counter() - started


def killed(settings: dict[str, str], database: str, trades: int) -> None:
    """Run the command and kill it, each time when some more trades are there."""
    for number in range(1, KILLS + 1):
        process = subprocess.Popen(  # noqa: S603 - ours
            [*COMMAND, *RANGE], env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while asyncio.run(ask(database, "SELECT count(*) FROM trades"))[0] < trades * number // (KILLS + 2):
            if process.poll() is not None:
                raise RuntimeError("it was over before it was killed")
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()


async def ask(database: str, query: str) -> asyncpg.Record:
    """One row."""
    connection = await asyncpg.connect(database)
    try:
        record = await connection.fetchrow(query)
        assert record is not None
        return record
    finally:
        await connection.close()


def new_database(server: EmbeddedPostgres, name: str) -> str:
    """A migrated production database."""
    server.create_database(name)
    migrate(server.url(name), Home.PRODUCTION)
    return server.url(name)


def main() -> int:
    """Run the three, print figures and verdicts."""
    trades = int(sys.argv[1]) if len(sys.argv) > 1 else TRADES
    verdicts: list[bool] = []

    def judge(text: str, *, is_good: bool) -> None:
        verdicts.append(is_good)
        sys.stdout.write(f"{text}: {'ok' if is_good else 'BELOW'}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory(prefix="kalshi-backfill-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        write_key_pair(folder / "key.pem", folder / "key.pub")
        with EmbeddedPostgres(folder / "postgres") as server:
            free = Exchange(folder, trades, 0)
            database = new_database(server, "whole")
            report, seconds = fetch_all(environment(folder, free.rest_url, database))
            wanted = asyncio.run(ask(database, DIGEST))
            is_whole = wanted["rows"] == report["inserted"] == trades and report["is_complete"]
            judge(f"{trades:,} trades in {seconds:.1f} s, {trades / seconds:,.0f}/s, all there and compared with "
                  f"{report['checked']:,} days of candles", is_good=is_whole and seconds < BUDGET_SECONDS)  # fmt: skip

            again = new_database(server, "killed")
            settings = environment(folder, free.rest_url, again)
            killed(settings, again, trades)
            report, _ = fetch_all(settings)
            is_same = asyncio.run(ask(again, DIGEST)) == wanted and report["inserted"] == trades
            judge(f"killed {KILLS} times: the same rows, {report['known']:,} fetched twice", is_good=is_same)
            free.end()

            few = min(trades, BASIC_TRADES)
            basic = Exchange(folder, few, 10)
            report, _ = fetch_all(environment(folder, basic.rest_url, new_database(server, "basic")))
            granted, refused = basic.spent()
            basic.end()
            rate, capacity = TIERS["basic"][:2]
            allowed = (capacity * 0.8 + rate * report["seconds"]) / 10
            judge(f"Basic tier: {few:,} trades, {granted} requests in {report['seconds']:.1f} s, {refused} refused, "
                  f"{granted / allowed:.0%} of what the bucket gives",
                  is_good=not refused and granted > 0.75 * allowed)  # fmt: skip
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
