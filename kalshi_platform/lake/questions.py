"""What people ask of one market: its trades, quotes, candles and what of it was heard, as DuckDB relations.

Each names the days that it needs, so that a few files are listed and opened however large the lake is. A relation
becomes Arrow, pandas or polars with `.to_arrow_table()`, `.df()` or `.pl()`. Kept out: books (`books`).
"""

from datetime import datetime

import duckdb

from kalshi_platform.lake.partitions import in_days, in_hours, in_utc
from kalshi_platform.lake.reader import relation

_OF_DAYS = in_days("$start", "$end")
_OF_HOURS = in_hours("$start", "$end")

_TRADES = f"""
SELECT * EXCLUDE (date) FROM {{trades}}
WHERE ticker = $ticker AND exchange_ts >= $start AND exchange_ts < $end AND {_OF_DAYS}
ORDER BY exchange_ts, received_at, trade_id
"""  # noqa: S608 - a constant
_DELTAS = f"""
SELECT * EXCLUDE (date, hour) FROM {{orderbook_deltas}}
WHERE ticker = $ticker AND exchange_ts >= $start AND exchange_ts < $end AND {_OF_HOURS}
"""  # noqa: S608 - a constant
_CANDLES = f"""
SELECT * EXCLUDE (date) FROM {{candles_1m}}
WHERE ticker = $ticker AND minute >= $start AND minute < $end AND {_OF_DAYS} ORDER BY minute
"""  # noqa: S608 - a constant
_BEST_BID_OFFER = f"""
SELECT * EXCLUDE (date, hour) FROM {{best_bid_offer}}
WHERE ticker = $ticker AND exchange_ts >= $start AND exchange_ts < $end AND {_OF_HOURS} ORDER BY exchange_ts
"""  # noqa: S608 - a constant
_COVERAGE = f"""
SELECT channel, ticker, from_at, until_at FROM {{uncovered_intervals}}
WHERE ticker IN ('', $ticker) AND from_at < $end AND until_at > $start AND {_OF_DAYS} ORDER BY from_at, channel
"""  # noqa: S608 - a constant

Connection = duckdb.DuckDBPyConnection
Relation = duckdb.DuckDBPyRelation


def trades(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """The trades of one market in [start, end), earliest first, with the columns of `raw.trades`."""
    return _asked(connection, _TRADES, ticker, start, end)


def deltas(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """The changes of one market's book in [start, end), with the columns of `raw.orderbook_deltas`.

    In the order in which they happened, which is that of the files: no sorting, unless `preserve_insertion_order` is
    switched off.
    """
    return _asked(connection, _DELTAS, ticker, start, end)


def candles(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """The one-minute candles of one market whose minutes begin in [start, end)."""
    return _asked(connection, _CANDLES, ticker, start, end)


def best_bid_offer(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """Every change of one market's best prices and sizes in [start, end); each hour opens with what stood.

    `is_whole` is false where nobody heard the market until the next row, which has no prices then, and NULL where the
    lake did not know, when the hour was written, whether anything was missed.
    """
    return _asked(connection, _BEST_BID_OFFER, ticker, start, end)


def coverage(connection: Connection, ticker: str, start: datetime, end: datetime) -> Relation:
    """When nobody heard one market in [start, end), by channel; an empty ticker is every market of the channel.

    No rows are good news only where `coverage_hours` has the hours: the lake cannot tell otherwise.
    """
    return _asked(connection, _COVERAGE, ticker, start, end)


def _asked(connection: Connection, query: str, ticker: str, start: datetime, end: datetime) -> Relation:
    start, end = in_utc(start), in_utc(end)
    return relation(connection, query, (start, end), ticker=ticker, start=start, end=end)
