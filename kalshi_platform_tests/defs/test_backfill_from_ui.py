"""A backfill as a person starts it on an asset's page: GraphQL to a real webserver, daemon, runs in their processes.

`KALSHI_TEST_BACKFILL_HOURS=72` makes it the size of a long weekend.
"""

import asyncio
import os
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import dagster as dg
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.defs.lake import RAW_ASSETS, raw_key
from kalshi_platform.defs.partitions import key_at
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform_tests.defs.dagster_at_hand import dagster_dev

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

HOURS = int(os.environ.get("KALSHI_TEST_BACKFILL_HOURS", "6"))
ROWS = int(os.environ.get("KALSHI_TEST_BACKFILL_ROWS", "20000"))
DELTAS = RAW["orderbook_deltas"]
FIRST = datetime(2026, 11, 10, 21, tzinfo=UTC)
STARTS = [FIRST + n * timedelta(hours=1) for n in range(HOURS)]
KEYS = [key_at(DELTAS, start) for start in STARTS]
DELTAS_PATH = raw_key(ORDERBOOK_DELTAS).path

_ROWS = """
INSERT INTO orderbook_deltas
    (exchange_ts, ticker, side, price, size_delta, occurrence, position, seq, received_at)
SELECT $1::timestamptz + n * interval '100 milliseconds', 'KX' || n % 97, n % 2 = 0, (n % 99 + 1) * 10000,
       n % 500 + 1, 0, 0, n,
       $1::timestamptz + n * interval '100 milliseconds'
FROM generate_series(0, $2::int - 1) AS n
"""


@pytest.fixture
def production(production_database: str) -> str:
    """Production with so many hours of deltas."""

    async def filled() -> None:
        connection = await asyncpg.connect(production_database)
        await ensure_partitions(connection, ORDERBOOK_DELTAS, {start.date() for start in STARTS})
        for start in STARTS:
            await connection.execute(_ROWS, start, min(ROWS, 36_000))
        await connection.close()

    asyncio.run(filled())
    return production_database


def hashes(lake: Lake) -> dict[datetime, str]:
    """What the lake's files are, byte by byte."""
    return {start: sha256(Path(lake.path(DELTAS, start)).read_bytes()).hexdigest() for start in lake.starts(DELTAS)}


@pytest.fixture
def automatic(production: str, tmp_path: Path) -> dict[datetime, str]:
    """What the automatic export writes: an hour a run."""
    lake = Lake(tmp_path / "automatic")
    asset = next(one for one in RAW_ASSETS if one.key == raw_key(ORDERBOOK_DELTAS))
    resources: dict[str, Any] = {
        "production": ProductionDatabase(url=production), "lake": LakeFolder(root=str(lake.root))
    }  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        for key in KEYS:
            assert dg.materialize([asset], resources=resources, instance=instance, partition_key=key).success
    return hashes(lake)


def test_a_backfill_is_the_automatic_export_even_after_a_kill(
    production: str, automatic: dict[datetime, str], tmp_path: Path
) -> None:
    """Killed with every process while it writes, no file is half; Dagster started again ends it, with the same bytes.

    Nobody lends a hand: runs whose process is gone fail, and are retried.
    """
    lake = Lake(tmp_path / "lake")
    nobody = "http://127.0.0.1:9/trade-api/v2"  # schedules run too, and must not leave this machine
    settings = {
        "KALSHI_PRODUCTION_DATABASE_URL": production, "KALSHI_LAKE_URL": str(lake.root), "KALSHI_REST_URL": nobody
    }  # fmt: skip
    home = tmp_path / "home"
    with dagster_dev(home, settings) as dagster:
        backfill = dagster.launch_backfill(DELTAS_PATH, KEYS)
        dagster.wait(lambda: lake.starts(DELTAS))
    before = hashes(lake)
    assert 0 < len(before) < len(KEYS), "the kill came too late to prove anything"
    assert before.items() <= automatic.items()
    with dagster_dev(home, settings) as dagster:
        seconds = dagster.wait(lambda: dagster.backfill(backfill)["status"] not in ("REQUESTED", "FAILING"), 600)
        done = dagster.backfill(backfill)
    assert done["status"] == "COMPLETED_SUCCESS", done
    assert hashes(lake) == automatic
    runs = Counter(run["status"] for run in done["runs"])
    sys.stdout.write(
        f"{len(before)} of {HOURS} hours were whole when it was killed; all {seconds:.0f} s after; {runs}\n"
    )
