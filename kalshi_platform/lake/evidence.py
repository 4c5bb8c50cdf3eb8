"""Reading files of the lake again: what is in them now, and whether that is what it was.

A tally counts the rows of a window and sums every column (of text, a checksum of each value), so that rows of a
database (integers) and of a file (decimals) can be compared, whatever their order. Kept out: writing files, and what
follows from a difference.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import mul
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.publish import StorageError

_CHUNK = 2**20
_LOW_BITS = 2**32 - 1
_UNREADABLE = (OSError, pa.ArrowException, StorageError, KeyError, ValueError)
"""The last two: a bit fell over in the name of a column, or in the window that the footer names."""

_WIDE = pa.decimal128(19, 0)


@dataclass(frozen=True, slots=True)
class Tally:
    """What rows add up to, in any order: their number, and a sum for each column."""

    rows: int
    sums: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file as it is now.

    Attributes:
        path: Where it is.
        sha256: Hash of its bytes, in hexadecimal.
        window_start: Earliest moment whose rows it holds, as its footer says.
        window_end: First moment whose rows it does not hold.
        tally: What its rows add up to; every page was read for it.
    """

    path: str
    sha256: str
    window_start: datetime
    window_end: datetime
    tally: Tally


def tally(dataset: Dataset, batches: Iterable[pa.RecordBatch], origin: datetime) -> Tally:
    """Add up rows of a stream, as they come from production or from the lake.

    Args:
        dataset: Whose rows they are.
        batches: With the lake's columns; prices and sizes as integers or as decimals.
        origin: Times are counted from here, which keeps sums small.
    """
    rows, sums = 0, [0] * len(dataset.schema)
    for batch in batches:
        rows += batch.num_rows
        for index, field in enumerate(dataset.schema):
            sums[index] += _sum(field.type, batch.column(field.name), origin)
    return Tally(rows, tuple(sums))


def read_again(lake: Lake, dataset: Dataset, start: datetime) -> FileFacts:
    """Read every byte and every page of one file.

    Raises:
        IntegrityError: Where there is no such file, or it cannot be read to its end.
    """
    path = lake.path(dataset, start)
    try:
        footer = read_footer(lake, dataset, start)
        if footer is None:
            raise IntegrityError(f"{path} is missing")
        with lake.open(path) as file:
            parquet = pq.ParquetFile(file)
            if not parquet.schema_arrow.equals(dataset.schema):
                raise IntegrityError(f"{path} has other columns than the lake's {dataset.name}")
            found = tally(dataset, parquet.iter_batches(), footer.window_start)
        return FileFacts(path, sha256_of(lake, path), footer.window_start, footer.window_end, found)
    except _UNREADABLE as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error


def fault_of(path: str, rows: int, sha256: str) -> str:
    """What is wrong with a file that is known to hold so many rows in exactly these bytes; empty where nothing is."""
    try:
        lake = Lake(path)  # no matter whose lake it is, a path tells how it is opened
        if sha256_of(lake, path) != sha256:
            return f"{path} is not the file that was proven"
        with lake.open(path) as file:
            found = pq.read_metadata(file).num_rows
    except FileNotFoundError:
        return f"{path} is missing"
    except _UNREADABLE as error:
        return f"{path} cannot be read: {error}"
    return "" if found == rows else f"{path} holds {found} rows, not the {rows} that were proven"


def sha256_of(lake: Lake, path: str) -> str:
    """Hash of a file's bytes as they are now, in hexadecimal."""
    digest = hashlib.sha256()
    with lake.open(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sum(meant: pa.DataType, values: pa.Array, origin: datetime) -> int:
    """The sum of a column whose type in the lake is `meant`; units of the last digit where that is decimal."""
    if pa.types.is_list(values.type):
        return _sum(meant.value_type, values.flatten(), origin)
    if pa.types.is_decimal(meant):
        total = pc.sum(values if pa.types.is_decimal(values.type) else values.cast(_WIDE)).as_py()
        scale = meant.scale if pa.types.is_decimal(values.type) else 0
        return int(Decimal(total or 0).scaleb(scale))
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _checksum(values)
    whole = _as_int64(values, origin)
    low, high = pc.bit_wise_and(whole, pa.scalar(_LOW_BITS, pa.int64())), pc.shift_right(whole, 32)
    return (pc.sum(low).as_py() or 0) + (
        (pc.sum(high).as_py() or 0) << 32
    )  # each half's sum fits, the whole one may not


def _checksum(values: pa.Array) -> int:
    """The sum of the values' checksums; each value is reckoned once, since most are tickers that come again."""
    counted = pc.value_counts(values.drop_null().cast(pa.large_binary()))
    checksums = map(crc32, counted.field("values").to_pylist())
    return sum(map(mul, checksums, counted.field("counts").to_pylist()))


def _as_int64(values: pa.Array, origin: datetime) -> pa.Array:
    if pa.types.is_timestamp(values.type):
        moments = values.cast(pa.timestamp("us", tz="UTC"))
        return pc.subtract(moments, pa.scalar(origin.astimezone(UTC), moments.type)).cast(pa.int64())
    return values.cast(pa.int64())
