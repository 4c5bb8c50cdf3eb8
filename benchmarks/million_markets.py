"""One gatherer with every book of 1,000,000 simulated markets over 150 connections: memory, and how soon it follows.

The budget is design §10's: 2.5 GiB, a new listing subscribed in under 5 s, a settled market left. Everything is a
process of its own, as in production; the figures come from /metrics, the gatherer's database and the kernel. It takes
several minutes and about 6 GB. Run: python benchmarks/million_markets.py [MARKETS] [CONNECTIONS]
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import asyncpg
import httpx
from measure import arguments

from kalshi_platform.core.schema import Home
from kalshi_platform.database.migrations import migrate
from kalshi_platform.simulator import write_key_pair
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform.tools.scrape import Reading, scrape

MOST_GIB, MOST_SECONDS = 2.5, 5.0
GATHERER_PORT = 19_090
PATIENCE = 1_800.0


@contextmanager
def process(*command: str, log: Path, **environment: str) -> Iterator[int]:
    """A process while the block runs; its pid."""
    with log.open("w") as output:
        child = subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-m", "kalshi_platform.cli", *command], env={**os.environ, **environment},
            stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield child.pid
        finally:
            child.terminate()
            child.wait(60)


def memory_gib(pid: int) -> tuple[float, float]:
    """Resident memory of a process: now, and at its highest."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, peak = (int(fields[name].split()[0]) / 2**20 for name in ("VmRSS", "VmHWM"))
    return now, peak


def wait(what: str, done: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """Wait for a condition; how long it took."""
    start = time.monotonic()
    while not done():
        if time.monotonic() - start > seconds:
            raise SystemExit(f"gave up after {seconds:.0f} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - start


def asked(url: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """Rows of the gatherer's database."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    return asyncio.run(ask())


def followed(url: str) -> int:
    """Markets whose book has come and is heard."""
    sql = "SELECT count(*) FROM capture_sessions WHERE channel = 'orderbook_delta' AND ended_at IS NULL"
    return int(asked(url, sql)[0][0])


def delays(url: str, rest: str, since: datetime) -> list[float]:
    """Seconds from a listing's creation, as the exchange dates it, to its first book; of those listed since only."""
    rows = asked(
        url,
        "SELECT ticker, started_at FROM capture_sessions WHERE channel = 'orderbook_delta' AND started_at > $1",
        since,
    )
    found = []
    for ticker, started in rows:
        market = httpx.get(f"{rest}/markets/{ticker}").json()["market"]
        created = datetime.fromisoformat(market["created_time"])
        if created >= since:  # the last of the first walk come now too
            found.append((started - created).total_seconds())
    return found


def main(markets: int, connections: int) -> bool:
    """Measure on an embedded server."""
    books = connections - 6
    with tempfile.TemporaryDirectory() as name, EmbeddedPostgres(Path(name) / "postgres") as server:
        folder = Path(name)
        write_key_pair(folder / "key.pem", folder / "key.pub")
        server.create_database("gatherer")
        url = server.url("gatherer")
        migrate(url, Home.GATHERER)
        ready = folder / "ready"
        simulate = (
            "simulate", "--port", "0", "--markets", str(markets), "--rate", "200", "--key", f"k={folder / 'key.pub'}",
            "--ready-file", str(ready), "--new-market-seconds", "2", "--close-market-seconds", "2",
        )  # fmt: skip
        with process(*simulate, log=folder / "simulator.log"):
            wait("the simulator answers", ready.exists, 60)
            port = ready.read_text().split()[0].rpartition(":")[2]
            settings = {
                "KALSHI_REST_URL": f"http://127.0.0.1:{port}/trade-api/v2",
                "KALSHI_WS_URL": f"ws://127.0.0.1:{port}/trade-api/ws/v2",
                "KALSHI_API_KEY_ID": "k",
                "KALSHI_PRIVATE_KEY_PATH": str(folder / "key.pem"),
                "KALSHI_GATHERER_DATABASE_URL": url,
                "KALSHI_ORDERBOOK_CONNECTIONS": str(books),
                "KALSHI_MARKETS_PER_CONNECTION": str(max(7_500, markets // books * 3 // 2)),
                "KALSHI_METRICS_PORT": str(GATHERER_PORT),
                "KALSHI_SPOOL_DIRECTORY": str(folder / "spool"),
            }
            with process("gather", log=folder / "gatherer.log", **settings) as pid:
                return judged(url, settings["KALSHI_REST_URL"], pid, markets, connections)


def judged(url: str, rest: str, pid: int, markets: int, connections: int) -> bool:
    """Wait until every book is there, then for listings and settlements; tell and judge."""
    with httpx.Client(timeout=30) as client:

        def reading() -> Reading:
            return scrape(client, GATHERER_PORT)

        start = time.monotonic()
        wait("the first market", lambda: reading().total("kalshi_gatherer_markets_active") > 0)
        listed = wait(
            "every market listed", lambda: reading().total("kalshi_gatherer_markets_active") >= markets * 0.999
        )
        sys.stdout.write(f"{markets:,} markets listed after {listed:.0f} s; {memory_gib(pid)[0]:.2f} GiB\n")
        wait("every book", lambda: followed(url) >= markets * 0.999)
        now, peak = memory_gib(pid)
        opened = reading().total("kalshi_gatherer_websocket_connections", state="open")
        sys.stdout.write(
            f"{followed(url):,} books kept over {opened:.0f} connections after {time.monotonic() - start:.0f} s; "
            f"{now:.2f} GiB, {peak:.2f} GiB at the highest\n"
        )
        drained = wait(
            "the flood of first books to be written", lambda: reading().total("kalshi_gatherer_queued_rows") < 1_000
        )
        sys.stdout.write(f"the flood of first books was written {drained:.0f} s later\n")
        before = asked(url, "SELECT now()")[0][0]
        left = "SELECT count(*) FROM capture_sessions WHERE ended_by = 'unsubscribed' AND ended_at > $1"
        wait("five listings", lambda: len(delays(url, rest, before)) >= 5, 120)
        wait("five settlements", lambda: asked(url, left, before)[0][0] >= 5, 300)
    waited = delays(url, rest, before)
    sys.stdout.write(
        f"{len(waited)} new listings heard, the slowest {max(waited):.2f} s after its creation; "
        f"{asked(url, left, before)[0][0]} settled markets left\n"
    )
    is_good = peak <= MOST_GIB and max(waited) < MOST_SECONDS and opened == connections
    sys.stdout.write(f"{'within' if is_good else 'OVER'} the budget of {MOST_GIB} GiB and {MOST_SECONDS} s\n")
    return is_good


if __name__ == "__main__":
    sys.exit(not main(*arguments(__doc__, markets=1_000_000, connections=150)))
