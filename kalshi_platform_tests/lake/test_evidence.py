from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS
from kalshi_platform.lake.datasets import RAW
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
    assert read_again(lake, DELTAS, NOON).tally == tally(DELTAS, rows)


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
    whole = tally(DELTAS, [batch])
    for other in others[values.type]():
        changed = pa.concat_arrays([pa.array([other], values.type), values[1:]])
        assert tally(DELTAS, [batch.set_column(index, column, changed)]) != whole


@pytest.mark.parametrize("column", SCHEMA.names)
def test_values_that_changed_places_are_another_tally(column: str) -> None:
    """Every column holds what it held, but two rows have each other's value in one of them."""
    (batch,) = batches(7, 300)
    values = batch.column(column)
    if column in ("occurrence", "seq"):  # they are all the same
        values = pa.array(range(300), values.type)
    batch = batch.set_column(SCHEMA.names.index(column), column, values)
    other = next(row for row in range(300) if values[row] != values[0])
    places = [other, *range(1, other), 0, *range(other + 1, 300)]
    moved = batch.set_column(SCHEMA.names.index(column), column, values.take(pa.array(places)))
    assert tally(DELTAS, [moved]) != tally(DELTAS, [batch])


def test_levels_that_changed_places_are_another_tally() -> None:
    """Books too: two levels of one side, and a level that belongs to the book before."""
    one = {"snapshot_ts": NOON, "source": "ws", "gatherer_id": "g", "no_prices": [], "no_sizes": []}
    last = {"best_yes_bid": 20_000, "best_yes_ask": None, "received_at": NOON}

    def books(*sizes: list[int]) -> pa.RecordBatch:
        rows = [
            one | last | {"ticker": name, "yes_prices": [10_000, 20_000][: len(some)], "yes_sizes": some}
            for name, some in zip("AB", sizes, strict=True)
        ]
        return pa.RecordBatch.from_pylist(rows, schema=source_schema(ORDERBOOK_SNAPSHOTS))

    found = {
        tally(RAW["orderbook_snapshots"], [books(*some)]).digest
        for some in ([[1, 2], [3]], [[2, 1], [3]], [[1], [2, 3]], [[1, 3], [2]])
    }
    assert len(found) == 4


class Restless(Lake):
    """Somebody exports the hour again just before it is opened for the second, third or fourth time."""

    def __init__(self, root: str, turn: int) -> None:
        super().__init__(root)
        self._turn = turn

    def open(self, path: str) -> Any:
        """Open what is there by then."""
        self._turn -= 1
        if not self._turn:
            write_partition(Lake(self.root), DELTAS, NOON, batches(8, 300))
        return super().open(path)


@pytest.mark.parametrize("turn", [2, 3, 4])
def test_a_file_that_is_written_anew_meanwhile_is_not_two_files(lake: Lake, turn: int) -> None:
    """Its hash and its rows are those of one file, or nothing is said of it."""
    write_partition(lake, DELTAS, NOON, batches(7, 300))
    restless = Restless(lake.root, turn)
    if turn > 2:
        with pytest.raises(IntegrityError, match="written anew while it was read"):
            read_again(restless, DELTAS, NOON)
    else:
        assert read_again(restless, DELTAS, NOON) == read_again(lake, DELTAS, NOON)


def read(path: Path) -> list[pa.RecordBatch]:
    """Every row of a file."""
    return list(pq.ParquetFile(path).iter_batches())


def test_a_bit_that_fell_over_never_ends_whoever_looks(lake: Lake) -> None:
    """Wherever it is, in a page, a name or the footer: the file is refused, or adds up to something else.

    Or the bit meant nothing, and every row is as it was; but that it is not the file that was proven is always said.
    """
    written = write_partition(lake, DELTAS, NOON, batches(7, 300))
    path = Path(written.path)
    good, whole, rows = read_again(lake, DELTAS, NOON).tally, path.read_bytes(), read(path)
    seen = {"refused": 0, "other": 0, "same": 0}
    for place in range(0, len(whole), 17):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert "is not the file that was proven" in fault_of(written.path, 300, written.sha256)
        try:
            found = read_again(lake, DELTAS, NOON).tally
        except IntegrityError:
            seen["refused"] += 1
            continue
        assert (found == good) is (read(path) == rows)
        seen["same" if found == good else "other"] += 1
    assert seen["refused"] > 50
    assert seen["other"] > 50
