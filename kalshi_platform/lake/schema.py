"""The Parquet schemas, derived from `core.schema`: dollars and contracts as DECIMAL, times in UTC.

Rows come from the database as integers and are read by people as decimals. Kept out: turning one into the other
(`decimals`), how columns are encoded in a file (`encoding`), and which datasets there are (`datasets`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from kalshi_platform.core.schema import Column, ColumnType, Home, Table, Unit

SCHEMA_VERSION = 1
"""Stands in every footer; raised when a column changes its name, type or meaning."""

_ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    ColumnType.TEXT: pa.string(),
    ColumnType.BYTES: pa.binary(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.INT32: pa.int32(),
    ColumnType.INT64: pa.int64(),
    ColumnType.UUID: pa.string(),
    ColumnType.JSON: pa.string(),
    ColumnType.DECIMAL: pa.decimal128(38, 18),  # the shortest text of any double above 0.1 fits
    ColumnType.INT32_LIST: pa.list_(pa.int32()),
    ColumnType.INT64_LIST: pa.list_(pa.int64()),
}

DECIMALS: dict[Unit, pa.Decimal128Type] = {
    Unit.PRICE: pa.decimal128(9, Unit.PRICE.value),
    Unit.SIZE: pa.decimal128(18, Unit.SIZE.value),
}
"""What an integer of each unit becomes in the lake."""

PRICE, SIZE = DECIMALS[Unit.PRICE], DECIMALS[Unit.SIZE]
AMOUNT = pa.decimal128(38, Unit.PRICE.value + Unit.SIZE.value)
"""Dollars of prices times sizes, exact."""
TEXT, TIME, WHOLE, FLAG = pa.string(), pa.timestamp("us", tz="UTC"), pa.int64(), pa.bool_()


@dataclass(frozen=True, slots=True)
class Facts:
    """Type and meaning of a column that no table of the platform has."""

    type: pa.DataType
    comment: str
    nullable: bool = False


_EVENT_AND_SERIES = {
    "event_ticker": Facts(TEXT, "Event that the market belongs to; empty where nobody knows.", nullable=True),
    "series_ticker": Facts(TEXT, "Series that the event belongs to; empty where nobody knows.", nullable=True),
}

_UNIT_FOR_PEOPLE = (
    ("micro-dollars", "dollars"),
    ("hundredths of a contract", "contracts"),
    (", hundredths", ""),
)


def lake_columns(table: Table) -> tuple[Column, ...]:
    """The columns of a table that production has and the lake keeps."""
    return table.columns_of(Home.PRODUCTION)


def source_schema(table: Table) -> pa.Schema:
    """A stream table as it is read from the database: prices and sizes are integers, no promise of values yet."""
    return pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in lake_columns(table)])


def lake_schema(table: Table) -> pa.Schema:
    """A table as people read it: prices in dollars, sizes in contracts, each column with its comment."""
    return pa.schema([_lake_field(column) for column in lake_columns(table)], metadata={"comment": table.comment})


def enriched_schema(table: Table) -> pa.Schema:
    """A stream table as people read it, with event and series behind its own columns."""
    own = lake_schema(table)
    return pa.schema([*own, *_fields(_EVENT_AND_SERIES)], metadata=own.metadata)


def schema_of(columns: Mapping[str, Facts], comment: str) -> pa.Schema:
    """The schema of something that is reckoned."""
    return pa.schema(_fields(columns), metadata={"comment": comment})


def _fields(columns: Mapping[str, Facts]) -> list[pa.Field]:
    return [pa.field(name, of.type, of.nullable, {"comment": of.comment}) for name, of in columns.items()]


def comment_for_people(column: Column) -> str:
    """What a column means, in the units of the lake."""
    comment = column.comment
    for inside, outside in _UNIT_FOR_PEOPLE if column.unit else ():
        comment = comment.replace(inside, outside)
    return comment


def _lake_field(column: Column) -> pa.Field:
    return pa.field(column.name, _lake_type(column), column.nullable, {"comment": comment_for_people(column)})


def _lake_type(column: Column) -> pa.DataType:
    source = _ARROW_TYPES[column.type]
    if column.unit is None:
        return source
    decimal = DECIMALS[column.unit]
    return pa.list_(pa.field("element", decimal, nullable=False)) if pa.types.is_list(source) else decimal
