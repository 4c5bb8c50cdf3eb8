"""SQL that makes stream tables hypertables where TimescaleDB is installed, and native partitions again.

Measured (ecosystem.md part 2, B and C2): a hypertable takes rows as fast as native partitions, and its columnstore by
ticker takes 187 bytes a row down to 21. Retention is never TimescaleDB's: its policy would drop what nobody has proven
to be in the lake. Frozen: a released migration must do the same for ever. Kept out: which columns the tables have.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

IS_THERE = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
IS_COMMUNITY = "SELECT current_setting('timescaledb.license', true) = 'timescale'"
IS_HYPERTABLE = "SELECT relkind = 'r' FROM pg_class WHERE oid = 'public.trades'::regclass"
DAYS_WITH_ROWS = "SELECT DISTINCT ({time} AT TIME ZONE 'UTC')::date FROM public.{table}"


@dataclass(frozen=True, slots=True)
class Stream:
    """What of a stream table LIKE does not copy.

    Attributes:
        time: Its time column.
        key: Columns of its primary key.
        hours: Hours in a chunk.
        order: How the columnstore orders the rows of one ticker.
    """

    time: str
    key: str
    hours: int
    order: str


STREAMS: Mapping[str, Stream] = {
    "trades": Stream("exchange_ts", "exchange_ts, trade_id", 24, "exchange_ts, trade_id"),
    "orderbook_deltas": Stream(
        "exchange_ts",
        "exchange_ts, ticker, side, price, size_delta, occurrence",
        1,
        "exchange_ts, position, side, price, size_delta, occurrence",
    ),
    "orderbook_snapshots": Stream(
        "snapshot_ts", "snapshot_ts, ticker, source, gatherer_id", 24, "snapshot_ts, source, gatherer_id"
    ),
    "tickers": Stream("exchange_ts", "exchange_ts, ticker, digest", 1, "exchange_ts, digest"),
}


def to_hypertables(connection: Connection, indexes: Iterable[str], grants: Sequence[str]) -> bool:
    """Make every stream table a hypertable if the extension is there, rows included; whether it did.

    Args:
        connection: The migration's.
        indexes: CREATE INDEX statements, with {table}, for each table.
        grants: GRANT statements, with {table}, for each table.
    """
    if not connection.execute(text(IS_THERE)).scalar_one():
        return False
    is_community = bool(connection.execute(text(IS_COMMUNITY)).scalar_one())
    forms = list(indexes)
    for table, stream in STREAMS.items():
        comment = _set_aside(connection, table)
        _run(connection, f"CREATE TABLE public.{table} (LIKE public.{table}_before INCLUDING ALL EXCLUDING INDEXES)")
        _finish(connection, table, stream, comment, forms, grants)
        _run(
            connection,
            f"SELECT create_hypertable('public.{table}', by_range('{stream.time}', INTERVAL '{stream.hours} hours'), "
            "create_default_indexes => false)",
        )
        if is_community:
            _run(
                connection,
                f"ALTER TABLE public.{table} SET (timescaledb.compress, timescaledb.compress_segmentby = 'ticker', "
                f"timescaledb.compress_orderby = '{stream.order}')",
            )
        _move_rows(connection, table)
    return True


def to_native(connection: Connection, indexes: Iterable[str], grants: Sequence[str]) -> bool:
    """Make every hypertable a table with native partitions by day again, rows included; whether it did."""
    if not connection.execute(text(IS_HYPERTABLE)).scalar_one():
        return False
    forms = list(indexes)
    for table, stream in STREAMS.items():
        comment = _set_aside(connection, table)
        _run(
            connection,
            f"CREATE TABLE public.{table} (LIKE public.{table}_before INCLUDING ALL EXCLUDING INDEXES) "
            f"PARTITION BY RANGE ({stream.time})",
        )
        _finish(connection, table, stream, comment, forms, grants)
        days = (
            connection.execute(text(DAYS_WITH_ROWS.format(time=stream.time, table=f"{table}_before"))).scalars().all()
        )
        for day in days:
            _run(connection, f"SELECT public.kalshi_ensure_partition('{table}', '{day}')")
        _move_rows(connection, table)
    return True


def _set_aside(connection: Connection, table: str) -> str:
    """Give the table another name, and its indexes too, so that the new one can have them; its comment."""
    comment = connection.execute(text(f"SELECT obj_description('public.{table}'::regclass)")).scalar_one()
    names = connection.execute(
        text(f"SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'public.{table}'::regclass")  # noqa: S608
    )
    for name in names.scalars().all():
        _run(connection, f"ALTER INDEX public.{name} RENAME TO {name}_before")
    _run(connection, f"ALTER TABLE public.{table} RENAME TO {table}_before")
    return str(comment)


def _finish(
    connection: Connection, table: str, stream: Stream, comment: str, indexes: Sequence[str], grants: Sequence[str]
) -> None:
    _run(connection, f"ALTER TABLE public.{table} ADD PRIMARY KEY ({stream.key})")
    for form in (*indexes, *grants):
        _run(connection, form.format(table=table))
    quoted = comment.replace("'", "''")
    _run(connection, f"COMMENT ON TABLE public.{table} IS '{quoted}'")


def _move_rows(connection: Connection, table: str) -> None:
    _run(connection, f"INSERT INTO public.{table} SELECT * FROM public.{table}_before")  # noqa: S608
    _run(connection, f"DROP TABLE public.{table}_before")


def _run(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
