from datetime import date, timedelta

import asyncpg
import pytest

from kalshi_platform.core.schema import TRADES
from kalshi_platform.database.locks import lock_shortage
from kalshi_platform.database.partitions import ensure_partitions

CLUSTER_ROOM = 64 * 100
"""Locks that the tests' server has room for."""


@pytest.mark.slow
async def test_warns_before_the_lock_table_is_too_small(production_database: str) -> None:
    """A few partitions are no reason; so many that a query over all would fill half of it are."""
    connection = await asyncpg.connect(production_database)
    assert await lock_shortage(connection) == ""
    await ensure_partitions(connection, TRADES, [date(2026, 1, 1)])
    assert await lock_shortage(connection) == ""
    room = await connection.fetchval(
        "SELECT current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int"
    )
    assert room == CLUSTER_ROOM
    await connection.execute("UPDATE table_policies SET partition_hours = 1")
    await ensure_partitions(connection, TRADES, [date(2026, 2, 1) + timedelta(days=day) for day in range(45)])
    said = await lock_shortage(connection)
    assert "one table has 3243 partitions and indexes" in said
    assert "max_locks_per_transaction" in said
    await connection.close()
