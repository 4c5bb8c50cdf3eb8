"""Rows to PostgreSQL's binary COPY format, column by column at C speed.

A row is cut into segments: the fixed-width columns between two columns of variable width are packed at once, and the
variable ones stand between them as they are. Only where packing fails is each value looked at, to say which one it
was; nothing is sent then. Kept out: sending.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat
from typing import Any
from uuid import UUID

from kalshi_platform.core.schema import Column, ColumnType, Home, Table
from kalshi_platform.database.errors import UnencodableValueError

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_EPOCH_2000 = 946_684_800_000_000  # µs from 1970 to PostgreSQL's epoch
_FIRST_TIME, _END_OF_TIME = -211_813_488_000_000_000, 9_223_371_331_200_000_000  # PostgreSQL's, µs since 2000
_NULL_LENGTH = -1
_INT4_OID, _INT8_OID = 23, 20

Values = Sequence[Any]
"""The values of one column."""


@dataclass(frozen=True, slots=True)
class _Codec:
    """How one column type is written.

    Attributes:
        kind: The Python type that its values must have.
        convert: Makes what is packed of a column's values without None.
        code: struct code of a fixed-width type; empty where the width varies and `convert` gives bytes.
        width: Bytes of a fixed-width value.
    """

    kind: type | tuple[type, ...]
    convert: Callable[[Values], Values]
    code: str = ""
    width: int = 0


def _unchanged(values: Values) -> Values:
    return values


def _times(values: Values) -> Values:
    if not _FIRST_TIME <= min(values) - _EPOCH_2000 <= max(values) - _EPOCH_2000 < _END_OF_TIME:
        raise OverflowError("a time that PostgreSQL cannot hold")
    return [value - _EPOCH_2000 for value in values]


def _texts(values: Values) -> Values:
    encoded = [value.encode() for value in values]
    if b"\0" in b"".join(encoded):
        raise ValueError("text that holds NUL, which PostgreSQL's text cannot")
    return encoded


def _uuids(values: Values) -> Values:
    return [value.bytes for value in values]


@lru_cache(maxsize=4096)
def _array_struct(length: int, code: str) -> struct.Struct:
    return struct.Struct("!5i" + f"i{code}" * length)


def _arrays(values: Values, oid: int, code: str, width: int) -> Values:
    """One-dimensional arrays: dimensions, no NULLs, element type, length, lower bound 1, elements."""
    empty = struct.pack("!3i", 0, 0, oid)
    return [
        _array_struct(len(value), code).pack(
            1, 0, oid, len(value), 1, *chain.from_iterable(zip(repeat(width), value, strict=False))
        )
        if value
        else empty
        for value in values
    ]


_CODECS: Mapping[ColumnType, _Codec] = {
    ColumnType.TIMESTAMP: _Codec(int, _times, "q", 8),
    ColumnType.TEXT: _Codec(str, _texts),
    ColumnType.BYTES: _Codec(bytes, _unchanged),
    ColumnType.BOOL: _Codec(bool, _unchanged, "?", 1),
    ColumnType.INT32: _Codec(int, _unchanged, "i", 4),
    ColumnType.INT64: _Codec(int, _unchanged, "q", 8),
    ColumnType.UUID: _Codec(UUID, _uuids, "16s", 16),
    ColumnType.INT32_LIST: _Codec((list, tuple), lambda values: _arrays(values, _INT4_OID, "i", 4)),
    ColumnType.INT64_LIST: _Codec((list, tuple), lambda values: _arrays(values, _INT8_OID, "q", 8)),
    ColumnType.XID: _Codec(int, _unchanged, "Q", 8),
}
_NOT_ENCODABLE = (struct.error, ValueError, TypeError, OverflowError)


class _Segment:
    """Fixed-width values side by side, packed for all rows at once."""

    def __init__(self) -> None:
        self._codes = "!"
        self._arguments: list[Iterable[Any]] = []

    def __bool__(self) -> bool:
        """Whether it holds anything."""
        return bool(self._arguments)

    def add(self, code: str, values: Iterable[Any]) -> None:
        """Pack one more value of every row as `code`."""
        self._codes += code
        self._arguments.append(values)

    def packed(self) -> Iterator[bytes]:
        """The segment's bytes, row by row."""
        return map(struct.Struct(self._codes).pack, *self._arguments)


class RowEncoder:
    """Encodes rows of one table, in the order of the columns that a writer sends.

    Values are int (times in µs since 1970), str, bytes, bool, UUID, or a list or tuple of int; None is NULL.
    """

    def __init__(self, table: Table, home: Home) -> None:
        self.table = table
        self.columns = table.written_columns(home)

    def encode(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """The rows in binary COPY format.

        Raises:
            UnencodableValueError: Where a value does not fit its column; it names the row and the column.
        """
        if not rows:
            return HEADER + TRAILER
        try:
            return b"".join((HEADER, *self._pieces(list(zip(*rows, strict=True))), TRAILER))
        except _NOT_ENCODABLE as error:
            raise self._explained(rows, error) from error

    def _pieces(self, columns: Sequence[Values]) -> Iterator[bytes]:
        """Every row's segments and variable-width values, one after the other."""
        streams: list[Iterable[bytes]] = []
        segment = _Segment()
        segment.add("h", repeat(len(self.columns)))
        for column, values in zip(self.columns, columns, strict=True):
            codec = _CODECS[column.type]
            has_null = _checked_kinds(column, codec, values)
            if codec.code and not has_null:
                segment.add("i", repeat(codec.width))
                segment.add(codec.code, codec.convert(values))
                continue
            pieces, lengths = _pieces_of(codec, values) if has_null else _whole_pieces_of(codec, values)
            segment.add("i", lengths)
            streams += (segment.packed(), pieces)
            segment = _Segment()
        if segment:
            streams.append(segment.packed())
        return chain.from_iterable(zip(*streams, strict=True))

    def _explained(self, rows: Sequence[Sequence[Any]], error: Exception) -> UnencodableValueError:
        """Which value it was: the first that cannot be encoded alone."""
        for index, row in enumerate(rows):
            if len(row) != len(self.columns):
                reason = f"has {len(row)} values for {len(self.columns)} columns"
                return UnencodableValueError(self.table.name, "*", index, reason)
            for column, value in zip(self.columns, row, strict=True):
                if reason := _reason_against(column, value):
                    return UnencodableValueError(self.table.name, column.name, index, reason)
        return UnencodableValueError(self.table.name, "*", 0, str(error))


def _checked_kinds(column: Column, codec: _Codec, values: Values) -> bool:
    """Whether NULLs are among the values; refuses NULLs where there may be none, and other types."""
    kinds = set(map(type, values))
    has_null = type(None) in kinds
    if has_null and not column.nullable:
        raise TypeError("NULL where there must be a value")
    kinds.discard(type(None))
    for kind in kinds:
        if not issubclass(kind, codec.kind) or (kind is bool and codec.kind is not bool):
            raise TypeError(f"a {kind.__name__} where {column.type.value} is needed")
    return has_null


def _whole_pieces_of(codec: _Codec, values: Values) -> tuple[Sequence[bytes], Sequence[int]]:
    """The bytes of variable-width values, and their lengths."""
    pieces = codec.convert(values)
    return pieces, list(map(len, pieces))


def _pieces_of(codec: _Codec, values: Values) -> tuple[Sequence[bytes], Sequence[int]]:
    """The bytes of values among which there are NULLs, and their lengths."""
    present = [value for value in values if value is not None]
    converted = codec.convert(present) if present else []
    pieces = iter(map(struct.Struct(f"!{codec.code}").pack, converted) if codec.code else converted)
    filled = [b"" if value is None else next(pieces) for value in values]
    lengths = [_NULL_LENGTH if value is None else len(piece) for value, piece in zip(values, filled, strict=True)]
    return filled, lengths


def _reason_against(column: Column, value: Any) -> str:
    """Why a value does not fit its column; empty where it does."""
    codec = _CODECS[column.type]
    try:
        if not _checked_kinds(column, codec, (value,)):
            converted = codec.convert((value,))
            if codec.code:
                struct.pack(f"!{codec.code}", *converted)
    except _NOT_ENCODABLE as error:
        return f"{str(value)[:60]!r} does not fit: {error}"
    return ""
