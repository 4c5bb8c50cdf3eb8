"""Books at evenly spaced instants from one checkpoint, in one query: forward from it, or backward to what was before.

A checkpoint at T holds every delta before T and none after. So the book at W > T is the checkpoint plus the deltas in
[T, W]; and the book at W < T is the checkpoint less the deltas in (W, T). Kept out: which checkpoint to take, and
whether the lake has what lies between (`books`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS
from kalshi_platform.core.units import datetime_from_us, us_from_datetime
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.holes import starts_between
from kalshi_platform.lake.layout import Lake

_CHANGES = """
WITH checkpoint AS MATERIALIZED (
    SELECT yes_prices, yes_sizes, no_prices, no_sizes FROM read_parquet($books)
    WHERE ticker = $ticker AND source = 'checkpoint' AND snapshot_ts = $checkpoint
), change AS (
    SELECT true AS side, unnest(yes_prices) AS price, unnest(yes_sizes) AS size, 0 AS nth FROM checkpoint
    UNION ALL
    SELECT false, unnest(no_prices), unnest(no_sizes), 0 FROM checkpoint
    UNION ALL
    {deltas}
)"""
_FIRST = """
SELECT side, price, sum(size) AS size FROM change WHERE nth = 0
GROUP BY side, price HAVING sum(size) <> 0 ORDER BY side, price
"""
_EACH = """, level AS (
    SELECT side, price, nth, size, coalesce(lead(nth) OVER (PARTITION BY side, price ORDER BY nth), $count) AS until_nth
    FROM (
        SELECT side, price, nth, sum(sum(size)) OVER (PARTITION BY side, price ORDER BY nth) AS size
        FROM change GROUP BY side, price, nth
    )
), standing AS (
    SELECT side, price, size, unnest(range(nth, until_nth)) AS nth FROM level WHERE size <> 0 AND nth < $count
)
SELECT
    nth,
    coalesce(min(size) > 0, true) AS is_possible,
    coalesce(list(price ORDER BY price) FILTER (side), []) AS yes_prices,
    coalesce(list(size ORDER BY price) FILTER (side), []) AS yes_sizes,
    coalesce(list(price ORDER BY price) FILTER (NOT side), []) AS no_prices,
    coalesce(list(size ORDER BY price) FILTER (NOT side), []) AS no_sizes
FROM (SELECT unnest(range(0, $count)) AS nth) LEFT JOIN standing USING (nth)
GROUP BY nth ORDER BY nth
"""
_STANDING = """, level AS (
    SELECT nth, sum(sum(size)) OVER (PARTITION BY side, price ORDER BY nth) AS size,
        lead(nth) OVER (PARTITION BY side, price ORDER BY nth) AS until_nth
    FROM change GROUP BY side, price, nth
)
SELECT min(us), max(us)
FROM (SELECT unnest($moments) AS us) JOIN level ON us >= nth AND (until_nth IS NULL OR us < until_nth)
WHERE size <> 0
"""

_LATER = """
    SELECT side, price, size_delta AS size, greatest(0, {nth}) AS nth
    FROM read_parquet($deltas)
    WHERE ticker = $ticker AND exchange_ts >= $checkpoint AND exchange_ts <= $last
"""
_EARLIER = """
    SELECT side, price, unnest([-size_delta, size_delta]) AS size, unnest([0, {nth}]) AS nth
    FROM read_parquet($deltas)
    WHERE ticker = $ticker AND exchange_ts > $first AND exchange_ts < $checkpoint
"""
_NTH = "(epoch_us(exchange_ts) - epoch_us($first) + $every_us - 1) // $every_us"
_STAMPED = _CHANGES.format(deltas=_LATER.format(nth="epoch_us(exchange_ts)"))
_STAMPED_BACK = _CHANGES.format(deltas=_EARLIER.format(nth="epoch_us(exchange_ts)"))
_FORWARD = _CHANGES.format(deltas=_LATER.format(nth=_NTH))
_BACKWARD = _CHANGES.format(deltas=_EARLIER.format(nth=_NTH))


@dataclass(frozen=True, slots=True)
class Instants:
    """Evenly spaced moments: `first`, and `count` - 1 more, each `every` later."""

    first: datetime
    count: int = 1
    every: timedelta = timedelta(microseconds=1)

    @property
    def last(self) -> datetime:
        """The last of them."""
        return self.first + (self.count - 1) * self.every

    def __getitem__(self, nth: int) -> datetime:
        return self.first + nth * self.every

    def first_from(self, moment: datetime) -> int:
        """The number of the first of them that is not before a moment; `count` where all are."""
        return min(max(0, -((self.first - moment) // self.every)), self.count)

    def part(self, start: int, stop: int) -> "Instants":
        """Those from `start` up to and without `stop`."""
        return Instants(self[start], stop - start, self.every)


def fold(
    connection: duckdb.DuckDBPyConnection, lake: Lake, ticker: str, checkpoint: datetime, instants: Instants
) -> pa.Table:
    """The books of one market at some instants, which lie all before one of its checkpoints or all not before it.

    Returns:
        Columns nth, is_possible (no level is below nothing), yes_prices, yes_sizes, no_prices, no_sizes; a row for
        each instant.
    """
    sql, query = _changes(lake, ticker, checkpoint, instants)
    return connection.execute(sql + _EACH, query | {"count": instants.count}).to_arrow_table()


def fold_once(
    connection: duckdb.DuckDBPyConnection, lake: Lake, ticker: str, checkpoint: datetime, when: datetime
) -> list[tuple[bool, Decimal, Decimal]]:
    """The levels (side, price, size) of one market's book at one instant, by side and price; several times faster."""
    sql, query = _changes(lake, ticker, checkpoint, Instants(when))
    return connection.execute(sql + _FIRST, query).fetchall()


def first_standing(
    connection: duckdb.DuckDBPyConnection, lake: Lake, ticker: str, checkpoint: datetime, moments: Sequence[datetime]
) -> datetime | None:
    """The first of some moments, all after a checkpoint and earliest first, at which its changes leave any level."""
    query = _sources(lake, ticker, checkpoint, checkpoint, moments[-1])
    query |= {"last": moments[-1], "moments": [us_from_datetime(moment) for moment in moments]}
    ((found, _),) = connection.execute(_STAMPED + _STANDING, query).fetchall()
    return None if found is None else datetime_from_us(found)


def last_standing(
    connection: duckdb.DuckDBPyConnection, lake: Lake, ticker: str, checkpoint: datetime, moments: Sequence[datetime]
) -> datetime | None:
    """The last of some moments, all before a checkpoint and earliest first, at which what leads to it has any level."""
    query = _sources(lake, ticker, checkpoint, moments[0], checkpoint - datetime.resolution)
    query |= {"first": moments[0], "moments": [us_from_datetime(moment) for moment in moments]}
    ((_, found),) = connection.execute(_STAMPED_BACK + _STANDING, query).fetchall()
    return None if found is None else datetime_from_us(found)


def _changes(lake: Lake, ticker: str, checkpoint: datetime, instants: Instants) -> tuple[str, dict[str, Any]]:
    """The query for what changes the books, and its parameters."""
    is_later = instants.first >= checkpoint
    low, high = (checkpoint, instants.last) if is_later else (instants.first, checkpoint - datetime.resolution)
    query = _sources(lake, ticker, checkpoint, low, high)
    query |= {"first": instants.first, "every_us": instants.every // timedelta(microseconds=1)}
    return (_FORWARD, query | {"last": instants.last}) if is_later else (_BACKWARD, query)


def _sources(lake: Lake, ticker: str, checkpoint: datetime, low: datetime, high: datetime) -> dict[str, Any]:
    """The files that hold a checkpoint and the changes from `low` to `high`, and whose they are."""
    return {
        "books": [lake.path(RAW[ORDERBOOK_SNAPSHOTS.name], Period.DAY.floor(checkpoint))],
        "deltas": [lake.path(RAW[ORDERBOOK_DELTAS.name], hour) for hour in starts_between(Period.HOUR, low, high)],
        "ticker": ticker,
        "checkpoint": checkpoint,
    }
