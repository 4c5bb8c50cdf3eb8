"""The books of all markets at one instant, as a relation: for questions across the whole exchange.

Kept out: one market, which `books` answers faster and from the next checkpoint too.
"""

from datetime import datetime, timedelta

import duckdb

from kalshi_platform.core.schema import ORDERBOOK_DELTAS
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.lake.at_once import at_once
from kalshi_platform.lake.books import BookUnknown
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.holes import SLACK, manifest_holes, starts_between
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.partitions import in_days, in_hours, in_utc
from kalshi_platform.lake.reader import relation, root_of

LOOKBACK = timedelta(days=7)
"""How far back the last checkpoint of a quiet market is looked for: all changes since are read."""

_CHECKPOINTS = f"source = 'checkpoint' AND snapshot_ts BETWEEN $since AND $at AND {in_days('$since', '$at')}"
BOOKS_SQL = f"""
WITH latest AS (
    SELECT ticker, max(snapshot_ts) AS snapshot_ts FROM {{orderbook_snapshots}} WHERE {_CHECKPOINTS} GROUP BY ticker
), last_checkpoint AS (
    SELECT ticker, snapshot_ts, yes_prices, yes_sizes, no_prices, no_sizes
    FROM {{orderbook_snapshots}} JOIN latest USING (ticker, snapshot_ts) WHERE {_CHECKPOINTS}
), hole AS (
    SELECT ticker, max(until_at) AS until_at FROM (
        SELECT ticker, until_at FROM {{uncovered_intervals}}
        WHERE channel = 'orderbook_delta' AND from_at - $slack <= $at AND until_at >= $since
          AND {in_days("$since", "$at + $slack")}
        UNION ALL
        SELECT unnest(CAST($holed AS VARCHAR[])), unnest(CAST($holed_until AS TIMESTAMPTZ[]))
    ) GROUP BY ticker
), checkpoint AS (
    SELECT * FROM last_checkpoint WHERE NOT EXISTS (
        FROM hole WHERE hole.ticker IN ('', last_checkpoint.ticker) AND until_at > snapshot_ts
    )
), change AS (
    SELECT ticker, snapshot_ts AS at, true AS side, unnest(yes_prices) AS price, unnest(yes_sizes) AS size
    FROM checkpoint
    UNION ALL
    SELECT ticker, snapshot_ts, false, unnest(no_prices), unnest(no_sizes) FROM checkpoint
    UNION ALL
    SELECT ticker, exchange_ts, side, price, size_delta
    FROM {{orderbook_deltas}} JOIN checkpoint USING (ticker)
    WHERE exchange_ts BETWEEN snapshot_ts AND $at AND exchange_ts >= $since
      AND {in_hours("$since", "$at")}
), emptied AS (
    SELECT s.ticker, max(s.snapshot_ts) AS at
    FROM {{orderbook_snapshots}} AS s JOIN checkpoint AS c ON c.ticker = s.ticker AND s.snapshot_ts > c.snapshot_ts
    WHERE s.source = 'ws' AND len(s.yes_prices) + len(s.no_prices) = 0
      AND s.snapshot_ts BETWEEN $since AND $at AND {in_days("$since", "$at")}
    GROUP BY s.ticker
), left_over AS (
    SELECT ticker FROM change JOIN emptied USING (ticker) WHERE change.at <= emptied.at
    GROUP BY ticker, side, price HAVING sum(size) <> 0
), level AS (
    SELECT ticker, side, price, sum(size) AS size FROM change GROUP BY ticker, side, price HAVING sum(size) <> 0
)
SELECT
    ticker,
    snapshot_ts AS checkpoint_ts,
    coalesce(list(price ORDER BY price) FILTER (side), []) AS yes_prices,
    coalesce(list(size ORDER BY price) FILTER (side), []) AS yes_sizes,
    coalesce(list(price ORDER BY price) FILTER (NOT side), []) AS no_prices,
    coalesce(list(size ORDER BY price) FILTER (NOT side), []) AS no_sizes
FROM checkpoint LEFT JOIN level USING (ticker) WHERE ticker NOT IN (FROM left_over)
GROUP BY ticker, snapshot_ts
ORDER BY ticker
"""  # noqa: S608 - constants
"""Every market's book at `$at`, from checkpoints not older than `$since`: one row a market, levels as lists.
`$holed` and `$holed_until`: markets (empty: all) that nobody heard up to a moment, as manifests say."""


_OLDEST = f"""
SELECT epoch_us(min(last)) FROM (
    SELECT max(snapshot_ts) AS last FROM orderbook_snapshots WHERE {_CHECKPOINTS} GROUP BY ticker
)
"""  # noqa: S608 - a constant


def books_at(
    connection: duckdb.DuckDBPyConnection, when: datetime, lookback: timedelta = LOOKBACK
) -> duckdb.DuckDBPyRelation:
    """The books of all markets that can be known at `when`, as a relation to query further.

    Columns: ticker, checkpoint_ts, yes_prices, yes_sizes, no_prices, no_sizes. A market whose checkpoint or whose
    hours are missing, which nobody heard for a while since, or whose book the exchange emptied since, is not in it.
    Negative sizes, proof of a defect in the record, are left for the reader to see.

    Args:
        connection: As `connect` made it.
        when: Changes at exactly this moment are in.
        lookback: A market whose last checkpoint is older is not in it: it has been quiet, or closed, for that long.

    Raises:
        BookUnknown: Where the hour of `when` itself is not in the lake.
        ValueError: Where `when` names no time zone.
    """
    lake = root_of(connection)
    when = in_utc(when)
    span = {"at": when, "since": when - lookback}
    ((oldest_us,),) = connection.execute(_OLDEST, span).fetchall()
    earliest = when if oldest_us is None else datetime_from_us(oldest_us)
    since = _unbroken_since(lake, earliest, when)
    if since is None:
        raise BookUnknown(f"the lake lacks deltas of the hour from {Period.HOUR.floor(when).isoformat()}")
    found = [hole for holes in manifest_holes(lake, since, when).values() for hole in holes]
    holes = [(hole.ticker, hole.until_at) for hole in found if hole.from_at - SLACK <= when]
    holed, holed_until = [ticker for ticker, _ in holes], [until for _, until in holes]
    days = (since, when + SLACK)
    return relation(
        connection, BOOKS_SQL, days, since=since, at=when, slack=SLACK, holed=holed, holed_until=holed_until
    )


def _unbroken_since(lake: Lake, earliest: datetime, when: datetime) -> datetime | None:
    """The hour from which on the lake has every delta up to `when`; the search ends at the hour of `earliest`."""
    hours = starts_between(Period.HOUR, earliest, when)
    are_whole = at_once(lambda hour: _reaches(lake, hour, min(hour + HOUR - datetime.resolution, when)), hours)
    broken = [nth for nth, is_whole in enumerate(are_whole) if not is_whole]
    unbroken = hours[broken[-1] + 1 :] if broken else hours
    return unbroken[0] if unbroken else None


def _reaches(lake: Lake, hour: datetime, moment: datetime) -> bool:
    """Whether the lake has the deltas of an hour up to and including `moment`."""
    footer = read_footer(lake, RAW[ORDERBOOK_DELTAS.name], hour)
    return footer is not None and moment < footer.window_end
