"""Writing one partition: all rows of one dataset and period, sorted, exact, and the same bytes whenever it is repeated.

Here belongs what turns rows of integers into one Parquet file in its place. Kept out: where the rows come from, and
which hour is due.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.ahead import read_ahead
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.decimals import to_decimals
from kalshi_platform.lake.encoding import row_group_rows, writer_options
from kalshi_platform.lake.footer import Footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.manifest import Coverage, Manifest, manifest_path, write_manifest
from kalshi_platform.lake.publish import CountedFile, plain_words
from kalshi_platform.lake.schema import SCHEMA_VERSION
from kalshi_platform.lake.sorting import sorted_tables

RUN_BYTES = 32 * 2**20
"""Bytes of Arrow sorted at once; the memory of a writer stays within a few times this, whatever the hour holds."""


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """What was written.

    Attributes:
        path: The file.
        rows: Rows in it.
        bytes: Its size.
        sha256: Hash of its bytes, in hexadecimal.
        min_ts: Earliest time among the rows; None without rows.
        max_ts: Latest time among the rows; None without rows.
        min_key: Least value of the first column that they are sorted by, the ticker; None without rows.
        max_key: Greatest one.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    min_ts: datetime | None
    max_ts: datetime | None
    min_key: str | None = None
    max_key: str | None = None


def write_partition(
    lake: Lake,
    dataset: Dataset,
    start: datetime,
    batches: Iterable[pa.RecordBatch],
    until: datetime | None = None,
    coverage: Coverage | None = None,
) -> PartitionFacts:
    """Write all rows of one hour or day, in place of what was there; one without rows becomes an empty file.

    Args:
        lake: Where to.
        dataset: What the rows are.
        start: Start of the hour or day.
        batches: Every row of the window, in any order; prices and sizes as integers or as decimals.
        until: End of the window, where the period is not over yet; readers then know nothing of the rest.
        coverage: How completely the window was heard, for its manifest; None where nobody knows.

    Raises:
        IntegrityError: Where a row lies outside the window, lacks a value, or has more digits than its column.
        StorageError: Where the lake, or the disk that rows are sorted on, has no room or refuses.
    """
    start, end = dataset.period.start(start), dataset.end(start)
    end = min(until or end, end)
    with _room_to_sort(lake.path(dataset, start)) as spill, read_ahead(batches) as coming:
        first, batches = _peeked(coming)
        rows = sorted_tables(batches, _as_given(dataset.schema, first), dataset.sort, spill, RUN_BYTES)
        inside = _inside(rows, dataset.time, start, end)
        groups = (to_decimals(group, dataset.schema) for group in row_groups(inside, row_group_rows(dataset)))
        return write_groups(lake, dataset, (start, end), groups, coverage)


@contextmanager
def _room_to_sort(path: str) -> Iterator[Path]:
    """A folder on this machine's disk, away when the block ends."""
    place = f"{gettempdir()}, or set TMPDIR"
    with plain_words(path, place), TemporaryDirectory(prefix="kalshi-lake-") as folder:
        yield Path(folder)


def write_groups(
    lake: Lake,
    dataset: Dataset,
    window: tuple[datetime, datetime],
    groups: Iterable[pa.Table],
    coverage: Coverage | None = None,
) -> PartitionFacts:
    """Write row groups as they are, in place of what was there; then the manifest, which is away meanwhile.

    Args:
        lake: Where to.
        dataset: What the rows are.
        window: First moment whose rows they are, and first one whose rows they are not.
        groups: In the dataset's schema and order.
        coverage: How completely the window was heard.
    """
    start, end = window
    path = lake.path(dataset, start)
    with lake.replacing(path) as file:
        tally = _write(file, dataset, groups, start, end)
        lake.remove(manifest_path(lake, dataset, start))
    facts = PartitionFacts(path, tally.rows, file.bytes, file.sha256, *tally.times, *tally.keys)
    write_manifest(lake, dataset, start, _manifest(lake, dataset, window, facts), coverage)
    return facts


def _manifest(lake: Lake, dataset: Dataset, window: tuple[datetime, datetime], facts: PartitionFacts) -> Manifest:
    return Manifest(
        dataset=str(dataset),
        path=facts.path.removeprefix(f"{lake.root}/"),
        schema_version=SCHEMA_VERSION,
        window_start=window[0],
        window_end=window[1],
        rows=facts.rows,
        bytes=facts.bytes,
        sha256=facts.sha256,
        first_key=facts.min_key,
        last_key=facts.max_key,
        first_ts=facts.min_ts,
        last_ts=facts.max_ts,
    )


def _peeked(batches: Iterable[pa.RecordBatch]) -> tuple[pa.Schema | None, Iterable[pa.RecordBatch]]:
    """The schema of the first batch, and all batches."""
    remaining = iter(batches)
    first = next(remaining, None)
    return (None, ()) if first is None else (first.schema, chain([first], remaining))


def _as_given(schema: pa.Schema, given: pa.Schema | None) -> pa.Schema:
    """The columns of a dataset, in which what becomes decimal still has the type that it came with."""
    if given is None:
        return schema
    fields = [field.with_nullable(nullable=True) for field in schema]  # what is missing is said when it is written
    return pa.schema([f.with_type(given.field(f.name).type) if _is_decimal(f.type) else f for f in fields])


def _is_decimal(arrow: pa.DataType) -> bool:
    return _is_decimal(arrow.value_type) if pa.types.is_list(arrow) else bool(pa.types.is_decimal(arrow))


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    times: tuple[datetime | None, datetime | None] = (None, None)
    keys: tuple[str | None, str | None] = (None, None)

    def add(self, rows: pa.Table, dataset: Dataset) -> None:
        self.rows += rows.num_rows
        self.keys = _wider(self.keys, rows[dataset.sort[0]])
        if dataset.time is not None:
            self.times = _wider(self.times, rows[dataset.time])


def _wider(span: tuple[Any, Any], values: pa.ChunkedArray) -> tuple[Any, Any]:
    found = pc.min_max(values).as_py()
    if found["min"] is None:
        return span
    if span[0] is None:
        return found["min"], found["max"]
    return min(span[0], found["min"]), max(span[1], found["max"])


def _write(file: CountedFile, dataset: Dataset, groups: Iterable[pa.Table], start: datetime, end: datetime) -> _Tally:
    tally = _Tally()
    with pq.ParquetWriter(cast("IO[bytes]", file), dataset.schema, **writer_options(dataset)) as writer:
        for group in groups:
            tally.add(group, dataset)
            writer.write_table(group, max(group.num_rows, 1))
        writer.add_key_value_metadata(Footer(dataset.name, start, end, tally.rows).as_metadata())
    return tally


def row_groups(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in pieces of exactly `rows`, because where pieces end shows in the bytes of a file."""
    waiting: pa.Table | None = None
    for table in tables:
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        while waiting.num_rows >= rows:
            yield waiting.slice(0, rows)
            waiting = waiting.slice(rows)
    if waiting is not None and waiting.num_rows:
        yield waiting


def _inside(tables: Iterable[pa.Table], time: str | None, start: datetime, end: datetime) -> Iterator[pa.Table]:
    for table in tables:
        span = pc.min_max(table[time]).as_py() if time is not None and table.num_rows else None
        if span is not None and not start <= span["min"] <= span["max"] < end:
            found = f"{span['min'].isoformat()} to {span['max'].isoformat()}"
            raise IntegrityError(f"rows of {found} do not belong to {start.isoformat()} until {end.isoformat()}")
        yield table
