"""Reading files of the lake again: what is in them now, and whether that is what it was.

A tally counts the rows of a window and adds up a hash of each whole row, so that rows of a database (integers) and of a
file (decimals) can be compared, whatever their order: two values that changed places make other rows. Kept out: writing
files, and what follows from a difference.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.publish import StorageError

_CHUNK = 2**20
_UNREADABLE = (OSError, pa.ArrowException, StorageError, KeyError, ValueError)
"""The last two: a bit fell over in the name of a column, or in the window that the footer names."""

# the outer hash spreads what the columns' hashes were put together from, so that sums of other rows do not meet
_DIGEST = "SELECT sum(hash(hash({columns}))) FROM rows"


@dataclass(frozen=True, slots=True)
class Tally:
    """What rows are, in any order: their number, and the sum of every row's hash, which one process can compare."""

    rows: int
    digest: int


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


def tally(dataset: Dataset, batches: Iterable[pa.RecordBatch]) -> Tally:
    """Add up rows of a stream, as they come from production or from the lake.

    Args:
        dataset: Whose rows they are.
        batches: With the lake's columns; prices and sizes as integers or as decimals.
    """
    rows, digest = 0, 0
    names = dataset.schema.names
    query = _DIGEST.format(columns=", ".join(f'"{name}"' for name in names))
    with _hasher().cursor() as connection:
        for batch in batches:
            plain = pa.table([_plain(batch.column(name)) for name in names], names)
            ((added,),) = connection.register("rows", plain).execute(query).fetchall()
            rows += batch.num_rows
            digest += added or 0
    return Tally(rows, digest)


def read_again(lake: Lake, dataset: Dataset, start: datetime) -> FileFacts:
    """Read every byte and every page of one file.

    Raises:
        IntegrityError: Where there is no such file, it cannot be read to its end, or another one came meanwhile.
    """
    path = lake.path(dataset, start)
    try:
        footer = read_footer(lake, dataset, start)
        if footer is None:
            raise IntegrityError(f"{path} is missing")
        sha256 = sha256_of(lake, path)
        with lake.open(path) as file:
            parquet = pq.ParquetFile(file)
            if not parquet.schema_arrow.equals(dataset.schema):
                raise IntegrityError(f"{path} has other columns than the lake's {dataset.name}")
            found = tally(dataset, parquet.iter_batches())
        if sha256_of(lake, path) != sha256:
            raise IntegrityError(f"{path} was written anew while it was read; look again")
        return FileFacts(path, sha256, footer.window_start, footer.window_end, found)
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


@cache
def _hasher() -> duckdb.DuckDBPyConnection:
    """One for the process, because it takes milliseconds to make; whoever uses it takes a cursor."""
    return duckdb.connect(":memory:", config={"threads": 1})


def _plain(values: pa.Array) -> pa.Array:
    """A column as production and lake both can have it: bytes, or integers, decimals in units of their last digit."""
    kind = values.type
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(values.offsets, _plain(values.values))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return values.cast(pa.large_binary())  # a bit that fell over may have left no text
    if pa.types.is_decimal(kind):
        values = values.view(pa.decimal128(kind.precision, 0))
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", tz="UTC"))
    return values.cast(pa.int64())
