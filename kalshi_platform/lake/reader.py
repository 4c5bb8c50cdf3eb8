"""Reading the lake: a DuckDB connection with every table as a view.

A view has the table's columns in dollars and contracts, then `date` (and `hour`, where a file holds
an hour), by which DuckDB leaves out files: put
`date` into every query over a large lake. Kept out: questions about books (`books`).
"""

from pathlib import Path

import duckdb
import pyarrow as pa

from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.lake.datasets import RAW, Dataset, Period
from kalshi_platform.lake.layout import Lake

ROOT_VARIABLE = "kalshi_lake_root"


def connect(root: str | Path | Lake) -> duckdb.DuckDBPyConnection:
    """A connection in UTC with the views `trades`, `orderbook_deltas`, `orderbook_snapshots` and `tickers`.

    New hours appear in the views by themselves. A table of which the lake had no hour at all when connecting stays
    empty until the next connect.
    """
    lake = root if isinstance(root, Lake) else Lake(root)
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET VARIABLE {ROOT_VARIABLE} = {_quoted(lake.root)}")
    for table in STREAM_TABLES:
        connection.execute(f"CREATE VIEW {table.name} AS {_rows(connection, lake, RAW[table.name])}")
    return connection


def root_of(connection: duckdb.DuckDBPyConnection) -> Lake:
    """The lake that a connection made by `connect` reads."""
    rows = connection.execute(f"SELECT getvariable('{ROOT_VARIABLE}')").fetchall()
    return Lake(rows[0][0])


def _rows(connection: duckdb.DuckDBPyConnection, lake: Lake, dataset: Dataset) -> str:
    """The query behind a dataset's view."""
    partitions = {"date": pa.date32()} | ({"hour": pa.int32()} if dataset.period is Period.HOUR else {})
    fields = [*dataset.schema, *(pa.field(name, arrow) for name, arrow in partitions.items())]
    pattern = _quoted(lake.glob(dataset))
    if connection.execute(f"SELECT count(*) FROM glob({pattern})").fetchall() != [(0,)]:  # noqa: S608 - quoted above
        types = ", ".join(f"'{name}': {_sql_type(arrow)}" for name, arrow in partitions.items())
        hive = f"hive_partitioning = true, hive_types = {{{types}}}"
        return f"SELECT {', '.join(f.name for f in fields)} FROM read_parquet({pattern}, {hive})"  # noqa: S608
    return f"SELECT {', '.join(f'CAST(NULL AS {_sql_type(f.type)}) AS {f.name}' for f in fields)} WHERE false"


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


def _quoted(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
