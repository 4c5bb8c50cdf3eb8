"""The words in which the schema is written: columns, tables, their types, units and homes.

Kept out: the tables themselves (`core.schema`).
"""

from dataclasses import dataclass
from enum import Enum, StrEnum


class ColumnType(StrEnum):
    """Logical column types; each room maps them to its own."""

    TIMESTAMP = "timestamp"  # UTC, microseconds; an int of µs since 1970 inside the platform
    TEXT = "text"
    BYTES = "bytes"
    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    UUID = "uuid"
    INT32_LIST = "int32[]"
    INT64_LIST = "int64[]"
    DECIMAL = "decimal"  # exact, of any scale
    JSON = "json"  # an object of the exchange's, whole
    XID = "xid"  # a transaction id that never wraps (PostgreSQL's xid8)


class Unit(Enum):
    """What an integer counts; people see it divided by ten to the power of the value."""

    PRICE = 6  # micro-dollars: 560000 is $0.56
    SIZE = 2  # hundredths of a contract


class Home(Enum):
    """Which databases hold a table or column."""

    GATHERER = "gatherer"
    PRODUCTION = "production"
    BOTH = "both"

    def covers(self, home: "Home") -> bool:
        """Whether something that lives here also lives in `home`."""
        return self is Home.BOTH or self is home


class Default(StrEnum):
    """Values that the database fills in by itself, so that no writer sends them."""

    TRANSACTION = "current transaction id"
    NOW = "now"
    ONE = "one"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, logical type, and what a reader must know of it."""

    name: str
    type: ColumnType
    comment: str
    unit: Unit | None = None
    nullable: bool = False
    home: Home = Home.BOTH
    default: Default | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table: columns in order, and what it is known by.

    Attributes:
        key: What makes a row the one it is.
        time_column: The column it is partitioned by; None where it is not partitioned.
        revised: Columns that a later version of the same row fills in, by the key; `ingest_xid` moves with them. All
            other columns of a row that stands never change.
    """

    name: str
    comment: str
    home: Home
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time_column: str | None = None
    revised: tuple[str, ...] = ()

    def columns_of(self, home: Home) -> tuple[Column, ...]:
        """The columns that this table has in one kind of database."""
        return tuple(column for column in self.columns if column.home.covers(home))

    def written_columns(self, home: Home) -> tuple[Column, ...]:
        """The columns that a writer sends, in order: all but those that the database fills in."""
        return tuple(column for column in self.columns_of(home) if column.default is None)
