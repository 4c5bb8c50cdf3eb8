"""Questions about the record itself, asked of production: what disagrees, what nobody heard, what cannot be.

Each answer is a bounded list of what is wrong and where. Here belongs the SQL of the checks that need the database.
Kept out: files (the lake's room), and what follows from an answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from kalshi_platform.core.schema import Table
from kalshi_platform.database.export import reading

MOST = 1_000
"""Findings that one question returns at most; the worst come first."""

_CLOCKS_SECONDS = 5
"""How far the gatherers' clocks, which bound intervals, may be from the exchange's, which stamps rows."""

_UNCOVERED = f"""
EXISTS (SELECT FROM uncovered_intervals AS gap
        WHERE gap.channel = '{{channel}}' AND gap.ticker IN ({{ticker}}, '')
          AND {{moment}} >= gap.from_at - interval '{_CLOCKS_SECONDS} seconds'
          AND {{moment}} < gap.until_at + interval '{_CLOCKS_SECONDS} seconds')
"""

_COMBOS = "KXMVE%"
"""Markets whose trades everybody hears, and whose books are followed only where asked for (kalshi-protocol.md §2.4)."""

_UNCOUPLED = f"""
WITH fill AS (
    SELECT exchange_ts, ticker, NOT taker_side AS side, size,
           CASE WHEN taker_side THEN 1000000 - price ELSE price END AS price, count(*) AS trades
    FROM trades
    WHERE exchange_ts >= $1::timestamptz AND exchange_ts < $2::timestamptz
      AND NOT is_block_trade AND taker_side IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5
), found AS (
    SELECT fill.exchange_ts, fill.ticker, fill.trades, (
        SELECT count(*) FROM orderbook_deltas AS delta
        WHERE delta.exchange_ts = fill.exchange_ts AND delta.ticker = fill.ticker AND delta.side = fill.side
          AND delta.price = fill.price AND delta.size_delta = -fill.size) AS deltas
    FROM fill
), heard AS MATERIALIZED (
    SELECT ticker, min(started_at) AS since FROM capture_sessions WHERE channel = 'orderbook_delta' GROUP BY ticker
), missing AS (
    SELECT date_trunc('hour', exchange_ts, 'UTC') AS hour, ticker, trades - deltas AS trades,
           {_UNCOVERED.format(channel="orderbook_delta", ticker="found.ticker", moment="exchange_ts")}
           OR exchange_ts < interval '{_CLOCKS_SECONDS} seconds' + CASE
               WHEN heard.since IS NULL AND ticker LIKE '{_COMBOS}' THEN 'infinity'
               ELSE coalesce(heard.since, (SELECT min(since) FROM heard)) END AS explained
    FROM found LEFT JOIN heard USING (ticker) WHERE trades > deltas
)
SELECT hour, ticker, sum(trades)::bigint, coalesce(sum(trades) FILTER (WHERE explained IS TRUE), 0)::bigint
FROM missing GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {MOST}
"""  # noqa: S608 - constants

_CONFLICTS = f"""
SELECT ticker, gatherer_id, row_key, (kept ->> $4)::timestamptz, count(*) OVER ()
FROM merge_conflicts
WHERE table_name = $1 AND (kept ->> $4)::timestamptz >= $2::timestamptz AND (kept ->> $4)::timestamptz < $3::timestamptz
ORDER BY found_at LIMIT {MOST}
"""  # noqa: S608 - a constant

_COVERAGE = """
SELECT hour, markets, uncovered_markets, uncovered_us, gatherers,
       (SELECT coalesce(string_agg(name, ', ' ORDER BY name), '') FROM jsonb_object_keys(behind) AS name)
FROM coverage_hours
WHERE channel = $1 AND hour >= $2::timestamptz AND hour < $3::timestamptz ORDER BY hour
"""
_EXPECTED = """
SELECT hour FROM generate_series($2::timestamptz, $3::timestamptz - interval '1 hour', interval '1 hour') AS hour
WHERE hour + interval '1 hour' > (SELECT min(started_at) FROM capture_sessions WHERE channel = $1)
"""
_INTERVALS = f"""
SELECT hour, ticker, from_at, until_at FROM uncovered_intervals
WHERE channel = $1 AND until_at > $2::timestamptz AND from_at < $3::timestamptz
ORDER BY until_at - from_at DESC, ticker, from_at LIMIT {MOST}
"""  # noqa: S608 - a constant

_GAP_HOURS = """
SELECT hour, channel, computed_at, count(*),
       md5(string_agg(ticker || from_at || until_at, ',' ORDER BY ticker, from_at)) AS fingerprint
FROM coverage_hours JOIN uncovered_intervals USING (hour, channel)
WHERE computed_at > $1::timestamptz GROUP BY 1, 2, 3 ORDER BY 3, 1, 2 LIMIT $2::bigint
"""

_MERGED = """
SELECT table_name, gatherer_id, rows_read, rows_merged FROM sync_progress
WHERE rows_read > 0 ORDER BY table_name, gatherer_id
"""

_ORPHANS = f"""
SELECT ticker, count(*), min(exchange_ts) FROM trades
WHERE exchange_ts >= $1::timestamptz AND exchange_ts < $2::timestamptz
  AND NOT EXISTS (SELECT FROM markets WHERE markets.ticker = trades.ticker)
GROUP BY ticker ORDER BY 2 DESC, 1 LIMIT {MOST}
"""  # noqa: S608 - a constant

_UNSETTLED = f"""
SELECT theirs.ticker, theirs.result, coalesce(ours.status, ''), coalesce(ours.result, '')
FROM jsonb_to_recordset($1::text::jsonb) AS theirs(ticker text, result text)
LEFT JOIN markets AS ours USING (ticker)
WHERE coalesce(ours.result, '') <> theirs.result ORDER BY 1 LIMIT {MOST}
"""  # noqa: S608 - a constant

_GRIDS = """
SELECT ticker, coalesce(updated_ts, '2000-01-01+00'), greatest(seen_at, nullif($2, '')::timestamptz),
       ((band ->> 'start')::numeric * 1000000)::bigint,
       ((band ->> 'end')::numeric * 1000000)::bigint,
       ((band ->> 'step')::numeric * 1000000)::bigint
FROM markets, jsonb_array_elements(CASE jsonb_typeof(object -> 'price_ranges')
                                   WHEN 'array' THEN object -> 'price_ranges' ELSE '[]' END) AS band
WHERE ticker IN (SELECT jsonb_array_elements_text($1::text::jsonb))
"""

_CHECKPOINTS = """
SELECT ticker, snapshot_ts, yes_prices, yes_sizes, no_prices, no_sizes, source = 'ws' AS is_cleared FROM (
    (SELECT DISTINCT ON (ticker) * FROM orderbook_snapshots
     WHERE source = 'checkpoint' AND snapshot_ts <= {start} AND snapshot_ts > {start} - interval '24 hours'
     ORDER BY ticker, snapshot_ts DESC)
    UNION ALL
    SELECT * FROM orderbook_snapshots
    WHERE snapshot_ts > {start} AND snapshot_ts <= {end}
      AND (source = 'checkpoint' OR source = 'ws' AND yes_prices = '{{}}' AND no_prices = '{{}}')
) AS kept
ORDER BY ticker COLLATE "C", snapshot_ts, is_cleared
"""
_BIND_WINDOW = "SELECT set_config('kalshi.window_start', $1, true), set_config('kalshi.window_end', $2, true)"
_START = "(SELECT current_setting('kalshi.window_start')::timestamptz)"
_END = "(SELECT current_setting('kalshi.window_end')::timestamptz)"


@dataclass(frozen=True, slots=True)
class Uncoupled:
    """Trades of one market and hour whose change of the book is not in the record.

    Attributes:
        trades: How many.
        explained: How many of them were made while nobody heard the book whole.
    """

    hour: datetime
    ticker: str
    trades: int
    explained: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """One row of which a gatherer brought another version than the one that stands; `total` of the window."""

    ticker: str
    gatherer_id: str
    row_key: str
    moment: datetime
    total: int


@dataclass(frozen=True, slots=True)
class CoveredHour:
    """How completely one channel was heard in one hour.

    Attributes:
        markets: Markets that somebody should have heard; a whole channel counts as one.
        uncovered_markets: Markets among them that nobody heard whole.
        uncovered_us: Length of all uncovered intervals, microseconds.
        gatherers: Who listened, separated by commas.
        behind: Who was not merged to the hour's end when it was reckoned, separated by commas.
    """

    hour: datetime
    markets: int
    uncovered_markets: int
    uncovered_us: int
    gatherers: str
    behind: str


@dataclass(frozen=True, slots=True)
class Uncovered:
    """When nobody heard a market; an empty ticker is every market of the channel."""

    hour: datetime
    ticker: str
    from_at: datetime
    until_at: datetime


@dataclass(frozen=True, slots=True)
class GapHour:
    """One hour of a channel with intervals that nobody heard.

    Attributes:
        computed_at: When the hour was reckoned last.
        intervals: How many there are.
        fingerprint: Changes with the intervals.
    """

    hour: datetime
    channel: str
    computed_at: datetime
    intervals: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What was read of one gatherer's table since its first row, and how much of it production did not have."""

    table_name: str
    gatherer_id: str
    rows_read: int
    rows_merged: int


@dataclass(frozen=True, slots=True)
class Orphan:
    """Trades of a market that production does not know."""

    ticker: str
    trades: int
    first_at: datetime


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A market whose result at the exchange is not the one in production; our status is empty where it is unknown."""

    ticker: str
    their_result: str
    our_status: str
    our_result: str


def trades_without_delta(url: str, start: datetime, end: datetime) -> list[Uncoupled]:
    """Trades that no change of the book stands for: same millisecond, the maker's side, minus the size.

    Every trade has one (data of August 2026: 52,985 of 52,985), so one that has none proves a missed change. Equal
    trades need as many equal changes. Block trades are made off the book; where no taker is told, nobody can look.
    Explained are those made while nobody heard the book: in an uncovered interval, before it was first heard (they came
    over REST), or in a combo that is not followed.
    """
    return [Uncoupled(*row) for row in _asked(url, _UNCOUPLED, start.isoformat(), end.isoformat())]


def conflicts(url: str, table: Table, start: datetime, end: datetime) -> list[Conflict]:
    """Rows of a window of which gatherers brought different versions, first found first."""
    window = (start.isoformat(), end.isoformat())
    return [Conflict(*row) for row in _asked(url, _CONFLICTS, table.name, *window, str(table.time_column))]


def coverage(url: str, channel: str, start: datetime, end: datetime) -> tuple[list[CoveredHour], list[datetime]]:
    """What is reckoned of a channel's hours, and the hours with listeners that are not reckoned yet."""
    window = (channel, start.isoformat(), end.isoformat())
    known = [CoveredHour(*row) for row in _asked(url, _COVERAGE, *window)]
    reckoned = {one.hour for one in known}
    return known, sorted({hour for (hour,) in _asked(url, _EXPECTED, *window)} - reckoned)


def uncovered(url: str, channel: str, start: datetime, end: datetime) -> list[Uncovered]:
    """The intervals of a window that nobody heard, longest first."""
    return [Uncovered(*row) for row in _asked(url, _INTERVALS, channel, start.isoformat(), end.isoformat())]


def gap_hours(url: str, since: datetime, most: int) -> list[GapHour]:
    """Hours with uncovered intervals that were reckoned after a moment, in the order in which they were.

    Hours are reckoned one by one; those of one moment, where there are any, come together.
    """
    return [GapHour(*row) for row in _asked(url, _GAP_HOURS, since.isoformat(), str(most))]


def merged(url: str) -> list[Merged]:
    """How much each gatherer brought, and how much of it was new."""
    return [Merged(*row) for row in _asked(url, _MERGED)]


def orphan_trades(url: str, start: datetime, end: datetime) -> list[Orphan]:
    """Markets that trades of a window name and that production does not know, busiest first."""
    return [Orphan(*row) for row in _asked(url, _ORPHANS, start.isoformat(), end.isoformat())]


def unsettled(url: str, results: Mapping[str, str]) -> list[Unsettled]:
    """Which of these markets, by ticker with the exchange's result, have another result in production, or none."""
    theirs = msgspec.json.encode([{"ticker": ticker, "result": result} for ticker, result in results.items()])
    return [Unsettled(*row) for row in _asked(url, _UNSETTLED, theirs.decode())]


def grids(url: str, tickers: Sequence[str], synced: datetime | None) -> pa.Table:
    """The bands of prices of markets: ticker, start, end and step in micro-dollars of the yes price.

    `known_from` and `known_until` are the times between which a market is known to have had these: since the exchange
    last changed its description, until it was last asked, about this market or, at `synced`, what has changed of any.
    """
    until = synced.isoformat() if synced else ""
    rows = _asked(url, _GRIDS, msgspec.json.encode(list(tickers)).decode(), until)
    names = ("ticker", "known_from", "known_until", "start", "end", "step")
    moment, whole = pa.timestamp("us", tz="UTC"), pa.int64()
    types = (pa.string(), moment, moment, whole, whole, whole)
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table({name: pa.array(values, kind) for name, values, kind in zip(names, columns, types, strict=True)})


@contextmanager
def read_checkpoints(url: str, start: datetime, end: datetime) -> Iterator[pa.RecordBatchReader]:
    """The checkpoints that a window is replayed between, by ticker (in the order of bytes) and time.

    Of each market its last one of the day before `start`, and every one until `end`, included. When a market closes,
    the exchange sends an empty book and no changes that lead there: those are among them, marked `is_cleared`.
    """
    with reading(url) as cursor:
        cursor.execute(_BIND_WINDOW, (start.isoformat(), end.isoformat()))
        cursor.fetchall()
        cursor.execute(_CHECKPOINTS.format(start=_START, end=_END))
        with cursor.fetch_record_batch() as reader:
            yield reader


def _asked(url: str, query: str, *parameters: str) -> list[tuple[Any, ...]]:
    with reading(url) as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())
