"""A day of the lake in figures: rows by table and hour, and the markets in which most happened.

Kept out: how figures look (`defs.pictures`, `defs.report_page`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow.dataset as ds

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, STREAM_TABLES, TRADES, Table
from kalshi_platform.lake.datasets import AGGREGATES, RAW, Dataset, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake

HOURS = 24
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_MEMORY = "1GB"

_BY_HOUR = "SELECT hour({time}), count(*) FROM source GROUP BY 1"
_BUSIEST = """
SELECT ticker, sum(changes)::BIGINT, sum(trades)::BIGINT, sum(volume) FROM (
    SELECT ticker, count(*) AS changes, 0 AS trades, 0 AS volume FROM deltas GROUP BY 1
    UNION ALL SELECT ticker, 0, count(*), sum(size) FROM trades GROUP BY 1
) GROUP BY 1 ORDER BY 2 DESC, 3 DESC, 1 LIMIT $most
"""
_MARKETS = "SELECT count(DISTINCT ticker) FROM deltas"
_SAMPLE = """
WITH market AS (SELECT ticker, sum(volume) AS volume, count(*) AS minutes FROM candles GROUP BY ticker)
(SELECT ticker FROM market WHERE volume > 0 ORDER BY volume DESC, ticker LIMIT $most)
UNION ALL (SELECT ticker FROM market WHERE volume = 0 ORDER BY minutes DESC, ticker LIMIT $most)
"""


@dataclass(frozen=True, slots=True)
class Busy:
    """One market's day: changes of its book, trades, and contracts traded."""

    ticker: str
    changes: int
    trades: int
    volume: Decimal


def rows_by_hour(lake: Lake, day: datetime) -> Mapping[str, list[int]]:
    """Per stream table, the rows of each hour of a day; what is not in the lake counts as nothing."""
    return {table.name: _rows_by_hour(lake, table, day) for table in STREAM_TABLES}


def reach(lake: Lake, day: datetime) -> datetime:
    """Up to when the lake has a day of all streams without a hole; before the first file of one there is nothing."""
    found = [_reach(lake, RAW[table.name], day) for table in STREAM_TABLES]
    return min(filter(None, found), default=day)


def _reach(lake: Lake, dataset: Dataset, day: datetime) -> datetime | None:
    first = next(iter(lake.starts(dataset)), None)
    if first is None or first >= day + _DAY:
        return None
    reached = max(first, day)
    while reached < day + _DAY:
        footer = read_footer(lake, dataset, dataset.period.floor(reached))
        if footer is None or footer.window_end <= reached:
            break
        reached = footer.window_end
    return reached


def busiest(lake: Lake, day: datetime, most: int) -> tuple[int, Sequence[Busy]]:
    """How many markets changed in a day, and those with the most changes."""
    with _opened(lake, day, deltas=ORDERBOOK_DELTAS, trades=TRADES) as connection:
        ((markets,),) = connection.execute(_MARKETS).fetchall()
        rows = connection.execute(_BUSIEST, {"most": most}).fetchall()
        return markets, [Busy(ticker, changes, trades, Decimal(volume)) for ticker, changes, trades, volume in rows]


def candles_to_compare(lake: Lake, day: datetime, most: int) -> list[str]:
    """Markets of a day's candles: those with the most contracts, then those quoted most without a trade."""
    with duckdb.connect(":memory:", config={"memory_limit": _MEMORY}) as connection:
        path = lake.key(lake.path(AGGREGATES["candles_1m"], day))
        connection.register("candles", ds.dataset(path, filesystem=lake.filesystem, format="parquet"))
        return [ticker for (ticker,) in connection.execute(_SAMPLE, {"most": most}).fetchall()]


def _rows_by_hour(lake: Lake, table: Table, day: datetime) -> list[int]:
    if RAW[table.name].period is Period.HOUR:  # the footers say it
        footers = (read_footer(lake, RAW[table.name], day + hour * _HOUR) for hour in range(HOURS))
        return [footer.source_rows if footer else 0 for footer in footers]
    counts = [0] * HOURS
    with _opened(lake, day, source=table) as connection:
        for hour, rows in connection.execute(_BY_HOUR.format(time=table.time_column)).fetchall():
            counts[hour] = rows
    return counts


@contextmanager
def _opened(lake: Lake, day: datetime, **tables: Table) -> Iterator[duckdb.DuckDBPyConnection]:
    """The files of a day under names of one's choice."""
    with duckdb.connect(":memory:", config={"memory_limit": _MEMORY}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, _files(lake, table, day))
        yield connection


def _files(lake: Lake, table: Table, day: datetime) -> ds.Dataset:
    dataset = RAW[table.name]
    starts = [day + number * dataset.period.value for number in range(_DAY // dataset.period.value)]
    paths = [lake.key(lake.path(dataset, start)) for start in starts if read_footer(lake, dataset, start)]
    return ds.dataset(paths, schema=dataset.schema, filesystem=lake.filesystem, format="parquet")
