"""The stream tables as QuestDB has them, and rows as its client takes them. Kept out: sending anything.

Same names, same integers: prices in micro-dollars, sizes in hundredths of a contract. QuestDB's arrays hold doubles
only, so the levels of a book are JSON text. Keys are QuestDB's deduplication keys: sending a row twice, or from three
gatherers, leaves one.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from kalshi_platform.core.records import TABLE_OF, Row
from kalshi_platform.core.schema import STREAM_TABLES, ColumnType, Home, Table

_TYPES: Mapping[ColumnType, str] = {
    ColumnType.TIMESTAMP: "TIMESTAMP",
    ColumnType.TEXT: "SYMBOL CAPACITY 4096",
    ColumnType.BOOL: "BOOLEAN",
    ColumnType.INT32: "LONG",
    ColumnType.INT64: "LONG",
    ColumnType.UUID: "UUID",
    ColumnType.INT32_LIST: "VARCHAR",
    ColumnType.INT64_LIST: "VARCHAR",
}

KINDS: Mapping[type[Row], Table] = {kind: table for kind, table in TABLE_OF.items() if table in STREAM_TABLES}
"""Rows that are sent, and the table of each."""

Fields = tuple[str, dict[str, str], dict[str, Any], int]
"""A row for the client: table, symbols, columns, designated timestamp (µs since 1970)."""


def create_statement(table: Table) -> str:
    """DDL that makes a table where it is missing: a partition a day, deduplicated by the table's key."""
    columns = ", ".join(f"{column.name} {_TYPES[column.type]}" for column in table.columns_of(Home.PRODUCTION))
    return (
        f"CREATE TABLE IF NOT EXISTS {table.name} ({columns}) TIMESTAMP({table.time_column}) PARTITION BY DAY WAL "
        f"DEDUP UPSERT KEYS({', '.join(table.key)})"
    )


def fields_of(row: Row) -> Fields:
    """A row as the client takes it; what is unknown is left out."""
    return _READERS[type(row)](row)


def _reader(kind: type[Row], table: Table) -> Callable[[Row], Fields]:
    names: tuple[str, ...] = kind._fields
    kept = {column.name: column.type for column in table.columns_of(Home.PRODUCTION)}
    symbols = [name for name in names if kept.get(name) is ColumnType.TEXT]
    times = {name for name in names if kept.get(name) is ColumnType.TIMESTAMP}
    columns = [name for name in names if name in kept and name not in symbols and name != table.time_column]

    def read(row: Row) -> Fields:
        values = {name: getattr(row, name) for name in columns}
        shown = {name: _shown(value, is_time=name in times) for name, value in values.items() if value is not None}
        # the protocol has no empty symbol: it is left out there, and put back on the way to Parquet
        named = {name: value for name in symbols if (value := getattr(row, name))}
        return table.name, named, shown, getattr(row, str(table.time_column))

    return read


def _shown(value: Any, *, is_time: bool) -> Any:
    if is_time:
        return Micros(value)
    if isinstance(value, UUID):
        return str(value)
    return json.dumps(value, separators=(",", ":")) if isinstance(value, tuple) else value


class Micros(int):
    """Microseconds since 1970, to be sent as a time."""


_READERS: Mapping[type[Row], Callable[[Row], Fields]] = {kind: _reader(kind, table) for kind, table in KINDS.items()}
