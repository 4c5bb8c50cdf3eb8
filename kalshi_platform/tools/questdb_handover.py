"""A day of QuestDB becomes Parquet: the same datasets, columns and files as the lake's, under its root in `questdb/`.

Each file is counted against what QuestDB says it has; only then may its day be dropped there. Kept out: speaking
QuestDB and writing Parquet, which rooms of their own do.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kalshi_platform.core.errors import ConfigurationError, IntegrityError
from kalshi_platform.core.schema import STREAM_TABLES, Column, ColumnType, Home, Table
from kalshi_platform.lake.datasets import RAW, Dataset
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.schema import source_schema
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.questdb.client import QuestClient

FOLDER = "questdb"
_BATCH_ROWS = 50_000


def hand_over(
    client: QuestClient, lake_url: str, day: date, say: Callable[[str, int], None], *, drop: bool, today: date
) -> None:
    """Write a whole UTC day of every stream table; written again it is the same file.

    Args:
        client: The server.
        lake_url: The lake's root; files go below `questdb/`.
        day: A day that is over.
        say: Told of each file and its rows.
        drop: Drop the day there, once every file of it is counted.
        today: The day that is not over.

    Raises:
        ConfigurationError: The day is not over.
        IntegrityError: A file does not hold what QuestDB says it has; nothing is dropped.
        QuestUnavailable: It does not answer.
        QuestRefused: It will not answer this.
    """
    if day >= today:
        raise ConfigurationError(f"{day} is not over (UTC): only whole days are handed over")
    lake = Lake(f"{lake_url.rstrip('/')}/{FOLDER}")
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    totals = {table.name: _table(client, lake, table, start, say) for table in STREAM_TABLES}
    for table in STREAM_TABLES if drop else ():
        if _count(client, table, start, start + timedelta(days=1)) != totals[table.name]:
            raise IntegrityError(f"{table.name} of {day} changed meanwhile: hand it over again before it is dropped")
        if totals[table.name]:
            client.execute(f"ALTER TABLE {table.name} DROP PARTITION LIST '{day}'")


def _table(client: QuestClient, lake: Lake, table: Table, start: datetime, say: Callable[[str, int], None]) -> int:
    dataset, total, moment = RAW[table.name], 0, start
    while moment < start + timedelta(days=1):
        rows = _partition(client, lake, table, dataset, moment)
        say(lake.path(dataset, moment), rows)
        total, moment = total + rows, dataset.end(moment)
    return total


def _partition(client: QuestClient, lake: Lake, table: Table, dataset: Dataset, start: datetime) -> int:
    end = dataset.end(start)
    names = ", ".join(map(_selected, table.columns_of(Home.PRODUCTION)))
    with TemporaryDirectory(prefix="kalshi-questdb-") as folder:
        file = Path(folder) / "part.parquet"
        query = f"SELECT {names} FROM {table.name} WHERE {_window(table, start, end)}"  # noqa: S608 - as below
        client.export(query, file)
        facts = write_partition(lake, dataset, start, _batches(file, table))
    expected = _count(client, table, start, end)
    if facts.rows != expected:
        raise IntegrityError(f"{facts.path} holds {facts.rows} rows, QuestDB has {expected}")
    return facts.rows


def _selected(column: Column) -> str:
    return f"{column.name}::varchar AS {column.name}" if column.type is ColumnType.UUID else column.name


def _count(client: QuestClient, table: Table, start: datetime, end: datetime) -> int:
    query = f"SELECT count() FROM {table.name} WHERE {_window(table, start, end)}"  # noqa: S608 - names of the schema
    ((count,),) = client.execute(query)
    return int(count)


def _window(table: Table, start: datetime, end: datetime) -> str:
    first, last = (f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z" for moment in (start, end))
    return f"{table.time_column} >= '{first}' AND {table.time_column} < '{last}'"


def _batches(file: Path, table: Table) -> Iterator[pa.RecordBatch]:
    """What QuestDB wrote, in the types that production's rows have."""
    schema = source_schema(table)
    for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS):
        columns = [_column(batch.column(field.name), field.type) for field in schema]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_list(wanted):
        return pa.array([None if text is None else json.loads(text) for text in values.to_pylist()], wanted)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string(wanted):
        values = pc.fill_null(values.cast(wanted), "")  # an empty symbol is none at all in QuestDB
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.timestamp("us")).cast(wanted) if values.type.tz is None else values.cast(wanted)
    return values.cast(wanted)
