"""Integers to DECIMAL, exactly: 560000 micro-dollars become 0.560000 dollars.

The digits stay as they are and only the place of the point is declared, so no division and no float is involved.
Kept out: which column is in which unit (`schema`).
"""

import pyarrow as pa

from kalshi_platform.core.errors import IntegrityError

_ANY_INT64 = pa.decimal128(19, 0)


def to_decimals(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of integers in the shape of a lake schema; decimals, texts of decimals and all else keep their value.

    Raises:
        IntegrityError: Where a value has more digits than its column can hold, or a value is missing.
    """
    columns = [_column(rows[field.name].combine_chunks(), field) for field in schema]
    return pa.table(columns, schema=schema)


def _column(values: pa.Array, field: pa.Field) -> pa.Array:
    if values.null_count and not field.nullable:
        raise IntegrityError(f"column {field.name} has {values.null_count} rows without a value")
    try:
        return _converted(values, field.type)
    except pa.ArrowInvalid as error:
        raise IntegrityError(f"column {field.name}: {error}") from error


def _converted(values: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_list(target):
        return pa.ListArray.from_arrays(values.offsets, _converted(values.values, target.value_type), type=target)
    if pa.types.is_decimal(target) and pa.types.is_integer(values.type):
        return _moved_point(values, target)
    return values.cast(target)


def _moved_point(values: pa.Array, target: pa.Decimal128Type) -> pa.Array:
    digits = values.cast(_ANY_INT64).cast(pa.decimal128(target.precision, 0))  # the second cast checks the precision
    return digits.view(target)
