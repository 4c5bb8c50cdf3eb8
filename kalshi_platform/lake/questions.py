"""What people ask of one market: its trades, quotes, candles and what of it was heard, as DuckDB relations.

Each names the partitions that it needs, so that a few files are opened however large the lake is. A relation becomes
Arrow, pandas or polars with `.to_arrow_table()`, `.df()` or `.pl()`. Kept out: books (`books`).
"""

from datetime import datetime

import duckdb

from kalshi_platform.lake.holes import SLACK
from kalshi_platform.lake.partitions import in_days, in_hours, in_utc
from kalshi_platform.lake.reader import relation

_OF_DAYS = in_days("$start", "$end")
_OF_HOURS = in_hours("$start", "$end")
_OF_DAYS_WITH_NEXT = in_days("$start", f"$end + INTERVAL 1 HOUR + INTERVAL {SLACK.seconds} SECONDS")
"""A hole that opens with the next hour reaches into the last one by a message's delay."""

_TRADES = f"""
SELECT * EXCLUDE (date) FROM trades
WHERE ticker = $ticker AND exchange_ts >= $start AND exchange_ts < $end AND {_OF_DAYS}
ORDER BY exchange_ts, received_at, trade_id
"""  # noqa: S608 - a constant
_CANDLES = f"""
SELECT * EXCLUDE (date) FROM candles_1m
WHERE ticker = $ticker AND minute >= $start AND minute < $end AND {_OF_DAYS} ORDER BY minute
"""  # noqa: S608 - a constant
_BEST_BID_OFFER = f"""
WITH hole AS (
    SELECT from_at - INTERVAL {SLACK.seconds} SECONDS AS low, until_at AS high FROM uncovered_intervals
    WHERE channel = 'orderbook_delta' AND ticker IN ('', $ticker) AND {_OF_DAYS_WITH_NEXT}
), reckoned AS (
    SELECT DISTINCT hour AS start FROM coverage_hours WHERE channel = 'orderbook_delta' AND {_OF_DAYS}
), quote AS (
    SELECT * EXCLUDE (date, hour), timezone('UTC', date_trunc('hour', timezone('UTC', exchange_ts))) AS start
    FROM best_bid_offer
    WHERE ticker = $ticker AND exchange_ts >= $start AND exchange_ts < $end AND {_OF_HOURS}
)
SELECT quote.* EXCLUDE (start),
    CASE WHEN EXISTS (FROM hole WHERE low < start + INTERVAL 1 HOUR AND high > start) THEN false
         WHEN start IN (SELECT start FROM reckoned) THEN true END AS is_whole
FROM quote ORDER BY exchange_ts
"""  # noqa: S608 - constants
_COVERAGE = f"""
SELECT channel, ticker, from_at, until_at FROM uncovered_intervals
WHERE ticker IN ('', $ticker) AND from_at < $end AND until_at > $start AND {_OF_DAYS} ORDER BY from_at, channel
"""  # noqa: S608 - a constant

Connection = duckdb.DuckDBPyConnection
Relation = duckdb.DuckDBPyRelation


def trades(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """The trades of one market in [start, end), earliest first, with the columns of `raw.trades`."""
    return _asked(connection, _TRADES, ticker, start, end)


def candles(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """The one-minute candles of one market whose minutes begin in [start, end)."""
    return _asked(connection, _CANDLES, ticker, start, end)


def best_bid_offer(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """Every change of one market's best prices and sizes in [start, end); each hour opens with what stood.

    `is_whole` is false where something of the market was missed in that hour, so that its quotes may be wrong, and
    NULL where the lake does not know whether it was.
    """
    return _asked(connection, _BEST_BID_OFFER, ticker, start, end)


def coverage(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """When nobody heard one market in [start, end), by channel; an empty ticker is every market of the channel.

    No rows are good news only where `coverage_hours` has the hours: the lake cannot tell otherwise.
    """
    return _asked(connection, _COVERAGE, ticker, start, end)


def _asked(connection: Connection, query: str, ticker: str, start: datetime, end: datetime) -> Relation:
    return relation(connection, query, ticker=ticker, start=in_utc(start), end=in_utc(end))
