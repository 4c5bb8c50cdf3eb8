from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.lake.sorting import sorted_tables

SCHEMA = pa.schema([("ticker", pa.string()), ("place", pa.int64())])
ROWS = st.lists(st.tuples(st.text("abcé", max_size=2), st.integers(0, 9)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=8), st.sampled_from([1, 200, 1 << 20]))
def test_runs_on_disk_give_the_order_of_one_sort(batches: list[list[tuple[str, int]]], run_bytes: int) -> None:
    """Whether rows fit one run or many, the same rows come out in the same order."""
    arrow = [
        pa.record_batch([[ticker for ticker, _ in rows], [place for _, place in rows]], schema=SCHEMA)
        for rows in batches
    ]
    with TemporaryDirectory() as spill:
        tables = list(sorted_tables(arrow, SCHEMA, ["ticker", "place"], Path(spill), run_bytes))
    found = [(row["ticker"], row["place"]) for table in tables for row in table.to_pylist()]
    assert found == sorted(row for rows in batches for row in rows)


def test_a_ticker_larger_than_a_run_is_cut_by_its_next_key(tmp_path: Path) -> None:
    """No piece is much larger than a run, whatever one ticker has; what lacks the key is last, and is not lost."""
    places = [(n * 7919) % 1000 for n in range(4000)]
    batches = [pa.record_batch([["b"] * 400, places[n : n + 400]], schema=SCHEMA) for n in range(0, 4000, 400)]
    batches.append(pa.record_batch([["a", "b", "c"], [1, None, 2]], schema=SCHEMA))
    tables = list(sorted_tables(batches, SCHEMA, ["ticker", "place"], tmp_path, batches[0].nbytes))
    assert max(table.num_rows for table in tables) <= 500
    found = [tuple(row.values()) for table in tables for row in table.to_pylist()]
    assert found == [("a", 1), *(("b", place) for place in sorted(places)), ("b", None), ("c", 2)]


def test_columns_come_in_the_order_of_the_schema(tmp_path: Path) -> None:
    """A source may name its columns in any order, and more than are wanted."""
    batch = pa.record_batch({"more": [1], "place": [2], "ticker": ["a"]})
    (table,) = sorted_tables([batch], SCHEMA, ["ticker"], tmp_path, 1 << 20)
    assert table.to_pylist() == [{"ticker": "a", "place": 2}]


def test_one_run_leaves_the_disk_alone(tmp_path: Path) -> None:
    """What fits memory is not written twice."""
    batch = pa.record_batch({"ticker": ["b", "a"], "place": [1, 2]})
    list(sorted_tables([batch], SCHEMA, ["ticker"], tmp_path, 1 << 20))
    assert list(tmp_path.iterdir()) == []
