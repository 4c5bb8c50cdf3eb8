"""How columns are encoded in Parquet, so that a row takes little and one ticker's rows lie together.

Measured on the recorded tape (778,646 deltas sorted by ticker and time, zstd 3): dictionaries everywhere 10.03 bytes a
row, delta-encoded times and `seq` 4.45, delta-encoded decimals as well 6.44. Kept out: types and meaning (`schema`).
"""

from typing import Any

from kalshi_platform.core.schema import ORDERBOOK_SNAPSHOTS, Column, ColumnType, Table
from kalshi_platform.lake.schema import lake_columns

_ROW_GROUP = 250_000  # ecosystem.md part 2 E3: one ticker's hour in 11 ms, where 5 M rows a group take 127 ms
_ROW_GROUPS = {ORDERBOOK_SNAPSHOTS.name: 10_000}  # whole books: a row is as large as some hundred deltas
_CLIMBING = (ColumnType.TIMESTAMP, ColumnType.INT64)
_FEW_VALUES = (ColumnType.TEXT, ColumnType.INT32)


def row_group_rows(table: Table) -> int:
    """Rows in each row group of a table's files."""
    return _ROW_GROUPS.get(table.name, _ROW_GROUP)


def writer_options(table: Table) -> dict[str, Any]:
    """Arguments of `pyarrow.parquet.ParquetWriter` for a table."""
    columns = lake_columns(table)
    return {
        "compression": "zstd",
        "compression_level": 3,
        "store_decimal_as_integer": True,
        "use_dictionary": [_leaf(column) for column in columns if _repeats(column)],
        "column_encoding": {column.name: "DELTA_BINARY_PACKED" for column in columns if _climbs(column)},
    }


def _climbs(column: Column) -> bool:
    """Times and counters, which mostly grow from row to row."""
    return column.unit is None and column.type in _CLIMBING


def _repeats(column: Column) -> bool:
    """Names, prices and sizes, of which there are few different ones."""
    return column.unit is not None or column.type in _FEW_VALUES


def _leaf(column: Column) -> str:
    lists = (ColumnType.INT32_LIST, ColumnType.INT64_LIST)
    return f"{column.name}.list.element" if column.type in lists else column.name
