"""What the lake knows of its own holes: when nobody heard a market, so that no book is told across such a time.

The intervals come from production's `uncovered_intervals`, one file a day. Their times are the gatherers' clocks; a
change that was missed may carry an exchange time that is earlier by as long as a message may take. Kept out: the books.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from kalshi_platform.lake.datasets import COVERAGE, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake

SLACK = timedelta(seconds=5)
"""How late a message may come: as long as gatherers wait before they call an hour whole."""

_UNCOVERED = COVERAGE["uncovered_intervals"]
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
    holes: tuple[tuple[datetime, datetime], ...]

    def hole_within(self, start: datetime, end: datetime) -> tuple[datetime, datetime] | None:
        """The first hole in which changes of [start, end] may be missing."""
        return next(((low, high) for low, high in self.holes if low <= end and high > start), None)


def coverage_of(
    connection: duckdb.DuckDBPyConnection, lake: Lake, ticker: str, start: datetime, end: datetime
) -> Coverage:
    """The holes in a market's changes between two moments."""
    found = {day: read_footer(lake, _UNCOVERED, day) for day in _days(start, end)}
    files = [lake.path(_UNCOVERED, day) for day, footer in found.items() if footer is not None]
    reach = [footer for footer in found.values() if footer is not None and footer.window_end > min(end, footer.window_start)]
    is_known = len(reach) == len(found) and reach[-1].window_end > end
    if not files:
        return Coverage(is_known=False, holes=())
    query = {"files": files, "ticker": ticker, "start": start, "end": end + SLACK}
    holes = tuple((low - SLACK, high) for low, high in connection.execute(_SQL, query).fetchall())
    return Coverage(is_known, holes)


def _days(start: datetime, end: datetime) -> Iterator[datetime]:
    day = Period.DAY.floor(start)
    while day <= end:
        yield day
        day += timedelta(days=1)
