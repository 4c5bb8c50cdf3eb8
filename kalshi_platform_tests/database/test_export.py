import asyncio
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pyarrow as pa
import pytest

from kalshi_platform.core.schema import (
    ORDERBOOK_DELTAS,
    ORDERBOOK_SNAPSHOTS,
    STREAM_TABLES,
    SYNC_CURSORS,
    TICKERS,
    TRADES,
    Home,
    Table,
)
from kalshi_platform.database.export import ExportError, count_window, earliest, read_window, watermark
from kalshi_platform.database.partitions import ensure_partitions

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def insert(url: str, table: Table, *rows: dict[str, Any]) -> None:
    """Put rows into a fresh database, by a way that the export does not share."""

    async def copied() -> None:
        connection = await asyncpg.connect(url)
        try:
            if table.time_column is not None:
                await ensure_partitions(connection, table, {row[table.time_column].date() for row in rows})
            records = [tuple(row.values()) for row in rows]
            await connection.copy_records_to_table(table.name, records=records, columns=list(rows[0]))
        finally:
            await connection.close()

    asyncio.run(copied())


def delta(milliseconds: int, **values: Any) -> dict[str, Any]:
    """A delta so long after noon."""
    moment = NOON + timedelta(milliseconds=milliseconds)
    row = {"exchange_ts": moment, "ticker": "KXA", "side": True, "price": 560_000, "size_delta": -(10**17)}
    return row | {"occurrence": 0, "position": 0, "seq": 1, "received_at": moment} | values


def read(url: str, table: Table, start: datetime, end: datetime) -> pa.Table:
    """All of a window."""
    with read_window(url, table, start, end) as batches:
        return batches.read_all()


def cursor(gatherer: str, table: str, mark: datetime | None) -> dict[str, Any]:
    """How far a table of one gatherer has come."""
    row: dict[str, Any] = {"gatherer_id": gatherer, "table_name": table, "source": "1/1/1", "next_xid": 1}
    return row | {"watermark": mark, "rows_read": 0, "rows_merged": 0}


def test_a_window_is_half_open(production_database: str) -> None:
    """Its first microsecond is in it, its end is not."""
    before, first, last, after = (delta(ms) for ms in (-1, 0, 3_599_999, 3_600_000))
    insert(production_database, ORDERBOOK_DELTAS, before, first, last, after)
    rows = read(production_database, ORDERBOOK_DELTAS, NOON, NOON + HOUR).to_pylist()
    assert sorted(rows, key=lambda row: row["exchange_ts"]) == [first, last]
    assert count_window(production_database, ORDERBOOK_DELTAS, NOON, NOON + HOUR) == 2


def test_a_window_over_midnight_reads_both_days(production_database: str) -> None:
    """Partitions of the database do not show; nor does the zone that the window is given in."""
    midnight = 12 * 3_600_000
    insert(production_database, ORDERBOOK_DELTAS, delta(midnight - 1), delta(midnight))
    window = (NOON + timedelta(hours=11)).astimezone(), NOON + timedelta(hours=13)
    assert read(production_database, ORDERBOOK_DELTAS, *window).num_rows == 2


def test_ids_are_text_and_missing_values_stay_missing(production_database: str) -> None:
    """A trade without taker side keeps none."""
    trade_id = "9e1c5a52-7d0c-4c7e-8c39-0d7a4b1b3a11"
    row = {"exchange_ts": NOON, "trade_id": UUID(trade_id), "ticker": "KXA", "price": 1, "size": 100}
    row |= {"taker_side": None, "is_block_trade": False, "received_at": NOON}
    insert(production_database, TRADES, row)
    assert read(production_database, TRADES, NOON, NOON + HOUR).to_pylist() == [row | {"trade_id": trade_id}]


def test_levels_are_lists_and_may_be_empty(production_database: str) -> None:
    """Arrays come as lists of integers, in their order."""
    row: dict[str, Any] = {"snapshot_ts": NOON, "ticker": "KXA", "source": "checkpoint", "gatherer_id": ""}
    row |= {"yes_prices": [10, 20], "yes_sizes": [2**40, 1], "no_prices": [], "no_sizes": []}
    row |= {"best_yes_bid": 20, "best_yes_ask": None, "received_at": NOON}
    insert(production_database, ORDERBOOK_SNAPSHOTS, row)
    assert read(production_database, ORDERBOOK_SNAPSHOTS, NOON, NOON + HOUR).to_pylist() == [row]


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_an_empty_window_has_all_columns_of_production(production_database: str, table: Table) -> None:
    """No rows are still a table, with integers and UTC times."""
    rows = read(production_database, table, NOON, NOON + HOUR)
    assert rows.num_rows == 0
    assert rows.schema.names == [column.name for column in table.columns_of(Home.PRODUCTION)]
    assert rows.schema.field(str(table.time_column)).type == pa.timestamp("us", "UTC")
    assert count_window(production_database, table, NOON, NOON + HOUR) == 0


def test_rows_come_as_a_stream(production_database: str) -> None:
    """A large window arrives in several batches, so that no reader needs room for all of it."""
    insert(production_database, ORDERBOOK_DELTAS, *(delta(0, ticker="K" * 150, occurrence=n) for n in range(100_000)))
    with read_window(production_database, ORDERBOOK_DELTAS, NOON, NOON + HOUR) as batches:
        sizes = [batch.num_rows for batch in batches]
    assert sum(sizes) == 100_000
    assert len(sizes) > 1


def test_watermark_is_the_least_of_all_gatherers(production_database: str) -> None:
    """A gatherer that has none makes it unknown; so does having no gatherer."""
    insert(
        production_database,
        SYNC_CURSORS,
        cursor("a", "trades", NOON),
        cursor("b", "trades", NOON + timedelta(microseconds=1)),
        cursor("a", "tickers", NOON),
        cursor("b", "tickers", None),
    )
    marks = watermark(production_database, [TRADES, TICKERS, ORDERBOOK_DELTAS])
    assert marks == {"trades": NOON, "tickers": None, "orderbook_deltas": None}


def test_earliest_is_the_time_of_the_first_row(production_database: str) -> None:
    """None where there is no row."""
    assert earliest(production_database, ORDERBOOK_DELTAS) is None
    insert(production_database, ORDERBOOK_DELTAS, delta(5), delta(3))
    assert earliest(production_database, ORDERBOOK_DELTAS) == NOON + timedelta(milliseconds=3)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:s3cret@127.0.0.1:1/production",
        "postgresql://postgres:s3cret@[::1:5432/production",
        "postgresql://postgres:s3cret@127.0.0.1:1/production?nonsense=1",
    ],
)
def test_errors_never_tell_the_password(url: str) -> None:
    """Nor does anything that a traceback would show."""
    with pytest.raises(Exception, match=r"\*\*\*") as caught:
        count_window(url, TRADES, NOON, NOON + HOUR)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_database_without_our_tables_is_an_error_in_plain_words(cluster: Any) -> None:
    """The database's own words, and which database it was."""
    with pytest.raises(ExportError, match=r"cannot read postgresql://.*relation \"trades\" does not exist"):
        count_window(cluster.url("postgres"), TRADES, NOON, NOON + HOUR)
