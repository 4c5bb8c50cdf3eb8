"""SQLAlchemy tables of one kind of database, derived from the schema in core.

Tests hold the migrations against them, and queries can be built on them. Kept out: DDL that runs, which is frozen in
the migrations, and anything that is said about a table in only one place.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from kalshi_platform.core.schema import (
    CAPTURE_TABLES,
    STREAM_TABLES,
    TABLE_POLICIES,
    Column,
    ColumnType,
    Default,
    Home,
    Table,
    Unit,
    tables_of,
)
from kalshi_platform.core.units import DOLLAR
from kalshi_platform.database.column_types import XID8

_TYPES: Mapping[ColumnType, Callable[[], TypeEngine[Any]]] = {
    ColumnType.TIMESTAMP: lambda: postgresql.TIMESTAMP(timezone=True),
    ColumnType.TEXT: sa.Text,
    ColumnType.BYTES: postgresql.BYTEA,
    ColumnType.BOOL: sa.Boolean,
    ColumnType.INT32: sa.Integer,
    ColumnType.INT64: sa.BigInteger,
    ColumnType.UUID: sa.Uuid,
    ColumnType.INT32_LIST: lambda: postgresql.ARRAY(sa.Integer),
    ColumnType.INT64_LIST: lambda: postgresql.ARRAY(sa.BigInteger),
    ColumnType.DECIMAL: sa.Numeric,
    ColumnType.JSON: postgresql.JSONB,
    ColumnType.XID: XID8,
}

_DEFAULTS: Mapping[Default, str] = {
    Default.TRANSACTION: "pg_current_xact_id()",
    Default.NOW: "now()",
    Default.ONE: "1",
}


@cache
def metadata(home: Home) -> sa.MetaData:
    """The tables of one kind of database: gatherer or production."""
    tables = sa.MetaData()
    for table in tables_of(home):
        sa.Table(
            table.name,
            tables,
            *_columns(table, home),
            sa.PrimaryKeyConstraint(*table.key),
            *_price_checks(table, home),
            *_policy_checks(table),
            *_cursor_index(table, home),
            *_ticker_index(table, home),
            *_parent_index(table),
            comment=table.comment,
            postgresql_partition_by=f"RANGE ({table.time_column})" if table.time_column else None,
        )
    return tables


def price_check_name(table: Table, column: Column) -> str:
    """Name of the constraint that keeps a price between nothing and one dollar."""
    return f"{table.name}_{column.name}_within_a_dollar"


def _columns(table: Table, home: Home) -> list[SchemaItem]:
    return [
        sa.Column(
            column.name,
            _TYPES[column.type](),
            nullable=column.nullable,
            server_default=sa.text(_DEFAULTS[column.default]) if column.default else None,
            comment=column.comment,
        )
        for column in table.columns_of(home)
    ]


def _price_checks(table: Table, home: Home) -> list[SchemaItem]:
    return [
        sa.CheckConstraint(f"{column.name} BETWEEN 0 AND {DOLLAR}", name=price_check_name(table, column))
        for column in table.columns_of(home)
        if column.unit is Unit.PRICE and column.type is ColumnType.INT32
    ]


def _policy_checks(table: Table) -> list[SchemaItem]:
    if table is not TABLE_POLICIES:
        return []
    return [
        sa.CheckConstraint("partition_hours IN (1, 24)", name="table_policies_partition_hours_is_an_hour_or_a_day"),
        sa.CheckConstraint("keep_days > 0", name="table_policies_keep_days_is_positive"),
        sa.CheckConstraint("compress_hours > 0", name="table_policies_compress_hours_is_positive"),
    ]


def _parent_index(table: Table) -> list[SchemaItem]:
    """Events are looked for by series, markets by event."""
    column = {"events": "series_ticker", "markets": "event_ticker"}.get(table.name)
    return [] if column is None else [sa.Index(f"{table.name}_{column}", column)]


def _ticker_index(table: Table, home: Home) -> list[SchemaItem]:
    """In production people look for one market's rows; the index is filled behind the writers."""
    if table not in STREAM_TABLES or home is not Home.PRODUCTION:
        return []
    options = {"fastupdate": "on", "gin_pending_list_limit": 65536}
    return [sa.Index(f"{table.name}_by_ticker", "ticker", postgresql_using="gin", postgresql_with=options)]


def _cursor_index(table: Table, home: Home) -> list[SchemaItem]:
    """On gatherers the deduplicator finds new rows by transaction."""
    if table not in (*STREAM_TABLES, *CAPTURE_TABLES) or home is not Home.GATHERER:
        return []
    return [sa.Index(f"{table.name}_ingest_xid", "ingest_xid")]
