"""Sorting more rows than memory should hold: runs on disk, ticker by ticker, joined by ranges of tickers.

An hour that fits one run never touches the disk. The order is total, so it does not depend on where runs or ranges
end. Tickers are compared as numbers, their places among all tickers, and not written to the disk with each row: a run
knows how far each ticker reaches. Kept out: what the rows mean and how they are written.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

_READ_ROWS = 16_384
_PIECE_ROWS = 262_144


def sorted_tables(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, keys: Sequence[str], spill: Path, run_bytes: int
) -> Iterator[pa.Table]:
    """All rows in the order of `keys`, of which the first is the ticker, in pieces of about one run.

    Args:
        batches: The rows, in any order.
        schema: What each batch must be castable to.
        keys: Columns to sort by.
        spill: A folder for runs, if there is more than one.
        run_bytes: Size of a run.
    """
    runs: list[_Run] = []
    latest: pa.Table | None = None
    for rows in _gathered(batches, schema, run_bytes):
        if latest is not None:
            runs.append(_Run(latest, keys[0], spill / f"{len(runs)}.arrow"))
        latest = rows
    if latest is not None and runs:
        runs.append(_Run(latest, keys[0], spill / f"{len(runs)}.arrow"))
        latest = None
        yield from (rows.select(schema.names) for rows in _joined(runs, keys))
    elif latest is not None:
        names, places = _placed(latest[keys[0]])
        ordered = _ordered(_with(latest, keys[0], places), names, keys)
        yield from (rows.select(schema.names) for rows in ordered)


def _gathered(batches: Iterable[pa.RecordBatch], schema: pa.Schema, run_bytes: int) -> Iterator[pa.Table]:
    gathered: list[pa.Table] = []
    size = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        gathered.append(pa.Table.from_batches([batch]).select(schema.names).cast(schema))
        size += batch.nbytes
        if size >= run_bytes:
            yield pa.concat_tables(gathered)
            gathered, size = [], 0
    if gathered:
        yield pa.concat_tables(gathered)


class _Run:
    """Rows on disk without their tickers, ticker by ticker, and how far into them each reaches."""

    def __init__(self, rows: pa.Table, key: str, path: Path) -> None:
        self.names, places = _placed(rows[key])
        by = pc.sort_indices(places)
        self._key = key
        self.ends: pa.Array = pc.run_end_encode(places.take(by)).run_ends
        self.places = pa.array([], pa.int32())
        self._first = 0  # of the tickers not taken yet
        with pa.ipc.new_file(path, rows.drop_columns([key]).schema) as writer:
            writer.write_table(rows.drop_columns([key]).take(by).combine_chunks(), _READ_ROWS)
        self._file = pa.ipc.open_file(pa.OSFile(str(path)))

    @property
    def rows(self) -> int:
        """Rows in it."""
        return int(self.ends[-1].as_py())

    def counts(self) -> pa.Array:
        """Rows of each of its tickers."""
        return pc.pairwise_diff(pa.concat_arrays([pa.array([0], pa.int32()), self.ends])).slice(1)

    def take_through(self, place: int) -> pa.Table:
        """The rows not taken yet whose ticker's place is not above `place`, with places for tickers."""
        first, self._first = self._first, pc.sum(pc.less_equal(self.places, place)).as_py() or 0
        start, stop = self._end(first), self._end(self._first)
        ends = pc.subtract(self.ends.slice(first, self._first - first), pa.scalar(start, pa.int32()))
        places = pa.RunEndEncodedArray.from_arrays(ends, self.places.slice(first, self._first - first))
        return _with(self._read(start, stop), self._key, pc.run_end_decode(places))

    def _end(self, tickers: int) -> int:
        return self.ends[tickers - 1].as_py() if tickers else 0

    def _read(self, start: int, stop: int) -> pa.Table:
        first = start // _READ_ROWS
        batches = [self._file.get_batch(i) for i in range(first, -(-stop // _READ_ROWS))] if stop > start else []
        rows = pa.Table.from_batches(batches, self._file.schema)
        return rows.slice(start - first * _READ_ROWS, stop - start)


def _joined(runs: Sequence[_Run], keys: Sequence[str]) -> Iterator[pa.Table]:
    """All rows of all runs, one range of tickers after the other; a range holds about as many as the largest run."""
    names = pa.concat_arrays([run.names for run in runs]).unique()
    names = names.take(pc.sort_indices(names))
    for run in runs:
        run.places = pc.index_in(run.names, value_set=names)
    for last in _range_ends(runs):
        yield from _ordered(pa.concat_tables([run.take_through(last) for run in runs]), names, keys)


def _range_ends(runs: Sequence[_Run]) -> Iterator[int]:
    """The place of the last ticker of each range."""
    counted = pa.table(
        {
            "place": pa.concat_arrays([run.places for run in runs]),
            "rows": pa.concat_arrays([run.counts() for run in runs]),
        }
    )
    by_place = counted.group_by("place").aggregate([("rows", "sum")]).sort_by("place")
    ends = pc.cumulative_sum(by_place["rows_sum"]).to_pylist()
    limit = max(run.rows for run in runs)
    position = 0
    while position < len(ends):
        begun = ends[position - 1] if position else 0
        position = max(bisect_right(ends, begun + limit), position + 1)
        yield position - 1


def _ordered(rows: pa.Table, names: pa.Array, keys: Sequence[str]) -> Iterator[pa.Table]:
    """Rows with places for tickers, by all keys, with their tickers again; in pieces, which bounds the copy."""
    rows = rows.combine_chunks()
    by = pc.sort_indices(rows, [(key, "ascending") for key in keys])
    for start in range(0, rows.num_rows, _PIECE_ROWS):
        piece = rows.take(by.slice(start, _PIECE_ROWS))
        yield _with(piece, keys[0], names.take(piece[keys[0]].combine_chunks()))


def _placed(values: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """The different values in order, and for each row the place of its value among them."""
    encoded = values.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    places = pc.sort_indices(order).cast(pa.int32())
    return encoded.dictionary.take(order), places.take(encoded.indices)


def _with(rows: pa.Table, key: str, values: pa.Array) -> pa.Table:
    """Rows with other values in a column, which comes last if there was none."""
    return (
        rows.set_column(rows.schema.get_field_index(key), key, values)
        if key in rows.schema.names
        else (rows.append_column(key, values))
    )
