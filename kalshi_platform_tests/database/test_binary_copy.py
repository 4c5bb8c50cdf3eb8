import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kalshi_platform.core.schema import (
    ORDERBOOK_DELTAS,
    ORDERBOOK_SNAPSHOTS,
    REJECTED_MESSAGES,
    SYNC_CURSORS,
    TABLES,
    TRADES,
    Column,
    ColumnType,
    Home,
    Table,
)
from kalshi_platform.database.binary_copy import HEADER, TRAILER, RowEncoder
from kalshi_platform.database.errors import UnencodableValueError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GATHERED = [table for table in TABLES if table.home.covers(Home.GATHERER)]
DELTA = (1_767_225_600_000_000, "KXTEST-26", True, 560_000, -100, 0, 0, 7, 1, 1_767_225_600_000_123)

_INT32 = st.integers(-(2**31), 2**31 - 1)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_VALUES: dict[ColumnType, st.SearchStrategy[object]] = {
    ColumnType.TIMESTAMP: st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),  # what a datetime can show
    ColumnType.TEXT: st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    ColumnType.BYTES: st.binary(),
    ColumnType.BOOL: st.booleans(),
    ColumnType.INT32: _INT32,
    ColumnType.INT64: _INT64,
    ColumnType.UUID: st.uuids(),
    ColumnType.INT32_LIST: st.lists(_INT32) | st.lists(_INT32).map(tuple),
    ColumnType.INT64_LIST: st.lists(_INT64) | st.lists(_INT64).map(tuple),
    ColumnType.XID: st.integers(0, 2**64 - 1),
}


def values_of(column: Column) -> st.SearchStrategy[object]:
    """Anything that fits a column."""
    return st.none() | _VALUES[column.type] if column.nullable else _VALUES[column.type]


def rows_of(table: Table, home: Home) -> st.SearchStrategy[list[tuple[object, ...]]]:
    """Rows of a table, as a writer sends them."""
    return st.lists(st.tuples(*map(values_of, table.written_columns(home))), max_size=20)


def as_sent(column: Column, value: object) -> object:
    """A value that was read back, as it was written."""
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    if column.type is ColumnType.XID and value is not None:
        return int(str(value))
    return value


class Reader:
    """A session that takes COPY data into a bare table and tells what it holds."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(asyncpg.connect(url))

    def close(self) -> None:
        """End the session."""
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    def read_back(self, table: Table, home: Home, data: bytes) -> list[tuple[object, ...]]:
        """What PostgreSQL holds after it was sent these bytes."""
        return self._loop.run_until_complete(self._read_back(table, home, data))

    async def _read_back(self, table: Table, home: Home, data: bytes) -> list[tuple[object, ...]]:
        columns = table.written_columns(home)
        names = ", ".join(column.name for column in columns)
        shown = ", ".join(f"{c.name}::text" if c.type is ColumnType.XID else c.name for c in columns)
        transaction = self._connection.transaction()
        await transaction.start()
        await self._connection.execute(f"CREATE TEMPORARY TABLE bare AS SELECT {names} FROM {table.name} WITH NO DATA")  # noqa: S608
        await self._connection.copy_to_table("bare", source=BytesIO(data), format="binary")
        records = await self._connection.fetch(f"SELECT {shown} FROM bare")  # noqa: S608
        await transaction.rollback()
        return [tuple(as_sent(c, v) for c, v in zip(columns, record, strict=True)) for record in records]


@pytest.fixture
def gatherer_reader(gatherer_database: str) -> Iterator[Reader]:
    """A session on a gatherer's database."""
    reader = Reader(gatherer_database)
    yield reader
    reader.close()


@pytest.fixture
def production_reader(production_database: str) -> Iterator[Reader]:
    """A session on production."""
    reader = Reader(production_database)
    yield reader
    reader.close()


def check_round_trip(reader: Reader, table: Table, home: Home, rows: list[tuple[object, ...]]) -> None:
    """PostgreSQL reads exactly what was written."""
    expected = [tuple(list(value) if isinstance(value, tuple) else value for value in row) for row in rows]
    assert reader.read_back(table, home, RowEncoder(table, home).encode(rows)) == expected


@pytest.mark.parametrize("table", GATHERED, ids=lambda table: table.name)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_postgresql_reads_what_was_written(gatherer_reader: Reader, table: Table, data: st.DataObject) -> None:
    """For every table of a gatherer, whatever fits its columns."""
    check_round_trip(gatherer_reader, table, Home.GATHERER, data.draw(rows_of(table, Home.GATHERER)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_transaction_ids_are_written_too(production_reader: Reader, data: st.DataObject) -> None:
    """The cursors carry them; production's columns are fewer than a gatherer's."""
    check_round_trip(
        production_reader, SYNC_CURSORS, Home.PRODUCTION, data.draw(rows_of(SYNC_CURSORS, Home.PRODUCTION))
    )
    rows = data.draw(rows_of(ORDERBOOK_DELTAS, Home.PRODUCTION))
    check_round_trip(production_reader, ORDERBOOK_DELTAS, Home.PRODUCTION, rows)


def test_long_arrays_and_texts(gatherer_reader: Reader) -> None:
    """A book of 9,999 levels a side and a frame of a megabyte are rows like any other."""
    levels = list(range(1, 10_000))
    book = (1, "T" * 200, "ws", "g", levels, levels, [], levels, 1, None, 2)
    check_round_trip(gatherer_reader, ORDERBOOK_SNAPSHOTS, Home.GATHERER, [book] * 3)
    frame = (1, -5, "c", "not_json", "d", bytes(range(256)) * 4096)
    check_round_trip(gatherer_reader, REJECTED_MESSAGES, Home.GATHERER, [frame] * 2)


def test_no_rows_are_an_empty_copy() -> None:
    """Nothing but header and trailer."""
    assert RowEncoder(TRADES, Home.GATHERER).encode([]) == HEADER + TRAILER


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("price", 2**31, "2147483647"),
        ("price", -(2**31) - 1, "2147483647"),
        ("price", 0.5, "float"),
        ("price", True, "bool"),
        ("price", None, "NULL"),
        ("size_delta", 2**63, "too large|out of range|required"),
        ("side", 1, "int"),
        ("side", "yes", "str"),
        ("ticker", "KX\0", "NUL"),
        ("ticker", "KX\ud800", "surrogates"),
        ("ticker", b"KX", "bytes"),
        ("exchange_ts", 9_224_318_016_000_000_000, "time"),
        ("exchange_ts", -(2**63), "time"),
        ("exchange_ts", EPOCH, "datetime"),
    ],
)
def test_what_does_not_fit_is_named(column: str, value: object, reason: str) -> None:
    """Table, column and row are said, and nothing is encoded."""
    names = [found.name for found in ORDERBOOK_DELTAS.written_columns(Home.GATHERER)]
    bad = tuple(value if name == column else good for name, good in zip(names, DELTA, strict=True))
    with pytest.raises(UnencodableValueError, match=reason) as caught:
        RowEncoder(ORDERBOOK_DELTAS, Home.GATHERER).encode([DELTA, DELTA, bad, DELTA])
    assert (caught.value.table, caught.value.column, caught.value.row) == ("orderbook_deltas", column, 2)


@pytest.mark.parametrize("levels", [[2**31], ["1"], [None], 5, {1: 2}])
def test_bad_arrays_are_named(levels: object) -> None:
    """An array is a list or tuple of integers that fit."""
    book = (1, "T", "ws", "g", levels, [1], [], [], None, None, 2)
    with pytest.raises(UnencodableValueError, match="yes_prices, row 0"):
        RowEncoder(ORDERBOOK_SNAPSHOTS, Home.GATHERER).encode([book])


@pytest.mark.parametrize("row", [DELTA[:-1], (*DELTA, 1)])
def test_rows_of_another_width_are_named(row: tuple[object, ...]) -> None:
    """A row with too few or too many values is not cut or filled up, alone or among others."""
    encoder = RowEncoder(ORDERBOOK_DELTAS, Home.GATHERER)
    for rows in ([row], [DELTA, row]):
        with pytest.raises(UnencodableValueError, match="values for 10 columns"):
            encoder.encode(rows)


def test_trade_ids_are_uuids() -> None:
    """A text is not taken for one."""
    row = (1, "00000000-0000-0000-0000-000000000001", "T", 1, 1, None, False, 2)
    with pytest.raises(UnencodableValueError, match="trade_id"):
        RowEncoder(TRADES, Home.GATHERER).encode([row])
    assert RowEncoder(TRADES, Home.GATHERER).encode([(row[0], UUID(str(row[1])), *row[2:])])
