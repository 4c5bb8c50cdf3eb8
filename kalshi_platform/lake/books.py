"""The book of a market at any instant: its last checkpoint, and every change since.

A checkpoint at T holds every delta before T and none after, so the book at W is the checkpoint plus the sum of the
deltas in [T, W]. That is plain SQL (`BOOKS_SQL`, for any DuckDB that has the lake's views); what this module
adds is that it never guesses: without a checkpoint, or where an hour in between is not in the lake, the book is
unknown. Kept out: live books (`core.book`).
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import duckdb

from kalshi_platform.core.book import NegativeLevel
from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.reader import root_of

Levels = tuple[tuple[Decimal, Decimal], ...]
"""Price in dollars and size in contracts of each level, by ascending price."""

_DAYS = "date BETWEEN CAST($since AS DATE) AND CAST($at AS DATE)"
_HOURS = f"""{_DAYS}
      AND (date > CAST($since AS DATE) OR hour >= hour($since)) AND (date < CAST($at AS DATE) OR hour <= hour($at))"""
"""The files that can hold rows of a window: repeats what the times say, so that DuckDB leaves out the others."""

_SQL = f"""
WITH checkpoint AS (
    SELECT ticker, snapshot_ts, yes_prices, yes_sizes, no_prices, no_sizes
    FROM orderbook_snapshots
    WHERE source = 'checkpoint' AND {{market}} AND snapshot_ts BETWEEN $since AND $at
      AND {_DAYS}
    QUALIFY row_number() OVER (PARTITION BY ticker ORDER BY snapshot_ts DESC) = 1
), change AS (
    SELECT ticker, true AS side, unnest(yes_prices) AS price, unnest(yes_sizes) AS size FROM checkpoint
    UNION ALL
    SELECT ticker, false, unnest(no_prices), unnest(no_sizes) FROM checkpoint
    UNION ALL
    SELECT ticker, side, price, size_delta
    FROM orderbook_deltas JOIN checkpoint USING (ticker)
    WHERE {{market}} AND exchange_ts BETWEEN snapshot_ts AND $at AND exchange_ts >= $since
      AND {_HOURS}
), level AS (
    SELECT ticker, side, price, sum(size) AS size FROM change GROUP BY ALL HAVING sum(size) <> 0
)
SELECT
    ticker,
    snapshot_ts AS checkpoint_ts,
    coalesce(list(price ORDER BY price) FILTER (side), []) AS yes_prices,
    coalesce(list(size ORDER BY price) FILTER (side), []) AS yes_sizes,
    coalesce(list(price ORDER BY price) FILTER (NOT side), []) AS no_prices,
    coalesce(list(size ORDER BY price) FILTER (NOT side), []) AS no_sizes
FROM checkpoint LEFT JOIN level USING (ticker)
GROUP BY ticker, snapshot_ts
ORDER BY ticker
"""  # noqa: S608 - two constants

BOOKS_SQL = _SQL.format(market="true")
"""Every market's book at `$at`, from checkpoints not older than `$since`: one row a market, levels as lists."""

BOOK_SQL = _SQL.format(market="ticker = $ticker")
"""The same for one `$ticker`."""

_LAST_CHECKPOINTS = """
SELECT max(snapshot_ts) AS checkpoint_ts FROM orderbook_snapshots
WHERE source = 'checkpoint' AND {market} AND snapshot_ts <= $at AND date <= CAST($at AS DATE) GROUP BY ticker
"""


class BookUnknown(PlatformError):  # noqa: N818 - reads as a sentence where it is caught
    """The lake does not hold what the book follows from; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Book:
    """One market's book at one instant.

    Attributes:
        ticker: The market.
        when: The instant; changes at exactly this moment are in.
        yes: Yes bids.
        no: No bids.
        checkpoint_ts: The checkpoint that the book was built from.
    """

    ticker: str
    when: datetime
    yes: Levels
    no: Levels
    checkpoint_ts: datetime


def book_at(connection: duckdb.DuckDBPyConnection, ticker: str, when: datetime) -> Book:
    """The book of one market, with all changes up to and including `when`.

    Raises:
        BookUnknown: Where no checkpoint precedes `when`, or an hour since then is not in the lake.
        NegativeLevel: Where the record takes more from a level than it held.
    """
    checkpoint = _earliest_last_checkpoint(connection, when, ticker)
    if checkpoint is None:
        raise BookUnknown(f"no checkpoint of {ticker} up to {when.isoformat()} is in the lake")
    _require_hours(root_of(connection), checkpoint, when)
    query = {"ticker": ticker, "since": checkpoint, "at": when}
    ((_, _, *levels),) = connection.execute(BOOK_SQL, query).fetchall()
    book = Book(ticker, when, _levels(*levels[:2]), _levels(*levels[2:]), checkpoint)
    for price, size in book.yes + book.no:
        if size < 0:
            raise NegativeLevel(f"{ticker} at {when.isoformat()}: level {price} would hold {size}")
    return book


def books_at(connection: duckdb.DuckDBPyConnection, when: datetime) -> duckdb.DuckDBPyRelation:
    """The books of all markets that can be known at `when`, as a relation to query further.

    Columns: ticker, checkpoint_ts, yes_prices, yes_sizes, no_prices, no_sizes. A market whose checkpoint or whose
    hours are missing is not in it. Negative sizes, proof of a defect in the record, are left for the reader to see.

    Raises:
        BookUnknown: Where the hour of `when` itself is not in the lake.
    """
    lake = root_of(connection)
    earliest = _earliest_last_checkpoint(connection, when) or when
    since = _unbroken_since(lake, earliest, when)
    if since is None:
        raise BookUnknown(_missing(Period.HOUR.floor(when)))
    return connection.sql(BOOKS_SQL, params={"since": since, "at": when})


def _earliest_last_checkpoint(
    connection: duckdb.DuckDBPyConnection, when: datetime, ticker: str | None = None
) -> datetime | None:
    """The oldest among the markets' (or the one market's) last checkpoints."""
    market, which = ("true", {}) if ticker is None else ("ticker = $ticker", {"ticker": ticker})
    last = _LAST_CHECKPOINTS.format(market=market)
    query = f"SELECT epoch_us(min(checkpoint_ts)) FROM ({last})"  # noqa: S608 - two constants
    ((oldest_us,),) = connection.execute(query, {"at": when, **which}).fetchall()
    return None if oldest_us is None else datetime_from_us(oldest_us)


def _require_hours(lake: Lake, checkpoint: datetime, when: datetime) -> None:
    since = _unbroken_since(lake, checkpoint, when)
    if since is None:
        raise BookUnknown(_missing(Period.HOUR.floor(when)))
    if since > checkpoint:
        raise BookUnknown(_missing(since - HOUR))


def _unbroken_since(lake: Lake, earliest: datetime, when: datetime) -> datetime | None:
    """The hour from which on the lake has every delta up to `when`; the search ends at the hour of `earliest`."""
    hour = Period.HOUR.floor(when)
    if not _reaches(lake, hour, when):
        return None
    while hour > earliest and _reaches(lake, hour - HOUR, hour - datetime.resolution):
        hour -= HOUR
    return hour


def _reaches(lake: Lake, hour: datetime, moment: datetime) -> bool:
    """Whether the lake has the deltas of an hour up to and including `moment`."""
    footer = read_footer(lake, RAW[ORDERBOOK_DELTAS.name], hour)
    return footer is not None and moment < footer.window_end


def _missing(hour: datetime) -> str:
    return f"the lake lacks deltas of the hour from {hour.isoformat()}"


def _levels(prices: list[Decimal], sizes: list[Decimal]) -> Levels:
    return tuple(zip(prices, sizes, strict=True))
