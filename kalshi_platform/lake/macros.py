"""The lake's questions in pure SQL: macros that `connect` defines, and that any DuckDB with the same views takes.

They answer as the functions of `books` do wherever the lake is whole, and fail where no checkpoint is near, but they do
not look at coverage: a gap that nobody heard is seen by asking `uncovered_intervals`, a close whose checkpoint is still
to come by asking `emptied_books`. Kept out: the functions that refuse to guess (`books`).
"""

from kalshi_platform.lake.partitions import in_days, in_hours

_AT = "CAST(moment AS TIMESTAMPTZ)"
_SINCE = f"({_AT} - lookback)"
_DAYS = in_days(_SINCE, _AT)
_HOURS = in_hours(_SINCE, _AT)

BOOK_AT = f"""
CREATE MACRO book_at(market, moment, lookback := INTERVAL 1 DAY) AS TABLE
WITH checkpoint AS (
    SELECT ticker, snapshot_ts, yes_prices, yes_sizes, no_prices, no_sizes
    FROM orderbook_snapshots
    WHERE source = 'checkpoint' AND ticker = market AND snapshot_ts BETWEEN {_SINCE} AND {_AT} AND {_DAYS}
    ORDER BY snapshot_ts DESC LIMIT 1
), change AS (
    SELECT true AS side, unnest(yes_prices) AS price, unnest(yes_sizes) AS size FROM checkpoint
    UNION ALL
    SELECT false, unnest(no_prices), unnest(no_sizes) FROM checkpoint
    UNION ALL
    SELECT side, price, size_delta
    FROM orderbook_deltas
    WHERE ticker = market AND exchange_ts >= (SELECT snapshot_ts FROM checkpoint)
        AND exchange_ts BETWEEN {_SINCE} AND {_AT} AND {_HOURS}
)
SELECT CASE WHEN side THEN 'yes' ELSE 'no' END AS side, price, sum(size) AS size
FROM change
WHERE (SELECT CASE WHEN count(*) = 1 THEN true ELSE error('no checkpoint of ' || market || ' in the ' || lookback
           || ' up to ' || {_AT} || ': take a longer lookback, or the function book_at') END FROM checkpoint)
GROUP BY ALL HAVING sum(size) <> 0 ORDER BY side DESC, price
"""  # noqa: S608 - constants

MACROS = (BOOK_AT,)
"""Every macro, in the order in which they are defined."""
