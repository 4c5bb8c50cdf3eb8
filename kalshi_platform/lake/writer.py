"""Writing one partition: all rows of one table and hour, sorted, exact, and the same bytes whenever it is repeated.

Here belongs what turns rows of integers into one Parquet file in its place. Kept out: where the rows come from, and
which hour is due.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import Table
from kalshi_platform.lake.decimals import to_decimals
from kalshi_platform.lake.encoding import row_group_rows, writer_options
from kalshi_platform.lake.footer import Footer
from kalshi_platform.lake.layout import HOUR, Lake, whole_hour
from kalshi_platform.lake.publish import CountedFile, replacing
from kalshi_platform.lake.schema import lake_schema, source_schema
from kalshi_platform.lake.sorting import sort_keys, sorted_tables

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

    path: Path
    rows: int
    bytes: int
    sha256: str
    min_ts: datetime | None
    max_ts: datetime | None


def write_partition(
    lake: Lake, table: Table, hour_start: datetime, batches: Iterable[pa.RecordBatch], until: datetime | None = None
) -> PartitionFacts:
    """Write all rows of one hour, in place of what was there; an hour without rows becomes an empty file.

    Args:
        lake: Where to.
        table: Which table the rows are of.
        hour_start: Start of the hour.
        batches: Every row of the window, in any order; prices and sizes as integers.
        until: End of the window, where the hour is not over yet; readers then know nothing of the rest.

    Raises:
        IntegrityError: Where a row lies outside the window, lacks a value, or has more digits than its column.
    """
    start = whole_hour(hour_start)
    end = min(until or start + HOUR, start + HOUR)
    path = lake.partition_path(table, start)
    schema = source_schema(table)
    with TemporaryDirectory(prefix="kalshi-lake-") as spill, replacing(path) as file:
        rows = sorted_tables(batches, schema, sort_keys(table), Path(spill), RUN_BYTES)
        tally = _write(file, table, _inside(rows, str(table.time_column), start, end), start, end)
    return PartitionFacts(path, tally.rows, file.bytes, file.sha256, tally.min_ts, tally.max_ts)


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    min_ts: datetime | None = None
    max_ts: datetime | None = None

    def add(self, rows: pa.Table, time_column: str) -> None:
        if not rows.num_rows:
            return
        span = pc.min_max(rows[time_column]).as_py()
        self.rows += rows.num_rows
        self.min_ts = min(self.min_ts or span["min"], span["min"])
        self.max_ts = max(self.max_ts or span["max"], span["max"])


def _write(file: CountedFile, table: Table, tables: Iterable[pa.Table], start: datetime, end: datetime) -> _Tally:
    schema = lake_schema(table)
    tally = _Tally()
    with pq.ParquetWriter(cast("IO[bytes]", file), schema, **writer_options(table)) as writer:
        for group in _row_groups(tables, row_group_rows(table)):
            tally.add(group, str(table.time_column))
            writer.write_table(to_decimals(group, schema), group.num_rows)
        writer.add_key_value_metadata(Footer(table.name, start, end, tally.rows).as_metadata())
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


def _inside(tables: Iterable[pa.Table], time_column: str, start: datetime, end: datetime) -> Iterator[pa.Table]:
    for table in tables:
        span = pc.min_max(table[time_column]).as_py()
        if table.num_rows and not start <= span["min"] <= span["max"] < end:
            found = f"{span['min'].isoformat()} to {span['max'].isoformat()}"
            raise IntegrityError(f"rows of {found} do not belong to {start.isoformat()} until {end.isoformat()}")
        yield table
