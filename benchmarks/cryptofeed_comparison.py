"""Rows per CPU-second of client and database, against cryptofeed 2.4.1 on the same tape in the same run.

Ours writes a row with its identity key into a partitioned table, idempotently, and keeps sequence, provenance and the
book; cryptofeed writes JSON with a serial number. Both run in a process of their own, on the same server, in turn.
So many rows that neither's start counts.
Needs `pip install -e '.[benchmarks]'` and Linux. Run: python benchmarks/cryptofeed_comparison.py [DELTAS]
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import asyncpg
from measure import NEEDS_EXTRA, arguments
from postgres_cpu import server_cpu

from kalshi_platform.core.schema import Home
from kalshi_platform.database.migrations import migrate
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

try:
    from cryptofeed_client import TABLE
except ImportError:
    sys.exit(NEEDS_EXTRA)

MARKETS, ROUNDS, BUDGET = 1_000, 3, 6.0
HERE = Path(__file__).parent


def measured(client: str, port: int, server: EmbeddedPostgres, database: str, count: int) -> float:
    """Rows per CPU-second of one client and the server."""
    assert server.pid is not None
    before = server_cpu(server.pid)
    command = [
        sys.executable, "-W", "ignore", str(HERE / client), f"ws://127.0.0.1:{port}", server.url(database), str(count),
        str(MARKETS),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603 - ours
    if done.returncode:
        raise SystemExit(f"{client} failed:\n{done.stderr}")
    rows, client_cpu, elapsed = map(float, done.stdout.splitlines()[-1].split())
    database_cpu = server_cpu(server.pid) - before
    assert asyncio.run(kept(server.url(database))) == count == rows
    sys.stdout.write(
        f"  {client}: {rows / (client_cpu + database_cpu):,.0f} rows per CPU-second "
        f"(client {client_cpu / rows * 1e6:.1f} µs, database {database_cpu / rows * 1e6:.1f} µs a row), "
        f"{rows / elapsed:,.0f} rows/s\n"
    )
    return rows / (client_cpu + database_cpu)


async def kept(url: str) -> int:
    """Rows in whichever of the two tables is there."""
    connection = await asyncpg.connect(url)
    ours = await connection.fetchval("SELECT to_regclass('orderbook_deltas') IS NOT NULL")
    count = await connection.fetchval(f"SELECT count(*) FROM {'orderbook_deltas' if ours else 'book'}")  # noqa: S608
    await connection.close()
    return int(count)


async def make_book(url: str) -> None:
    """Cryptofeed's table, as its documentation has it."""
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    await connection.close()


def one_round(number: int, port: int, server: EmbeddedPostgres, count: int) -> float:
    """Both in turn, each on a fresh database."""
    server.create_database(f"ours_{number}")
    migrate(server.url(f"ours_{number}"), Home.GATHERER)
    server.create_database(f"theirs_{number}")
    asyncio.run(make_book(server.url(f"theirs_{number}")))
    ours = measured("gatherer_client.py", port, server, f"ours_{number}", count)
    return ours / measured("cryptofeed_client.py", port, server, f"theirs_{number}", count)


def main(count: int) -> bool:
    """Measure on an embedded server that syncs to disk."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "postgres") as server:
        tape = subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, str(HERE / "tape_server.py"), str(count), str(MARKETS)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert tape.stdout is not None
            port = int(tape.stdout.readline())
            ratios = [one_round(number, port, server, count) for number in range(ROUNDS)]
        finally:
            tape.kill()
            tape.wait()
            server.delete()
    result = median(ratios)
    verdict = "ok" if result >= BUDGET else "BELOW"
    spread = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
    sys.stdout.write(
        f"socket to committed row with its key: {result:.2f} x cryptofeed {spread}, budget {BUDGET}: {verdict}\n"
    )
    return result >= BUDGET


if __name__ == "__main__":
    sys.exit(not main(*arguments(__doc__, deltas=600_000)))
