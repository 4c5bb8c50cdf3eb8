from datetime import date

import asyncpg
import pytest

from kalshi_platform.core.schema import TRADES
from kalshi_platform.database.partitions import ensure_partitions, partition_name

DAY = date(2026, 11, 21)
INSERT_TRADE = (
    "INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at) "
    "VALUES ($1::timestamptz, gen_random_uuid(), 'T', 1, 1, false, now())"
)


async def test_partitions_cover_exactly_their_utc_day(gatherer_database: str) -> None:
    """A partition takes the first and the last microsecond of its day, whatever zone and style the session has."""
    connection = await asyncpg.connect(
        gatherer_database, server_settings={"timezone": "Asia/Tokyo", "datestyle": "SQL, DMY"}
    )
    try:
        assert await ensure_partitions(connection, TRADES, [DAY]) == 1
        for moment in ("2026-11-21 00:00:00+00", "2026-11-21 23:59:59.999999+00"):
            await connection.execute(INSERT_TRADE.replace("$1", f"'{moment}'"))
        assert await connection.fetchval(f"SELECT count(*) FROM {partition_name(TRADES, DAY)}") == 2
        for moment in ("2026-11-20 23:59:59.999999+00", "2026-11-22 00:00:00+00"):
            with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
                await connection.execute(INSERT_TRADE.replace("$1", f"'{moment}'"))
    finally:
        await connection.close()
