"""Writing one partition: all rows of one dataset and period, sorted, exact, and the same bytes whenever it is repeated.

Here belongs what turns rows of integers into one Parquet file in its place. Kept out: where the rows come from, and
which hour is due.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.decimals import to_decimals
from kalshi_platform.lake.encoding import row_group_rows, writer_options
from kalshi_platform.lake.footer import Footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.publish import CountedFile
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
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    min_ts: datetime | None
    max_ts: datetime | None


def write_partition(
    lake: Lake, dataset: Dataset, start: datetime, batches: Iterable[pa.RecordBatch], until: datetime | None = None
) -> PartitionFacts:
    """Write all rows of one hour or day, in place of what was there; one without rows becomes an empty file.

    Args:
        lake: Where to.
        dataset: What the rows are.
        start: Start of the hour or day.
        batches: Every row of the window, in any order; prices and sizes as integers or as decimals.
        until: End of the window, where the period is not over yet; readers then know nothing of the rest.

    Raises:
        IntegrityError: Where a row lies outside the window, lacks a value, or has more digits than its column.
    """
    start, end = dataset.period.start(start), dataset.end(start)
    end = min(until or end, end)
    path = lake.path(dataset, start)
    first, batches = _peeked(batches)
    with TemporaryDirectory(prefix="kalshi-lake-") as spill, lake.replacing(path) as file:
        rows = sorted_tables(batches, _as_given(dataset.schema, first), dataset.sort, Path(spill), RUN_BYTES)
        tally = _write(file, dataset, _inside(rows, dataset.time, start, end), start, end)
    return PartitionFacts(path, tally.rows, file.bytes, file.sha256, tally.min_ts, tally.max_ts)


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
    min_ts: datetime | None = None
    max_ts: datetime | None = None

    def add(self, rows: pa.Table, time: str | None) -> None:
        self.rows += rows.num_rows
        if time is None or not rows.num_rows:
            return
        span = pc.min_max(rows[time]).as_py()
        self.min_ts = min(self.min_ts or span["min"], span["min"])
        self.max_ts = max(self.max_ts or span["max"], span["max"])


def _write(file: CountedFile, dataset: Dataset, tables: Iterable[pa.Table], start: datetime, end: datetime) -> _Tally:
    tally = _Tally()
    with pq.ParquetWriter(cast("IO[bytes]", file), dataset.schema, **writer_options(dataset)) as writer:
        for group in _row_groups(tables, row_group_rows(dataset)):
            tally.add(group, dataset.time)
            writer.write_table(to_decimals(group, dataset.schema), group.num_rows)
        writer.add_key_value_metadata(Footer(dataset.name, start, end, tally.rows).as_metadata())
    return tally


def _row_groups(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
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
