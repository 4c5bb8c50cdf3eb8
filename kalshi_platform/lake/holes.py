"""What the lake knows of its own holes: when nobody heard a market, so that no book is told across such a time.

The intervals are production's `uncovered_intervals`: in the manifest of each file of changes, or as a dataset with one
file a day, whichever the lake has. Their times are the gatherers' clocks; a
change that was missed may carry an exchange time that is earlier by as long as a message may take. Kept out: the books.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from kalshi_platform.lake.at_once import at_once
from kalshi_platform.lake.datasets import COVERAGE, RAW, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.manifest import Uncovered, read_manifest

SLACK = timedelta(seconds=5)
"""How late a message may come: as long as gatherers wait before they call an hour whole."""

_UNCOVERED = COVERAGE["uncovered_intervals"]
_DELTAS = RAW["orderbook_deltas"]
_Hole = tuple[datetime, datetime]
_SQL = """
SELECT from_at, until_at FROM read_parquet($files)
WHERE channel = 'orderbook_delta' AND ticker IN ('', $ticker) AND until_at >= $start AND from_at <= $end
ORDER BY from_at
"""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known of a market's changes in some span.

    Attributes:
        is_known: Whether the lake has the coverage of the whole span.
        holes: (from, until) of what nobody heard, in exchange time, earliest first.
    """

    is_known: bool
    holes: tuple[_Hole, ...]

    def hole_within(self, start: datetime, end: datetime) -> _Hole | None:
        """The first hole in which changes of [start, end] may be missing."""
        return next(((low, high) for low, high in self.holes if low <= end and high > start), None)


def coverage_of(
    connection: duckdb.DuckDBPyConnection, lake: Lake, ticker: str, start: datetime, end: datetime
) -> Coverage:
    """The holes in a market's changes between two moments."""
    days = [day for day in starts_between(Period.DAY, start, end + SLACK) if read_footer(lake, _UNCOVERED, day)]
    holes, is_known = _of_manifests(lake, ticker, start, end)
    if days:
        query = {"files": [lake.path(_UNCOVERED, day) for day in days], "ticker": ticker}
        found = connection.execute(_SQL, query | {"start": start, "end": end + SLACK}).fetchall()
        holes, is_known = {*holes, *found}, is_known or _reach(lake, days, start) > end + SLACK
    return Coverage(is_known, tuple(sorted((low - SLACK, high) for low, high in holes)))


def _of_manifests(lake: Lake, ticker: str, start: datetime, end: datetime) -> tuple[set[_Hole], bool]:
    """The holes that the manifests of a span know, and whether they know them all."""
    told = manifest_holes(lake, start, end)
    holes = {(hole.from_at, hole.until_at) for one in told.values() for hole in one if hole.ticker in ("", ticker)}
    return holes, all(hour in told for hour in starts_between(Period.HOUR, start, end + SLACK))


def manifest_holes(lake: Lake, start: datetime, end: datetime) -> dict[datetime, tuple[Uncovered, ...]]:
    """What nobody heard, by hour, as far as manifests say it.

    Of the hours that [start, end] touches, and of the next one where a change that was missed there may lie before
    `end`.
    """
    hours = starts_between(Period.HOUR, start, end + SLACK)
    found = zip(hours, at_once(lambda hour: read_manifest(lake, _DELTAS, hour), hours), strict=True)
    return {hour: one.uncovered for hour, one in found if one is not None and one.covered is not None}


def _reach(lake: Lake, days: list[datetime], start: datetime) -> datetime:
    """How far from `start` on the daily files go without a hole."""
    reach = Period.DAY.floor(start)
    for day in days:
        footer = read_footer(lake, _UNCOVERED, day)
        if day == reach and footer is not None:
            reach = footer.window_end
    return reach


def starts_between(period: Period, start: datetime, end: datetime) -> list[datetime]:
    """The starts of the hours or days that [start, end] touches."""
    first = period.floor(start)
    return [first + nth * period.value for nth in range((end - first) // period.value + 1)]
