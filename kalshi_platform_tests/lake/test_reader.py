from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.lake.datasets import AGGREGATES, RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.questions import best_bid_offer
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.invented import write_rows

MakeBatch = Callable[..., pa.RecordBatch]
DELTAS = RAW["orderbook_deltas"]


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_a_missing_table_looks_like_an_empty_one(lake: Lake, noon: datetime, tmp_path: Path, table: Table) -> None:
    """Columns and types of a view do not depend on whether the lake has a file yet."""
    described = f"DESCRIBE {table.name}"
    missing = connect(lake).execute(described).fetchall()
    assert connect(lake).table(table.name).fetchall() == []
    write_partition(lake, RAW[table.name], RAW[table.name].period.floor(noon), [])
    assert connect(lake.root).execute(described).fetchall() == missing


def test_rows_come_with_their_partition_in_utc(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Times are UTC, numbers decimal, and the folder's date and hour are columns."""
    write_partition(lake, DELTAS, noon, [deltas({"milliseconds": 1, "side": False, "size_delta": -5})])
    query = "SELECT exchange_ts, side, price, size_delta, date, hour FROM orderbook_deltas"
    expected = (noon + timedelta(milliseconds=1), False, Decimal("0.56"), Decimal("-0.05"), date(2026, 11, 20), 12)
    assert connect(lake).execute(query).fetchall() == [expected]


def test_new_hours_appear_in_an_open_connection(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Views look at the files when they are asked."""
    write_partition(lake, DELTAS, noon, [deltas({})])
    connection = connect(lake)
    later = deltas({"milliseconds": 3_600_000})
    write_partition(lake, DELTAS, noon + timedelta(hours=1), [later])
    assert connection.execute("SELECT count(*) FROM orderbook_deltas").fetchall() == [(2,)]


def test_a_file_that_was_replaced_is_read_anew(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Also within the clock tick of the last read, and where its size is the same: nothing of the old one is kept."""
    write_partition(lake, DELTAS, noon, [deltas({"seq": 0})])
    connection = connect(lake)
    for seq in range(1, 20):
        rows = [{"seq": seq, "position": position} for position in range(1 + seq % 2)]
        write_partition(lake, DELTAS, noon, [deltas(*rows)])
        assert connection.execute("SELECT seq FROM orderbook_deltas").fetchall() == [(seq,)] * len(rows)


def test_files_of_an_older_version_lack_a_column_and_nothing_else(lake: Lake, noon: datetime) -> None:
    """Else nobody could connect, not even who is to write them anew; what they do not know is NULL."""
    quotes = AGGREGATES["best_bid_offer"]
    older = replace(quotes, schema=quotes.schema.remove(quotes.schema.get_field_index("is_whole")))
    query = "SELECT exchange_ts, is_whole FROM best_bid_offer ORDER BY ALL"
    row = {"ticker": "KXA", "exchange_ts": noon}
    write_rows(lake, older, noon, [row])
    assert connect(lake).execute(query).fetchall() == [(noon, None)]
    later = noon + timedelta(hours=1)
    write_rows(lake, quotes, later, [row | {"exchange_ts": later, "is_whole": True}])
    connection = connect(lake)
    assert connection.execute(query).fetchall() == [(noon, None), (later, True)]
    asked = best_bid_offer(connection, "KXA", noon, later + timedelta(seconds=1))
    assert [found[-1] for found in asked.fetchall()] == [None, True]
    write_rows(lake, quotes, noon, [row | {"is_whole": True}])
    write_rows(lake, older, later, [row | {"exchange_ts": later}])
    assert connect(lake).execute(query).fetchall() == [(noon, True), (later, None)]


def test_odd_folder_names_are_only_names(tmp_path: Path, noon: datetime, deltas: MakeBatch) -> None:
    """Quotes, brackets and equal signs in the root are neither SQL, patterns nor partitions."""
    lake = Lake(tmp_path / "it's [a] env=test *")
    write_partition(lake, DELTAS, noon, [deltas({})])
    rows = connect(lake).execute("SELECT * FROM orderbook_deltas").fetchall()
    assert len(rows) == 1
    assert len(rows[0]) == len(connect(tmp_path).execute("SELECT * FROM orderbook_deltas").description)
