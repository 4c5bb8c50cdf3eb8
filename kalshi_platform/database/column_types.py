"""Column types of PostgreSQL that SQLAlchemy does not bring.

Here belongs a type that a migration or a table needs. Kept out: which column has which type.
"""

from typing import Any

from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType


class XID8(UserDefinedType[int]):
    """A transaction id with its epoch: 64 bits, never wraps."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type's name in DDL."""
        return "xid8"


ischema_names["xid8"] = XID8  # so that SQLAlchemy also knows the type of a column that it finds
