"""Who listened when, out of production: one gatherer's sessions as spans of time, and what nobody heard.

Here belongs the SQL behind pictures and tables of coverage. Kept out: judging it (`quality`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.export import reading

Span = tuple[datetime, datetime]

_MOST = 2_000
_MERGED = "CASE $1::text WHEN 'trade' THEN 'trades' WHEN 'ticker' THEN 'tickers' ELSE 'orderbook_deltas' END"
# A session that nobody ended reaches as far as its gatherer has been merged. Sessions of one connection's markets
# overlap by the thousand: range_agg makes one span of them.
_HEARD = f"""
WITH session AS (
    SELECT s.gatherer_id, tstzrange(greatest(s.started_at, $2::timestamptz),
           least(greatest(s.started_at, coalesce(s.ended_at, m.watermark, s.started_at)), $3::timestamptz)) AS span
    FROM capture_sessions AS s
    LEFT JOIN sync_progress AS m ON m.gatherer_id = s.gatherer_id AND m.table_name = {_MERGED}
    WHERE s.channel = $1 AND s.started_at < $3::timestamptz
      AND coalesce(s.ended_at, m.watermark, s.started_at) > $2::timestamptz
), merged AS (SELECT gatherer_id, unnest(range_agg(span)) AS span FROM session GROUP BY gatherer_id)
SELECT gatherer_id, (extract(epoch FROM lower(span)) * 1000000)::bigint,
       (extract(epoch FROM upper(span)) * 1000000)::bigint
FROM merged ORDER BY 1, 2 LIMIT {_MOST}
"""  # noqa: S608 - constants
_LOST = f"""
WITH lost AS (
    SELECT unnest(range_agg(tstzrange(greatest(from_at, $2::timestamptz), least(until_at, $3::timestamptz)))) AS span
    FROM uncovered_intervals WHERE channel = $1 AND from_at < $3::timestamptz AND until_at > $2::timestamptz
)
SELECT (extract(epoch FROM lower(span)) * 1000000)::bigint, (extract(epoch FROM upper(span)) * 1000000)::bigint
FROM lost ORDER BY 1 LIMIT {_MOST}
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class Listening:
    """One channel in one window.

    Attributes:
        heard: Per gatherer, the spans in which it listened to any market of the channel.
        lost: The spans in which some market that was open was heard by nobody.
    """

    heard: Mapping[str, list[Span]]
    lost: list[Span]


def listening(url: str, channel: str, start: datetime, end: datetime) -> Listening:
    """Who listened to a channel in [start, end); at most so many spans as a picture can show."""
    window = (channel, start.isoformat(), end.isoformat())
    heard: dict[str, list[Span]] = {}
    with reading(url) as cursor:
        cursor.execute(_HEARD, window)
        for gatherer, since_us, until_us in cursor.fetchall():
            heard.setdefault(gatherer, []).append((datetime_from_us(since_us), datetime_from_us(until_us)))
        cursor.execute(_LOST, window)
        lost = [(datetime_from_us(since_us), datetime_from_us(until_us)) for since_us, until_us in cursor.fetchall()]
    return Listening(heard, lost)
