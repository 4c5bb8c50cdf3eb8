"""Production with a few rows of an hour or two, for what is done to them when they are old."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, STREAM_TABLES, Home
from kalshi_platform.core.units import us_from_datetime
from kalshi_platform.database import export
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.maintenance.passes import Report

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
MUCH_LATER = NOON + timedelta(days=100)
AHEAD = f"orderbook_deltas_{MUCH_LATER:%Y%m%d}"
NAMES = ["orderbook_deltas_20260801_12", "orderbook_deltas_20260801_13"]


def delta(minutes: float, ticker: str = "A") -> DeltaRow:
    """A change so long after noon."""
    at = us_from_datetime(NOON + timedelta(minutes=minutes))
    return DeltaRow(at, ticker, True, 400_000, 100, 0, 0, 1, 1, at + 12_000)


ROWS = [delta(1), delta(2), delta(3, "B"), delta(61)]


async def put(url: str, home: Home, *rows: DeltaRow) -> None:
    """Rows into a database, with their partitions."""
    connection = await asyncpg.connect(url)
    await ensure_partitions(connection, ORDERBOOK_DELTAS, [NOON.date()])
    given = [row if home is Home.GATHERER else (*row[:8], row[9]) for row in rows]
    async with connection.transaction():
        await Stage(ORDERBOOK_DELTAS, home).insert_new(connection, given)
    await connection.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake")


@pytest.fixture
async def production(production_database: str) -> AsyncIterator[asyncpg.Connection]:
    """Production with an hour of three rows and one of one, merged for long."""
    await put(production_database, Home.PRODUCTION, *ROWS)
    connection = await asyncpg.connect(production_database)
    for hour in {*range(24)} - {12, 13, 14}:  # fewer of them make these tests quicker
        await connection.execute(f"DROP TABLE orderbook_deltas_20260801_{hour:02}")
    await connection.execute("UPDATE table_policies SET partition_hours = 24")
    for table in STREAM_TABLES:
        await connection.execute(
            "INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, watermark, rows_read, rows_merged) "
            "VALUES ('g', $1, 's', '1', $2, 0, 0)",
            table.name,
            NOON + 3 * HOUR,
        )
    yield connection
    await connection.close()


def exported(url: str, lake: Lake, hour: datetime) -> Path:
    """The file of an hour, written from production as it is."""
    with export.read_window(url, ORDERBOOK_DELTAS, hour, hour + HOUR) as batches:
        return Path(write_partition(lake, RAW[ORDERBOOK_DELTAS.name], hour, batches).path)


def moved_to(lake: Lake, folder: Path) -> Lake:
    """All its files in another folder, with the times that they had."""
    return Lake(Path(lake.root).rename(folder))


async def partitions(connection: asyncpg.Connection) -> list[str]:
    """Names of the partitions of deltas that are there, of the day that these tests are about."""
    found = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'orderbook_deltas'::regclass"
    )
    return sorted(row["name"] for row in found if "_20260801" in row["name"])


def kept(report: Report) -> dict[str, str]:
    """Why each partition that was due is still there."""
    return {verdict.name: verdict.kept_because for verdict in report.verdicts if verdict.kept_because}
