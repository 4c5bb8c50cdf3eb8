"""A million trades of the past from the simulator into production, whole, killed ten times, and at the Basic budget.

The exchange is a process of its own, half of its trades behind the historical cutoff; the backfill is the command that
people run, with its comparison with candles. What must be in production is the exchange's own tape, put into a table
beside it. Absolute by its budget: a million trades in two minutes at an unlimited bucket (design.md §10). Killed ten
times with SIGKILL the rows must be the tape's; at the Basic tier no request may be refused, and of what the bucket
gives between the first commit and the last tenth of the trades at least 97 % must be used.

Basic is twenty thousand trades a second: a busy machine does not get there, and `--cost 30` asks for a third of it.

Run: python benchmarks/backfill.py [--trades 1000000] [--only whole|killed|basic] [--cost 10]
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import asyncpg

from kalshi_platform.core.schema import Home
from kalshi_platform.database.migrations import migrate
from kalshi_platform.simulator import SimulatorOptions, running, write_key_pair
from kalshi_platform.simulator.rest.options import TIERS, RestOptions
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform_tests.backfill.past import DAY_MS, START_MS, make_past, rows_of

TRADES = 1_000_000
DAYS = 28.0
MARKETS = 20
KILLS = 10
BUDGET_SECONDS = 120.0
LEAST_SHARE = 0.97
KEY_ID = "backfill"
COMMAND = [sys.executable, "-m", "kalshi_platform.cli", "backfill", "--all", "--json"]
RANGE = ["--start", "2026-09-04", "--end", "2026-10-04"]
TAPE = """
CREATE TABLE tape (exchange_ts double precision, trade_id uuid, ticker text, price int, size bigint, taker_side bool,
    is_block_trade bool)
"""
INSERTED = "SELECT coalesce(sum(inserted), 0)::int FROM backfill_chunks"
DIFFERENT = """
SELECT (SELECT count(*) FROM trades) AS rows, (SELECT count(*) FROM (
    SELECT exchange_ts, trade_id, ticker, price, size, taker_side, is_block_trade FROM trades EXCEPT ALL TABLE tape
) AS one) AS more, (SELECT count(*) FROM (
    TABLE tape EXCEPT ALL SELECT exchange_ts, trade_id, ticker, price, size, taker_side, is_block_trade FROM trades
) AS one) AS fewer
"""


def exchange(folder: Path, trades: int, cost: int, pipe: Connection) -> None:
    """An exchange with a past; writes down its tape, says where it is, and when asked what its key spent."""

    async def serve() -> None:
        rest = RestOptions(default_cost=cost, historical_cutoff_ms=START_MS + round(DAYS / 2 * DAY_MS))
        options = SimulatorOptions(
            keys={KEY_ID: folder / "key.pub"}, rate=0.0, new_market_seconds=0.0, close_market_seconds=0.0,
            start_ms=START_MS, recent_trades=trades, rest=rest,
        )  # fmt: skip
        async with running(options) as simulator:
            make_past(simulator, trades, DAYS, MARKETS)
            with (folder / "tape.csv").open("w") as tape:
                for at_ms, *rest_of in rows_of(simulator):
                    tape.write(f"{at_ms // 1000}.{at_ms % 1000:03d},{','.join(map(str, rest_of))}\n")
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


class Course:
    """One of the three: an exchange, a database, and the command between them.

    Args:
        folder: Where keys and tapes are.
        server: Where its database is made.
        name: The database's.
        trades: How many there are.
        cost: Tokens that a request takes; 0 is an unlimited bucket.
    """

    def __init__(self, folder: Path, server: EmbeddedPostgres, name: str, trades: int, cost: int) -> None:
        self.trades, self.cost = trades, cost
        self.exchange = Exchange(folder, trades, cost)
        server.create_database(name)
        self.database = server.url(name)
        migrate(self.database, Home.PRODUCTION)
        asyncio.run(put_tape(self.database, folder / "tape.csv"))
        self._settings = {
            **os.environ, "KALSHI_REST_URL": self.exchange.rest_url, "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(folder / "key.pem"), "KALSHI_PRODUCTION_DATABASE_URL": self.database,
        }  # fmt: skip

    def begin(self) -> "subprocess.Popen[bytes]":
        """The command."""
        return subprocess.Popen(  # noqa: S603 - ours
            [*COMMAND, *RANGE], env=self._settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def watch(self, process: "subprocess.Popen[bytes]", until: Callable[[int], bool]) -> bool:
        """Look on until there are so many rows, or the command is over; says whether there are."""
        while process.poll() is None:
            if until(rows := asyncio.run(ask(self.database, INSERTED))[0]):
                return True
            show(f"{rows:,} of {self.trades:,} trades")
            time.sleep(0.25)
        return False

    def finish(self, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
        """The command's report.

        Raises:
            RuntimeError: It failed.
        """
        self.watch(process, lambda _: False)
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the backfill ended with {process.returncode}: {output.decode()}")
        report: dict[str, Any] = json.loads(output)
        return report

    def has_the_tape(self, report: dict[str, Any]) -> bool:
        """Whether production holds what the exchange's tape has, each trade once, and the report says so."""
        found = asyncio.run(ask(self.database, DIFFERENT))
        is_told = report["inserted"] == self.trades and report["is_complete"]
        return tuple(found) == (self.trades, 0, 0) and is_told


@contextmanager
def course(folder: Path, server: EmbeddedPostgres, name: str, trades: int, cost: int) -> Iterator[Course]:
    """One, ended in order."""
    show(f"{name}: making {trades:,} trades")
    one = Course(folder, server, name, trades, cost)
    try:
        yield one
    finally:
        one.exchange.end()


def whole(one: Course) -> tuple[str, bool]:
    """All at once, as fast as it goes."""
    started = time.perf_counter()
    report = one.finish(one.begin())
    seconds = time.perf_counter() - started
    said = (
        f"{one.trades:,} trades in {seconds:.1f} s, {one.trades / seconds:,.0f}/s, all there and compared with "
        f"{report['checked']:,} days of candles"
    )
    return said, one.has_the_tape(report) and seconds < BUDGET_SECONDS


def killed(one: Course) -> tuple[str, bool]:
    """Killed ten times, each time when some more trades are there.

    Raises:
        RuntimeError: It was over before it was killed.
    """
    started = time.perf_counter()
    for number in range(1, KILLS + 1):
        process = one.begin()
        share = one.trades * number // (KILLS + 1)
        if not one.watch(process, lambda rows, share=share: rows >= share):  # type: ignore[misc]
            raise RuntimeError("it was over before it was killed")
        process.send_signal(signal.SIGKILL)
        process.wait()
    report = one.finish(one.begin())
    seconds = time.perf_counter() - started
    said = f"killed {KILLS} times: the same rows, {report['known']:,} fetched twice, {seconds:.0f} s in all"
    return said, one.has_the_tape(report)


def basic(one: Course) -> tuple[str, bool]:
    """At the Basic tier's bucket."""
    rate, capacity = (tokens / one.cost for tokens in TIERS["basic"][:2])
    process = one.begin()
    one.watch(process, lambda rows: rows > 0)
    first, began = one.exchange.spent()[0], time.perf_counter()
    one.watch(process, lambda rows: rows >= 0.9 * one.trades)
    steady, seconds = one.exchange.spent()[0] - first, time.perf_counter() - began
    report = one.finish(process)
    granted, refused = one.exchange.spent()
    share, over_all = steady / (rate * seconds), granted / (capacity * 0.8 + rate * report["seconds"])
    said = (
        f"Basic tier: {one.trades:,} trades, {granted} requests in {report['seconds']:.1f} s, {refused} refused; of "
        f"the bucket {share:.1%} over the {seconds:.0f} s between, {over_all:.1%} from start to end"
    )
    return said, one.has_the_tape(report) and not refused and share > LEAST_SHARE


async def put_tape(database: str, file: Path) -> None:
    """The exchange's tape as a table."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(TAPE)
        await connection.copy_to_table("tape", source=file, format="csv")
        await connection.execute("ALTER TABLE tape ALTER exchange_ts TYPE timestamptz USING to_timestamp(exchange_ts)")
    finally:
        await connection.close()


async def ask(database: str, query: str) -> asyncpg.Record:
    """One row."""
    connection = await asyncpg.connect(database)
    try:
        record = await connection.fetchrow(query)
        assert record is not None
        return record
    finally:
        await connection.close()


def show(text: str) -> None:
    """How far it is, on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<78}")
        sys.stderr.flush()


def main() -> int:
    """Run what is asked for, print figures and verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=TRADES, help="how many there are")
    parser.add_argument("--only", choices=("whole", "killed", "basic"), help="one of the three")
    parser.add_argument("--cost", type=int, default=10, help="tokens that a request takes at the Basic tier")
    chosen = parser.parse_args()
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="kalshi-backfill-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        write_key_pair(folder / "key.pem", folder / "key.pub")
        with EmbeddedPostgres(folder / "postgres") as server:
            for run, cost in ((whole, 0), (killed, 0), (basic, chosen.cost)):
                if chosen.only not in (None, run.__name__):
                    continue
                with course(folder, server, run.__name__, chosen.trades, cost) as one:
                    said, is_good = run(one)
                show("")
                sys.stdout.write(f"\r{said}: {'ok' if is_good else 'BELOW'}\n")
                sys.stdout.flush()
                verdicts.append(is_good)
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
