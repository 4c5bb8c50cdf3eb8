"""The judge where there is no ledger: production must be the union of what the gatherers hold.

Used against the live exchange. Comparison is by key, in DuckDB. Kept out: the simulator's ledger (verify).
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime

import asyncpg
import duckdb

from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.database.export import read_window
from kalshi_platform.tools.verify import RowsVerdict


def compare_union(
    gatherer_urls: Mapping[str, str], production_url: str, start: datetime, end: datetime
) -> list[RowsVerdict]:
    """Each table of production against the union of the gatherers' keys in [start, end)."""
    return [_compare(table, gatherer_urls, production_url, start, end) for table in STREAM_TABLES]


_STREAMS = [table.name for table in STREAM_TABLES]


def rows_written(gatherer_url: str) -> int:
    """Rows that a gatherer recorded in its batches of the stream tables."""
    sql = "SELECT coalesce(sum(row_count), 0) FROM ingest_batches WHERE table_name = ANY($1)"
    return _number(gatherer_url, sql, _STREAMS)


def rows_read(production_url: str, gatherer: str) -> int:
    """Rows of the stream tables that production has read from a gatherer."""
    sql = "SELECT coalesce(sum(rows_read), 0) FROM sync_cursors WHERE table_name = ANY($1) AND gatherer_id = $2"
    return _number(production_url, sql, _STREAMS, gatherer)


def _number(url: str, sql: str, *arguments: object) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(sql, *arguments))
        finally:
            await connection.close()

    return asyncio.run(ask())


def _compare(
    table: Table, gatherer_urls: Mapping[str, str], production_url: str, start: datetime, end: datetime
) -> RowsVerdict:
    key = ", ".join(table.key)
    with duckdb.connect() as judge:
        for name, url in {**gatherer_urls, "production": production_url}.items():
            with read_window(url, table, start, end) as reader:
                judge.register("reader", reader)
                judge.execute(f'CREATE TABLE "{name}" AS SELECT {key} FROM reader')  # noqa: S608 - names are ours
                judge.unregister("reader")
        heard = " UNION ".join(f'SELECT * FROM "{name}"' for name in gatherer_urls)  # noqa: S608
        counts = f"""
            SELECT (SELECT count(*) FROM ({heard})), (SELECT count(*) FROM production),
                   (SELECT count(*) FROM (({heard}) EXCEPT SELECT * FROM production)),
                   (SELECT count(*) FROM (SELECT * FROM production EXCEPT ALL ({heard})))
        """  # noqa: S608
        sent, kept, missing, surplus = judge.execute(counts).fetchall()[0]
    return RowsVerdict(table.name, sent, kept, missing, surplus)
