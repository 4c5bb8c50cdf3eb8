from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS
from kalshi_platform.lake.evidence import fault_of, read_again, tally
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.schema import source_schema
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.writing import DELTAS, NOON, batches

SCHEMA = source_schema(ORDERBOOK_DELTAS)


def test_a_file_adds_up_to_what_it_was_written_from(lake: Lake) -> None:
    """Decimals and integers, sorted or not: the same tally."""
    rows = list(batches(7, 300))
    write_partition(lake, DELTAS, NOON, iter(rows))
    assert read_again(lake, DELTAS, NOON).tally == tally(DELTAS, rows, NOON)


@pytest.mark.parametrize("column", SCHEMA.names)
def test_one_other_value_is_another_tally(column: str) -> None:
    """Whatever its type: a letter of a ticker of the same length, one bit of a number, however high it stands."""
    (batch,) = batches(7, 300)
    values, index = batch.column(column), SCHEMA.names.index(column)
    first = values[0].as_py()
    others: Mapping[pa.DataType, Callable[[], list[Any]]] = {
        pa.string(): lambda: ["LX00"],
        pa.bool_(): lambda: [not first],
        pa.int32(): lambda: [first ^ 1 << bit for bit in range(31)],
        pa.int64(): lambda: [first ^ 1 << bit for bit in range(63)],
        pa.timestamp("us", tz="UTC"): lambda: [first + timedelta(microseconds=1)],
    }
    whole = tally(DELTAS, [batch], NOON)
    for other in others[values.type]():
        changed = pa.concat_arrays([pa.array([other], values.type), values[1:]])
        assert tally(DELTAS, [batch.set_column(index, column, changed)], NOON) != whole


def test_a_bit_that_fell_over_never_ends_whoever_looks(lake: Lake) -> None:
    """Wherever it is, in a page, a name or the footer: the file is refused, or adds up to something else.

    Or the bit meant nothing to the rows; but that the file is not the one that was proven is always said.
    """
    written = write_partition(lake, DELTAS, NOON, batches(7, 300))
    path = Path(written.path)
    good, whole = read_again(lake, DELTAS, NOON).tally, path.read_bytes()
    seen = {"refused": 0, "other": 0, "same": 0}
    for place in range(0, len(whole), 17):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert "is not the file that was proven" in fault_of(written.path, 300, written.sha256)
        try:
            found = read_again(lake, DELTAS, NOON).tally
            seen["same" if found == good else "other"] += 1
        except IntegrityError:
            seen["refused"] += 1
    assert seen["refused"] > 50
    assert seen["other"] > 50
