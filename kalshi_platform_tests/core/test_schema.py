"""The schema, and the rows that must follow it."""

from kalshi_platform.core.records import TABLE_OF
from kalshi_platform.core.schema import STREAM_TABLES, TABLES, Home, tables_of


def test_rows_list_their_table_s_columns() -> None:
    """A row goes into binary COPY as it is, so names and order must agree."""
    for row, table in TABLE_OF.items():
        assert row._fields == tuple(column.name for column in table.written_columns(Home.GATHERER))


def test_keys_begin_with_the_time() -> None:
    """A key that begins with the time takes COPY twice as fast (design §3)."""
    for table in STREAM_TABLES:
        assert table.key[0] == table.time_column


def test_keys_are_columns_without_null() -> None:
    """Every key column exists, and holds a value."""
    for table in TABLES:
        columns = {column.name: column for column in table.columns}
        assert all(not columns[name].nullable for name in table.key)


def test_only_what_a_later_version_knows_is_revised() -> None:
    """A revised column exists, may be empty until it is known, and is no part of the key."""
    revised = {table.name: table.revised for table in TABLES if table.revised}
    assert revised == {"capture_gaps": ("until_at", "healed_by"), "capture_sessions": ("ended_at", "ended_by")}
    for table in TABLES:
        nullable = {column.name for column in table.columns if column.nullable}
        assert set(table.revised) <= nullable
        assert not set(table.revised) & set(table.key)


def test_production_has_what_others_rely_on() -> None:
    """The columns of design §3, in order; provenance of the gatherer stays there."""
    deltas = next(table for table in tables_of(Home.PRODUCTION) if table.name == "orderbook_deltas")
    assert [column.name for column in deltas.columns_of(Home.PRODUCTION)] == [
        "exchange_ts", "ticker", "side", "price", "size_delta", "occurrence", "position", "seq", "received_at",
    ]  # fmt: skip


def test_everything_is_explained() -> None:
    """Each table and column has a comment; it goes into the database."""
    assert all(table.comment.endswith(".") for table in TABLES)
    assert all(column.comment for table in TABLES for column in table.columns)
