"""The three homes of the schema, held against each other: SQLAlchemy's tables, the migrated database, Parquet."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from kalshi_platform.core.schema import STREAM_TABLES, Column, ColumnType, Home, Table, Unit, tables_of
from kalshi_platform.database.export import read_window
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.database.tables import metadata
from kalshi_platform.database.urls import sqlalchemy_url
from kalshi_platform.lake import connect
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.schema import lake_schema
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.queries import fetch

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
COLUMNS = (
    "SELECT a.attname::text, NOT a.attnotnull FROM pg_attribute AS a WHERE a.attrelid = $1::text::regclass "
    "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
)
STREAMS = pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)


@pytest.mark.parametrize("home", [Home.GATHERER, Home.PRODUCTION])
async def test_tables_are_the_same_columns_everywhere(
    gatherer_database: str, production_database: str, home: Home
) -> None:
    """Schema, SQLAlchemy and server: names, order, and which may be empty."""
    url = gatherer_database if home is Home.GATHERER else production_database
    for table in tables_of(home):
        wanted = [(column.name, column.nullable) for column in table.columns_of(home)]
        derived = metadata(home).tables[table.name]
        assert [(column.name, column.nullable) for column in derived.columns] == wanted
        assert [tuple(row) for row in await fetch(url, COLUMNS, f"public.{table.name}")] == wanted


@STREAMS
def test_parquet_has_production_s_columns(table: Table) -> None:
    """The same names in the same order, empty where production's may be, each with its meaning."""
    schema: pa.Schema = lake_schema(table)
    assert [(field.name, field.nullable) for field in schema] == [
        (column.name, column.nullable) for column in table.columns_of(Home.PRODUCTION)
    ]
    assert all(field.metadata[b"comment"] for field in schema)


EXTREMES: dict[ColumnType, tuple[Any, Any]] = {
    ColumnType.TEXT: ("", "Ünïcode 'quoted' \"twice\" \\ 台灣 \u200b"),
    ColumnType.BOOL: (False, True),
    ColumnType.INT32: (-(2**31), 2**31 - 1),
    ColumnType.INT64: (-(2**63), 2**63 - 1),
    ColumnType.UUID: (UUID(int=0), UUID(int=2**128 - 1)),
    ColumnType.TIMESTAMP: (datetime(1970, 1, 1, tzinfo=UTC), datetime(2261, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ColumnType.INT32_LIST: ([], [0, 1, 999_999, 1_000_000]),
    ColumnType.INT64_LIST: ([], [1, -1, 10**18 - 1, 0]),
}
PRICES, SIZES = (0, 1_000_000), (-(10**18) + 1, 10**18 - 1)


def extreme(column: Column, which: int) -> Any:
    """The least or the greatest value of a column; none at all where there may be none."""
    if which == 2:
        return None if column.nullable else extreme(column, 0)
    if column.type is ColumnType.INT32 and column.unit is Unit.PRICE:
        return PRICES[which]
    if column.type is ColumnType.INT64 and column.unit is Unit.SIZE:
        return SIZES[which]
    return EXTREMES[column.type][which]


def extreme_rows(table: Table) -> list[dict[str, Any]]:
    """Three rows of an hour: least values, greatest values, and as few as may be."""
    rows = [{column.name: extreme(column, which) for column in table.columns_of(Home.PRODUCTION)} for which in range(3)]
    for number, row in enumerate(rows):
        row[str(table.time_column)] = NOON + timedelta(microseconds=number)
    return rows


def for_people(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
    """What people must see of a row: exact dollars and contracts."""

    def shown(column: Column, value: Any) -> Any:
        if value is None or column.unit is None:
            return value
        if isinstance(value, list):
            return [shown(column, one) for one in value]
        return Decimal(value).scaleb(-column.unit.value)

    return tuple(shown(column, row[column.name]) for column in table.columns_of(Home.PRODUCTION))


@STREAMS
async def test_extreme_rows_are_the_same_in_all_three(production_database: str, tmp_path: Path, table: Table) -> None:
    """In by SQLAlchemy, out by SQL views and by Parquet: not a digit, not a character is lost on either way."""
    rows = extreme_rows(table)
    connection = await asyncpg.connect(production_database)
    await ensure_partitions(connection, table, [NOON.date()])
    await connection.close()
    engine = create_async_engine(sqlalchemy_url(production_database))
    async with engine.begin() as session:
        await session.execute(sa.insert(metadata(Home.PRODUCTION).tables[table.name]), rows)
    await engine.dispose()

    wanted = [for_people(table, row) for row in rows]
    seen = await fetch(production_database, f"SELECT * FROM people.{table.name} ORDER BY {table.time_column}")  # noqa: S608
    assert [tuple(row) for row in seen] == wanted

    lake = Lake(tmp_path / "lake")
    with read_window(production_database, table, NOON, NOON + HOUR) as batches:
        assert write_partition(lake, RAW[table.name], RAW[table.name].period.floor(NOON), batches).rows == 3
    names = ", ".join(column.name for column in table.columns_of(Home.PRODUCTION))
    found = connect(lake).sql(f"SELECT {names} FROM {table.name} ORDER BY {table.time_column}").fetchall()  # noqa: S608
    assert [tuple(UUID(v) if n == "trade_id" else v for n, v in zip(names.split(", "), row, strict=True))
            for row in found] == wanted  # fmt: skip
