"""Reading the lake: a DuckDB connection in which every dataset is a view.

`raw.trades`, `processed.trades`, `aggregates.candles_1m`: a schema for each layer, a view for each dataset, with its
columns in dollars and contracts and then `date` (and `hour`, where a file holds an hour), by which DuckDB leaves out
files. The short name is the raw table or the aggregate: `trades`, `orderbook_deltas`, `candles_1m`. `current_markets`,
`current_events` and `current_series` are the newest state. Kept out: questions about books (`books`, `macros`).
"""

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from kalshi_platform.lake.aggregates import checkpoint_levels_sql, emptied_books_sql
from kalshi_platform.lake.datasets import DATASETS, Dataset, Layer, Period
from kalshi_platform.lake.duckdb_s3 import open_bucket
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.macros import MACROS
from kalshi_platform.lake.partitions import days_between

ROOT_VARIABLE = "kalshi_lake_root"
Value = str | datetime | timedelta | Sequence[str] | Sequence[datetime]
STATES = ("series", "events", "markets")
"""Datasets whose partitions are each the whole state."""


def connect(root: str | Path | Lake) -> duckdb.DuckDBPyConnection:
    """A connection in UTC with every dataset as a view, and the macros of `macros`.

    New hours appear in the views by themselves. A dataset of which the lake had nothing at all when connecting stays
    empty until the next connect.

    Args:
        root: A folder or `s3://bucket/prefix`.

    Raises:
        ConfigurationError: Where the root is neither, or this DuckDB cannot read buckets.
    """
    lake = root if isinstance(root, Lake) else Lake(root)
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET parquet_metadata_cache = true")  # a day is 24 footers; a replaced file is seen
    if lake.root.startswith("s3://"):
        open_bucket(connection)
    connection.execute(f"SET VARIABLE {ROOT_VARIABLE} = {quoted(lake.root)}")
    for layer in Layer:
        connection.execute(f"CREATE SCHEMA {layer}")
    for dataset in DATASETS:
        rows = _rows(connection, dataset, lake.glob(dataset))
        connection.execute(f"CREATE VIEW {dataset.layer}.{dataset.name} AS {rows}")
        if dataset.layer is not Layer.PROCESSED:
            connection.execute(f"CREATE VIEW {dataset.name} AS FROM {dataset.layer}.{dataset.name}")
    for state in STATES:
        newest = f"SELECT max(date) FROM raw.{state}"  # noqa: S608 - names of ours
        connection.execute(f"CREATE VIEW current_{state} AS FROM raw.{state} WHERE date = ({newest})")
    connection.execute(f"CREATE VIEW checkpoint_levels AS {checkpoint_levels_sql('duckdb')}")
    connection.execute(f"CREATE VIEW emptied_books AS {emptied_books_sql('duckdb')}")
    for macro in MACROS:
        connection.execute(macro)
    return connection


def root_of(connection: duckdb.DuckDBPyConnection) -> Lake:
    """The lake that a connection made by `connect` reads."""
    rows = connection.execute(f"SELECT getvariable('{ROOT_VARIABLE}')").fetchall()
    return Lake(rows[0][0])


def _rows(connection: duckdb.DuckDBPyConnection, dataset: Dataset, glob: str) -> str:
    """The query for the files that a pattern finds; for no rows where it finds none."""
    partitions = {"date": pa.date32()} | ({"hour": pa.int32()} if dataset.period is Period.HOUR else {})
    fields = [*dataset.schema, *(pa.field(name, arrow) for name, arrow in partitions.items())]
    pattern = quoted(glob)
    ends = connection.execute(f"SELECT min(file), max(file) FROM glob({pattern}) HAVING count(*) > 0").fetchall()  # noqa: S608 - quoted above
    if not ends:
        return f"SELECT {_columns(fields, ())} WHERE false"
    types = ", ".join(f"'{name}': {_sql_type(arrow)}" for name, arrow in partitions.items())
    files = f"read_parquet({pattern}, hive_partitioning = true, hive_types = {{{types}}}"
    first, last = (_names(connection, file) for file in ends[0])
    if (first & last).issuperset(dataset.schema.names):
        return f"SELECT {_columns(fields, None)} FROM {files})"  # noqa: S608 - names of ours
    files += ", union_by_name = true"  # an older version wrote some of them: every footer is read
    there = {row[0] for row in connection.execute(f"DESCRIBE FROM {files})").fetchall()}
    return f"SELECT {_columns(fields, there)} FROM {files})"  # noqa: S608 - names of ours


def _names(connection: duckdb.DuckDBPyConnection, file: str) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM parquet_schema(?)", [file]).fetchall()}


def _columns(fields: Sequence[pa.Field], there: Collection[str] | None) -> str:
    """What to select: NULL for a column that is not there; None says that all are."""
    absent = [] if there is None else [field.name for field in fields if field.name not in there]
    return ", ".join(f"CAST(NULL AS {_sql_type(f.type)}) AS {f.name}" if f.name in absent else f.name for f in fields)


def _sql_type(arrow: pa.DataType) -> str:
    if pa.types.is_list(arrow):
        return f"{_sql_type(arrow.value_type)}[]"
    if pa.types.is_decimal(arrow):
        return f"DECIMAL({arrow.precision}, {arrow.scale})"
    return _SQL_TYPES[arrow]


_SQL_TYPES: dict[pa.DataType, str] = {
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.date32(): "DATE",
}


def relation(
    connection: duckdb.DuckDBPyConnection, query: str, span: tuple[datetime, datetime], **values: Value
) -> duckdb.DuckDBPyRelation:
    """A query to be asked further, or fetched on every core.

    Not DuckDB's own parameters: for them `sql` keeps the whole answer and hands it on as one list of constants, which
    takes 6 µs a row (9 s for a market's day of 1.5 million changes; so 0.14 s, and 0.25 s through `execute`). Not the
    views: of a view every file is listed at each question, 0.1 s for a year of hours in a folder, more in a bucket.

    Args:
        connection: As `connect` made it.
        query: With `{name}` for a dataset, as the views have it, and `$name` for a value.
        span: First and last moment: datasets have the rows of the days that it touches, and perhaps of others.
        values: Written into the query.
    """
    lake, days = root_of(connection), days_between(*span)
    used = {one.name: one for one in DATASETS if one.layer is not Layer.PROCESSED and f"{{{one.name}}}" in query}
    written = {f"{{{name}}}": f"({_rows(connection, one, lake.glob(one, days))})" for name, one in used.items()}
    written |= {f"${name}": _literal(value) for name, value in values.items()}
    return connection.sql(re.sub(r"\{\w+\}|\$\w+", lambda name: written[name[0]], query))


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ '{value.isoformat(sep=' ')}'"
    if isinstance(value, timedelta):
        return f"to_microseconds({value // timedelta(microseconds=1)})"
    return f"[{', '.join(map(_literal, value))}]"


def quoted(text: str) -> str:
    """Text as SQL writes it."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
