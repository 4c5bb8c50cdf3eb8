"""Idempotent insert of deltas with their identity key, against raw COPY into the same table.

Both encode the same rows with our encoder; the baseline has no conflict check. Run: python benchmarks/insert.py
"""

import asyncio
import sys
import tempfile
from io import BytesIO
from itertools import count
from pathlib import Path

import asyncpg
from measure import arguments, ratio

from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.binary_copy import RowEncoder
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.migrations import migrate
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

T0 = 1_795_219_200_000_000
BATCH, BATCHES = 5_000, 20
numbers = count()


def rows() -> list[DeltaRow]:
    """A batch of new rows over a thousand markets."""
    return [
        DeltaRow(
            T0 + n * 100 // 1000 * 1000, f"KXBENCH-26DEC01-T{n % 997}", n % 2 == 0, n % 999 * 1000, n, 0, 0, n, 1, T0
        )
        for n in (next(numbers) for _ in range(BATCH))
    ]


async def insert(url: str, *, raw: bool) -> int:
    """Write the batches, each in a transaction of its own."""
    connection = await asyncpg.connect(url)
    await ensure_partitions(connection, ORDERBOOK_DELTAS, [datetime_from_us(T0).date()])
    stage, encoder = Stage(ORDERBOOK_DELTAS, Home.GATHERER), RowEncoder(ORDERBOOK_DELTAS, Home.GATHERER)
    columns = [column.name for column in encoder.columns]
    for _ in range(BATCHES):
        batch = rows()
        async with connection.transaction():
            if raw:
                source = BytesIO(encoder.encode(batch))
                await connection.copy_to_table(ORDERBOOK_DELTAS.name, source=source, columns=columns, format="binary")
            else:
                await stage.insert_new(connection, batch)
    await connection.close()
    return BATCH * BATCHES


def main() -> bool:
    """Measure on an embedded server."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            server.start()
            server.create_database("bench")
            url = server.url("bench")
            migrate(url, Home.GATHERER)
            return ratio(
                "insert with identity key",
                lambda: asyncio.run(insert(url, raw=False)),
                lambda: asyncio.run(insert(url, raw=True)),
                of="raw COPY into the same table",
                budget=0.6,
            )
        finally:
            server.delete()


if __name__ == "__main__":
    arguments(__doc__)
    sys.exit(not main())
