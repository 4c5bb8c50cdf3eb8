"""Reading production as Arrow: windows of a stream table, their row counts, and how far the record has come.

Rows come by ADBC, which speaks binary COPY inside: none passes through Python. Kept out: files, and what to read when.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from kalshi_platform.core.errors import IntegrityError, PlatformError
from kalshi_platform.core.masking import masked
from kalshi_platform.core.schema import LAKE_PROOFS, Column, ColumnType, Home, Table
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.progress import watermarks_query
from kalshi_platform.database.urls import sqlalchemy_url

# COPY takes no parameters: given some, the driver falls back to one result in memory (511 MiB instead of 145 for a
# million rows). So the window stands in the query, where the planner sees it: it reads one partition from end to end.
_WINDOW = "{time} >= '{start}'::timestamptz AND {time} < '{end}'::timestamptz"
_AS_TEXT = (ColumnType.UUID, ColumnType.DECIMAL, ColumnType.JSON)

_FAMILIES = """
SELECT ticker, event_ticker, series_ticker FROM markets LEFT JOIN events USING (event_ticker) ORDER BY ticker
"""
_DROPPED = f"""
SELECT count(*) FROM {LAKE_PROOFS.name}
WHERE table_name = $1 AND window_start < $3::timestamptz AND window_end > $2::timestamptz AND dropped_at IS NOT NULL
"""  # noqa: S608 - a name of the schema


class ExportError(PlatformError):
    """Production cannot be read; the text says why, without the password."""


@contextmanager
def read_window(url: str, table: Table, start: datetime, end: datetime) -> Iterator[pa.RecordBatchReader]:
    """The rows of `table` with start <= time < end, in no order, as a stream of Arrow batches.

    Prices and sizes are integers, times are UTC in microseconds, ids are text. Reading holds one transaction.
    """
    with _rows(url, table, f"WHERE {_window(str(table.time_column), start, end)}") as reader:
        yield reader


@contextmanager
def read_hours(url: str, table: Table, start: datetime, end: datetime) -> Iterator[pa.RecordBatchReader]:
    """The rows of `coverage_hours` or `uncovered_intervals` with start <= hour < end, in no order; objects are text."""
    with _rows(url, table, f"WHERE {_window('hour', start, end)}") as reader:
        yield reader


@contextmanager
def read_table(url: str, table: Table) -> Iterator[pa.RecordBatchReader]:
    """All rows of a table that is no stream, as they are now, in no order; decimals and objects are text."""
    with _rows(url, table, "") as reader:
        yield reader


def last_seen(url: str, table: Table) -> datetime | None:
    """When the exchange was last asked about any row of a table that it describes; None where it has none."""
    with reading(url) as cursor:
        cursor.execute(f"SELECT (extract(epoch FROM max(seen_at)) * 1000000)::bigint FROM {table.name}")  # noqa: S608 - names of the schema
        ((moment,),) = cursor.fetchall()
    return _moment(moment)


def families(url: str) -> pa.Table:
    """Every market with its event and series, as far as they are known: `ticker`, `event_ticker`, `series_ticker`."""
    with reading(url) as cursor:
        cursor.execute(_FAMILIES)
        return cursor.fetch_arrow_table()


def count_window(url: str, table: Table, start: datetime, end: datetime) -> int:
    """How many rows of `table` have start <= time < end."""
    query = f"SELECT count(*) FROM {table.name} WHERE {_window(str(table.time_column), start, end)}"  # noqa: S608 - names of the schema
    with reading(url) as cursor:
        cursor.execute(query)
        ((count,),) = cursor.fetchall()
    return int(count)


def count_rows(url: str, table: Table) -> int:
    """How many rows `table` has; for tables that are not streams."""
    with reading(url) as cursor:
        cursor.execute(f"SELECT count(*) FROM {table.name}")  # noqa: S608 - a name of the schema
        ((count,),) = cursor.fetchall()
    return int(count)


def refuse_dropped(url: str, table: Table, start: datetime, end: datetime) -> None:
    """Make sure that production still has the rows of a window.

    Raises:
        IntegrityError: Where it has dropped them, so that the lake's file is the only copy and must stay as it is.
    """
    with reading(url) as cursor:
        cursor.execute(_DROPPED, (table.name, start.isoformat(), end.isoformat()))
        ((proofs,),) = cursor.fetchall()
    if proofs:
        raise IntegrityError("production has dropped these rows: the file that is in the lake is the only copy")


def watermark(url: str, tables: Sequence[Table], silence: float = 60.0) -> dict[str, datetime | None]:
    """Per table, the exchange time up to which every live gatherer has been merged.

    None where that cannot be said: no gatherer is known, or one of them has not come that far yet. A gatherer from
    which nothing was merged for `silence` seconds is not waited for, unless all are silent: it may be gone for good.
    """
    with reading(url) as cursor:
        cursor.execute(watermarks_query(silence))
        marks: dict[str, int | None] = dict(cursor.fetchall())
    return {table.name: _moment(marks.get(table.name)) for table in tables}


def is_merged(url: str, table: Table) -> bool:
    """Whether rows of any gatherer are merged into `table`; where not, it has what was fetched over REST alone."""
    with reading(url) as cursor:
        cursor.execute("SELECT count(*) FROM sync_progress WHERE table_name = $1", (table.name,))
        ((cursors,),) = cursor.fetchall()
    return bool(cursors)


def earliest(url: str, table: Table) -> datetime | None:
    """The time of a table's first row; None where it has none."""
    time = f"(extract(epoch FROM min({table.time_column})) * 1000000)::bigint"
    with reading(url) as cursor:
        cursor.execute(f"SELECT {time} FROM {table.name}")  # noqa: S608 - names of the schema
        ((first,),) = cursor.fetchall()
    return _moment(first)


@contextmanager
def reading(url: str) -> Iterator[dbapi.Cursor]:
    """A cursor for questions that belong together, in one transaction.

    Raises:
        ExportError: Where the database cannot be reached or refuses; the text does not hold the password.
    """
    address = sqlalchemy_url(url).set(drivername="postgresql")
    try:
        with dbapi.connect(address.render_as_string(hide_password=False)) as connection, connection.cursor() as cursor:
            yield cursor
    except dbapi.Error as error:
        secret = str(address.password or address)
        reason = " ".join(str(error).replace(secret, "***").split())
        raise ExportError(f"cannot read {masked(url)}: {reason}") from None


@contextmanager
def _rows(url: str, table: Table, condition: str) -> Iterator[pa.RecordBatchReader]:
    columns = ", ".join(_selected(column) for column in table.columns_of(Home.PRODUCTION))
    with reading(url) as cursor:
        cursor.execute(f"SELECT {columns} FROM {table.name} {condition}")  # noqa: S608 - names of the schema
        with cursor.fetch_record_batch() as reader:
            yield reader


def _selected(column: Column) -> str:
    return f"{column.name}::text AS {column.name}" if column.type in _AS_TEXT else column.name


def _window(column: str, start: datetime, end: datetime) -> str:
    return _WINDOW.format(time=column, start=start.isoformat(), end=end.isoformat())


def _moment(time_us: int | None) -> datetime | None:
    return None if time_us is None else datetime_from_us(time_us)
