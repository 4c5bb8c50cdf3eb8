"""Rows to disk and back: every table, exactly, also rows that another version left."""

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.core.records import TABLE_OF
from kalshi_platform.core.schema import TRADES, Column, ColumnType, Home
from kalshi_platform.database.errors import SpoolLayoutError
from kalshi_platform.database.spool_rows import UNPACKABLE, RowPacker

_INT = st.integers(-(2**63), 2**63 - 1)
_VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.TIMESTAMP: _INT,
    ColumnType.TEXT: st.text(),
    ColumnType.BYTES: st.binary(),
    ColumnType.BOOL: st.booleans(),
    ColumnType.INT32: _INT,
    ColumnType.INT64: _INT,
    ColumnType.UUID: st.uuids(),
    ColumnType.INT32_LIST: st.lists(_INT).map(tuple),
    ColumnType.INT64_LIST: st.lists(_INT).map(tuple),
}


def _value(column: Column) -> st.SearchStrategy[Any]:
    return st.none() | _VALUES[column.type] if column.nullable else _VALUES[column.type]


def _row(columns: tuple[Column, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*(_value(column) for column in columns))


@settings(max_examples=30, derandomize=True, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("table", TABLE_OF.values(), ids=lambda table: table.name)
def test_every_row_comes_back_as_it_went(table: Any, data: st.DataObject) -> None:
    """Values and types, NULLs included."""
    packer = RowPacker(table)
    rows = data.draw(st.lists(_row(table.written_columns(Home.GATHERER))))
    assert packer.unpack(packer.pack(rows), packer.layout) == rows


def test_rows_of_another_version_are_placed_by_name() -> None:
    """Columns in another order, one that is gone, one that is new and may be empty."""
    packer = RowPacker(TRADES)
    trade_id = UUID(int=7)
    names = ["ticker", "trade_id", "exchange_ts", "price", "size", "gone", "is_block_trade", "received_at"]
    data = msgspec.msgpack.encode([["KXA", trade_id, 1, 2, 3, "x", False, 4]])
    (row,) = packer.unpack(data, ",".join(names))
    assert row == (1, trade_id, "KXA", 2, 3, None, False, 4)


def test_rows_that_cannot_be_placed_are_refused_in_plain_words() -> None:
    """They stay in the spool, for the version that wrote them."""
    packer = RowPacker(TRADES)
    with pytest.raises(SpoolLayoutError, match="start the version that wrote them"):
        packer.unpack(msgspec.msgpack.encode([["KXA"]]), "ticker")
    with pytest.raises(SpoolLayoutError, match="trades"):
        packer.unpack(msgspec.msgpack.encode([["KXA"]]), packer.layout)
    with pytest.raises(UNPACKABLE):
        packer.pack([(2**70,)])
