from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.decimals import to_decimals

SIZE = pa.schema([pa.field("size", pa.decimal128(18, 2))])
LEVELS = pa.schema([pa.field("sizes", pa.list_(pa.field("element", pa.decimal128(18, 2), nullable=False)))])


@given(st.lists(st.none() | st.integers(-(10**18) + 1, 10**18 - 1)))
def test_every_integer_keeps_its_digits(values: list[int | None]) -> None:
    """All integers of eighteen digits and missing ones come out as the same digits with a point."""
    rows = to_decimals(pa.table({"size": pa.array(values, pa.int64())}), SIZE)
    assert rows["size"].to_pylist() == [None if value is None else Decimal(value).scaleb(-2) for value in values]


@given(st.lists(st.lists(st.integers(-(10**18) + 1, 10**18 - 1)), max_size=8), st.integers(0, 8))
def test_lists_keep_their_levels(lists: list[list[int]], start: int) -> None:
    """A slice of lists is converted as if it stood alone."""
    rows = pa.table({"sizes": pa.array(lists, pa.list_(pa.int64()))}).slice(start)
    expected = [[Decimal(value).scaleb(-2) for value in levels] for levels in lists[start:]]
    assert to_decimals(rows, LEVELS)["sizes"].to_pylist() == expected


@pytest.mark.parametrize("value", [10**18, -(10**18), 2**63 - 1])
def test_a_value_that_does_not_fit_is_an_error(value: int) -> None:
    """Nothing is cut off to make it fit."""
    with pytest.raises(IntegrityError, match=r"size.*precision"):
        to_decimals(pa.table({"size": pa.array([value], pa.int64())}), SIZE)


def test_a_missing_value_where_there_must_be_one_is_an_error() -> None:
    """The column is named."""
    schema = pa.schema([pa.field("size", pa.decimal128(18, 2), nullable=False)])
    with pytest.raises(IntegrityError, match="column size has 1 rows without a value"):
        to_decimals(pa.table({"size": pa.array([None], pa.int64())}), schema)
