"""Rows of one table to bytes on disk and back, in the types of the schema.

MessagePack, because it keeps integers and bytes exact and msgspec reads it at C speed. Rows that another version of
the platform left, with other columns, are put in order by name. Kept out: where the bytes lie (spool).
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from kalshi_platform.core.schema import Column, ColumnType, Home, Table
from kalshi_platform.database.errors import SpoolLayoutError

_KINDS: Mapping[ColumnType, Any] = {
    ColumnType.TIMESTAMP: int,
    ColumnType.TEXT: str,
    ColumnType.BYTES: bytes,
    ColumnType.BOOL: bool,
    ColumnType.INT32: int,
    ColumnType.INT64: int,
    ColumnType.UUID: UUID,
    ColumnType.INT32_LIST: tuple[int, ...],
    ColumnType.INT64_LIST: tuple[int, ...],
    ColumnType.XID: int,
}


class RowPacker:
    """Packs rows of one table.

    Attributes:
        layout: Names of the columns, in the order of a row's values.
    """

    def __init__(self, table: Table) -> None:
        columns = table.written_columns(Home.GATHERER)
        self.layout = ",".join(column.name for column in columns)
        self._table = table.name
        self._names = [column.name for column in columns]
        self._row = tuple.__class_getitem__(tuple(_kind(column) for column in columns))
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[list[tuple[Any, ...]]] = msgspec.msgpack.Decoder(list[self._row])  # type: ignore[name-defined]

    def pack(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """The rows as bytes.

        Raises:
            UNPACKABLE: Where a value has no MessagePack form, which no column could hold either.
        """
        return self._encoder.encode(rows)

    def unpack(self, data: bytes, layout: str) -> list[tuple[Any, ...]]:
        """The rows, their values in the order of this version's columns.

        Raises:
            SpoolLayoutError: Where a column of another version's rows is missing or of another type.
        """
        try:
            if layout == self.layout:
                return self._decoder.decode(data)
            names = layout.split(",")
            named = (dict(zip(names, row, strict=True)) for row in msgspec.msgpack.decode(data))
            return [msgspec.convert([row.get(name) for name in self._names], self._row) for row in named]
        except (msgspec.MsgspecError, ValueError) as error:
            raise SpoolLayoutError(
                f"rows of {self._table} in the spool do not fit this version's columns ({error}); start the version "
                f"that wrote them until its spool is empty. They have the columns {layout}"
            ) from error


UNPACKABLE = (OverflowError, TypeError, ValueError, msgspec.MsgspecError)
"""What packing a value raises that MessagePack cannot hold: an integer of more than 64 bits, a lone surrogate."""


def _kind(column: Column) -> Any:
    kind = _KINDS[column.type]
    return kind | None if column.nullable else kind
