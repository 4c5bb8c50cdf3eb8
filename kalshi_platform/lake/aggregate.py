"""Writing aggregates: DuckDB executes their definitions over the lake's own files.

The order of rows is total and the pieces have their size, so that the same inputs give the same bytes. DuckDB may take
so much memory and no more; what it cannot hold it puts on the disk. Kept out: the definitions (`aggregates`), and what
is due.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.aggregates import aggregate_sql
from kalshi_platform.lake.datasets import RAW, Dataset, Period
from kalshi_platform.lake.encoding import row_group_rows
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.hour_of_books import heard_from, portions, take_coverage, take_markets
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import PartitionFacts, row_groups, write_groups

MEMORY_LIMIT = "384MiB"
"""What DuckDB may hold; Python, Arrow and one row group come on top."""

_FETCHED_ROWS = 65_536
SOURCES: Mapping[str, tuple[str, ...]] = {
    "candles_1m": ("trades", "tickers"),
    "market_days": ("trades", "tickers", "orderbook_deltas"),
    "best_bid_offer": ("orderbook_deltas", "orderbook_snapshots"),
    "settlements": ("markets", "events"),
}
"""Aggregate → the raw datasets that its definition reads; they say how far it goes."""


def write_aggregate(lake: Lake, dataset: Dataset, start: datetime) -> PartitionFacts:
    """Write one partition of an aggregate, as far as everything that it is reckoned from is in the lake.

    What a source begins with is not waited for: before the first file that the lake has of it, there is nothing.

    Args:
        lake: Where it is read from and written to.
        dataset: One of `AGGREGATES`.
        start: Start of the hour or day.

    Raises:
        IntegrityError: Where something that it is reckoned from is not in the lake.
    """
    start = dataset.period.start(start)
    end = _known_until(lake, [RAW[name] for name in SOURCES[dataset.name]], start, dataset.end(start))
    with TemporaryDirectory(prefix="kalshi-lake-") as spill, connect(lake) as connection:
        for setting, value in {"memory_limit": MEMORY_LIMIT, "threads": "2", "temp_directory": spill}.items():
            connection.execute(f"SET {setting} = '{value}'")
        if dataset.period is Period.HOUR:
            tables = _of_markets(connection, lake, dataset, start, end)
        else:
            tables = _reckoned(connection, dataset, start, end)
        return write_groups(lake, dataset, (start, end), row_groups(tables, row_group_rows(dataset)))


def _of_markets(
    connection: duckdb.DuckDBPyConnection, lake: Lake, dataset: Dataset, start: datetime, end: datetime
) -> Iterator[pa.Table]:
    """An hour of books, some markets at a time: a definition that follows each level of each book holds all of them."""
    take_coverage(connection, lake, start, end)
    since = heard_from(connection, lake, start, end)
    for first, last in portions(connection, start, end):
        take_markets(connection, first, last)
        yield from _reckoned(connection, dataset, since, end)


def _reckoned(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, start: datetime, end: datetime
) -> Iterator[pa.Table]:
    columns, order = ", ".join(dataset.schema.names), ", ".join(dataset.sort)
    definition = aggregate_sql(dataset.name, start, end)
    query = f"SELECT {columns} FROM ({definition}\n) ORDER BY {order}"  # noqa: S608 - definitions and names of ours
    with connection.execute(query).to_arrow_reader(_FETCHED_ROWS) as batches:
        for batch in batches:
            yield pa.Table.from_batches([batch]).cast(dataset.schema)


def _known_until(lake: Lake, sources: Sequence[Dataset], start: datetime, end: datetime) -> datetime:
    """How far into a window the lake has all of some datasets without a hole.

    Raises:
        IntegrityError: Where it has one of them not at all although that had begun, or none of them.
    """
    reached = [_reached(lake, source, start, end) for source in sources]
    for source, until in zip(sources, reached, strict=True):
        if until == start or not any(reached):
            raise IntegrityError(f"{lake.path(source, source.period.floor(start))} is missing: export it first")
    return min(filter(None, reached))


def _reached(lake: Lake, source: Dataset, start: datetime, end: datetime) -> datetime | None:
    """How far into a window the lake has a dataset; None where the window lies before its beginning."""
    reached = start
    if read_footer(lake, source, source.period.floor(start)) is None:
        first = next(iter(lake.starts(source)), end)
        if first >= end:
            return None
        reached = max(start, first)
    while reached < end:
        partition = source.period.floor(reached)
        footer = read_footer(lake, source, partition)
        until = footer.window_end if footer else partition
        if until <= reached:
            break
        reached = until
        if source.period is Period.HOUR and until < partition + HOUR:
            break
    return min(reached, end)
