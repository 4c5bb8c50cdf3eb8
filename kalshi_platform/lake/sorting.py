"""Sorting more rows than memory should hold: runs on disk, ticker by ticker, joined by ranges of tickers.

An hour that fits one run never touches the disk. A ticker that is larger than a run is joined by ranges of its next
key, the time. The order is total, so it does not depend on where runs or ranges end. Tickers are compared as numbers,
their places among all tickers, and not written to the disk with each row: a run knows how far each ticker reaches.
Kept out: what the rows mean and how they are written.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
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

    def take_through(self, place: int) -> "_Part":
        """The rows not taken yet whose ticker's place is not above `place`."""
        first, self._first = self._first, pc.sum(pc.less_equal(self.places, place)).as_py() or 0
        return _Part(self, first, self._first)

    def end(self, tickers: int) -> int:
        """Rows of the first so many tickers."""
        return self.ends[tickers - 1].as_py() if tickers else 0

    def read(self, first: int, last: int) -> pa.Table:
        """The rows of the tickers from `first` up to and without `last`, with places for tickers."""
        start = self.end(first)
        ends = pc.subtract(self.ends.slice(first, last - first), pa.scalar(start, pa.int32()))
        places = pa.RunEndEncodedArray.from_arrays(ends, self.places.slice(first, last - first))
        return _with(self._read(start, self.end(last)), self._key, pc.run_end_decode(places))

    def _read(self, start: int, stop: int) -> pa.Table:
        first = start // _READ_ROWS
        batches = [self._file.get_batch(i) for i in range(first, -(-stop // _READ_ROWS))] if stop > start else []
        rows = pa.Table.from_batches(batches, self._file.schema)
        return rows.slice(start - first * _READ_ROWS, stop - start)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some tickers of a run."""

    run: _Run
    first: int
    last: int

    @property
    def rows(self) -> int:
        """Rows in it."""
        return self.run.end(self.last) - self.run.end(self.first)

    def read(self) -> pa.Table:
        """Its rows, with places for tickers."""
        return self.run.read(self.first, self.last)


def _joined(runs: Sequence[_Run], keys: Sequence[str]) -> Iterator[pa.Table]:
    """All rows of all runs, one range after the other; a range holds about as many as the largest run."""
    names = pa.concat_arrays([run.names for run in runs]).unique()
    names = names.take(pc.sort_indices(names))
    for run in runs:
        run.places = pc.index_in(run.names, value_set=names)
    limit = max(run.rows for run in runs)
    for last in _range_ends(runs, limit):
        parts = [run.take_through(last) for run in runs]
        for low, high in _cuts(parts, keys, limit):
            rows = [_within(part.read(), keys, low, high) for part in parts if part.rows]
            yield from _ordered(pa.concat_tables(rows), names, keys)


def _cuts(parts: Sequence[_Part], keys: Sequence[str], limit: int) -> list[tuple[pa.Scalar | None, pa.Scalar | None]]:
    """Ranges of the second key, from and without until, that hold about `limit` rows; one of all where that does."""
    count = sum(part.rows for part in parts)
    if count <= limit or len(keys) == 1:
        return [(None, None)]
    values = pa.chunked_array([part.read()[keys[1]].combine_chunks() for part in parts if part.rows])
    places = pc.sort_indices(values)
    ends: list[pa.Scalar | None] = [None]
    for nth in range(limit, count, limit):
        value = values[places[nth].as_py()]
        if value.is_valid and value != ends[-1]:
            ends.append(value)
    return list(pairwise([*ends, None]))


def _within(rows: pa.Table, keys: Sequence[str], low: pa.Scalar | None, high: pa.Scalar | None) -> pa.Table:
    """The rows of one range; those without a value belong to the last one."""
    if low is not None:
        rows = rows.filter(pc.fill_null(pc.greater_equal(rows[keys[1]], low), fill_value=True))
    if high is not None:
        rows = rows.filter(pc.fill_null(pc.less(rows[keys[1]], high), fill_value=False))
    return rows


def _range_ends(runs: Sequence[_Run], limit: int) -> Iterator[int]:
    """The place of the last ticker of each range."""
    counted = pa.table(
        {
            "place": pa.concat_arrays([run.places for run in runs]),
            "rows": pa.concat_arrays([run.counts() for run in runs]),
        }
    )
    by_place = counted.group_by("place").aggregate([("rows", "sum")]).sort_by("place")
    ends = pc.cumulative_sum(by_place["rows_sum"]).to_pylist()
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
