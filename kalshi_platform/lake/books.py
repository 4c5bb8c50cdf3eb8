"""The book of a market at any instant: a checkpoint, and every change between it and then.

What this module adds to the plain SQL of `macros` is that it never guesses: without a checkpoint, where an hour in
between is not in the lake, or across a time at which nobody heard the market, the book is unknown. Then the next
checkpoint is tried, from which the changes are taken back. Kept out: live books (`core.book`).
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from kalshi_platform.core.book import NegativeLevel
from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.lake.at_once import at_once
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.fold import Instants, first_standing, fold, fold_once, last_standing
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.holes import Coverage, coverage_of, starts_between
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.partitions import in_utc
from kalshi_platform.lake.reader import root_of

Levels = tuple[tuple[Decimal, Decimal], ...]
"""Price in dollars and size in contracts of each level, by ascending price."""

_DELTAS, _SNAPSHOTS = RAW[ORDERBOOK_DELTAS.name], RAW[ORDERBOOK_SNAPSHOTS.name]
_BOOKS = """
SELECT DISTINCT epoch_us(snapshot_ts), source = 'checkpoint', source = 'ws' AND len(yes_prices) + len(no_prices) = 0
FROM read_parquet($files) WHERE ticker = $ticker ORDER BY ALL
"""
_PRICES, _SIZES = pa.list_(pa.decimal128(9, 6)), pa.list_(pa.decimal128(18, 2))
_COLUMNS = {"yes_prices": _PRICES, "yes_sizes": _SIZES, "no_prices": _PRICES, "no_sizes": _SIZES}
_SCHEMA = pa.schema(
    [
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("is_known", pa.bool_()),
        pa.field("checkpoint_ts", pa.timestamp("us", tz="UTC")),
        *(pa.field(name, kind) for name, kind in _COLUMNS.items()),
    ]
)
_LEVELS = pa.schema({"side": pa.string(), "price": pa.decimal128(9, 6), "size": pa.decimal128(18, 2)})
_LOOKBACKS = (1, 7, 30)


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
        checkpoint_ts: The checkpoint that the book was built from, before or after `when`.
        is_covered: Whether the lake says that somebody heard every change in between; false where it does not say.
    """

    ticker: str
    when: datetime
    yes: Levels
    no: Levels
    checkpoint_ts: datetime
    is_covered: bool

    def to_arrow_table(self) -> pa.Table:
        """A row a level, as the SQL macro has them: side (yes, no), price, size; yes first, by ascending price."""
        rows = [(side, *level) for side, levels in (("yes", self.yes), ("no", self.no)) for level in levels]
        return pa.table([list(column) for column in zip(*rows, strict=True)] or [[]] * 3, schema=_LEVELS)


def book_at(connection: duckdb.DuckDBPyConnection, ticker: str, when: datetime) -> Book:
    """The book of one market, with all changes up to and including `when`.

    Raises:
        BookUnknown: Where it cannot be told for sure: no checkpoint, an hour missing, or nobody heard the market.
        NegativeLevel: Where the record takes more from a level than it held.
        ValueError: Where `when` names no time zone.
    """
    when = in_utc(when)
    market = _Market(connection, root_of(connection), ticker, when, when)
    (part,) = market.parts(Instants(when))
    if part.checkpoint is None:
        raise BookUnknown(part.missing)
    levels = fold_once(connection, market.lake, ticker, part.checkpoint, when)
    yes, no = (tuple((price, size) for of, price, size in levels if of is side) for side in (True, False))
    for price, size in yes + no:
        if size < 0:
            raise NegativeLevel(f"{ticker} at {when.isoformat()}: level {price} would hold {size}")
    return Book(ticker, when, yes, no, part.checkpoint, market.coverage.is_known)


def books(
    connection: duckdb.DuckDBPyConnection, ticker: str, start: datetime, end: datetime, every: timedelta
) -> duckdb.DuckDBPyRelation:
    """The books of one market at `start` and every so often up to and including `end`.

    Columns: at, is_known, checkpoint_ts, yes_prices, yes_sizes, no_prices, no_sizes. Where the book cannot be told
    for sure, or the record takes more from a level than it held, `is_known` is false and the rest is empty.

    Raises:
        ValueError: Where `end` lies before `start`, `every` is no time, or a moment names no time zone.
    """
    start, end = in_utc(start), in_utc(end)
    if end < start or every <= timedelta(0):
        raise ValueError("books need a start, an end that is not before it, and a time between them above 0")
    market = _Market(connection, root_of(connection), ticker, start, end)
    parts = market.parts(Instants(start, (end - start) // every + 1, every))
    found = pa.concat_tables([_rows(connection, market.lake, ticker, part) for part in parts])
    return connection.from_arrow(found)


@dataclass(frozen=True, slots=True)
class _Part:
    """Instants that follow from one checkpoint, or from none, and why."""

    instants: Instants
    checkpoint: datetime | None = None
    missing: str = ""


def _rows(connection: duckdb.DuckDBPyConnection, lake: Lake, ticker: str, part: _Part) -> pa.Table:
    count = part.instants.count
    at = pa.array([part.instants[nth] for nth in range(count)], _SCHEMA.field("at").type)
    if part.checkpoint is None:
        nothing = [pa.nulls(count, kind) for kind in (at.type, *_COLUMNS.values())]
        return pa.table([at, pa.array([False] * count), *nothing], schema=_SCHEMA)
    levels = fold(connection, lake, ticker, part.checkpoint, part.instants)
    known = levels["is_possible"].combine_chunks()
    since = pc.if_else(known, pa.scalar(part.checkpoint, at.type), None)
    columns = [pc.if_else(known, levels[name].cast(kind).combine_chunks(), None) for name, kind in _COLUMNS.items()]
    return pa.table([at, known, since, *columns], schema=_SCHEMA)


class _Market:
    """What the lake has of one market around a span: its checkpoints, its hours and its holes."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, lake: Lake, ticker: str, start: datetime, end: datetime
    ) -> None:
        self.lake = lake
        self._connection = connection
        self._ticker = ticker
        self._reach: dict[datetime, datetime | None] = {}
        self._checkpoints: list[datetime] = []
        self._emptied: list[datetime] = []
        self._heard_from: datetime | None = None
        self._look(start, end)
        since = next(reversed([one for one in self._checkpoints if one <= start]), start)
        until = next((one for one in self._checkpoints if one > end), end)
        self.coverage: Coverage = coverage_of(connection, lake, ticker, since, until)

    def parts(self, instants: Instants) -> list[_Part]:
        """The instants, cut where another checkpoint serves or none does."""
        found: list[_Part] = []
        nth = 0
        while nth < instants.count:
            place = bisect_right(self._checkpoints, instants[nth])
            stop = instants.count
            if place < len(self._checkpoints):
                stop = min(stop, instants.first_from(self._checkpoints[place]))
            found.extend(self._between(instants.part(nth, stop), place))
            nth = stop
        return found

    def _between(self, instants: Instants, place: int) -> Iterator[_Part]:
        """The instants between two checkpoints: from the former, unknown ones, from the latter."""
        known_until, missing = instants.first, self._no_checkpoint(instants.first)
        known_from = None
        if place:
            known_until, missing = self._forward(self._checkpoints[place - 1], instants.last)
        if place < len(self._checkpoints) and known_until <= instants.last:
            known_from = self._backward(self._checkpoints[place], instants.first)
        first = instants.first_from(known_until)
        second = instants.count if known_from is None else max(first, instants.first_from(known_from))
        if first:
            yield _Part(instants.part(0, first), self._checkpoints[place - 1])
        if second > first:
            yield _Part(instants.part(first, second), None, missing)
        if second < instants.count:
            yield _Part(instants.part(second, instants.count), self._checkpoints[place])

    def _no_checkpoint(self, moment: datetime) -> str:
        if self._heard_from is None:
            return f"the lake has no book of {self._ticker} at any time around: is that the market's ticker?"
        return f"no checkpoint of {self._ticker} up to {moment.isoformat()}, and none after it that leads back there"

    def _forward(self, checkpoint: datetime, last: datetime) -> tuple[datetime, str]:
        """The first moment that does not follow from an earlier checkpoint, and why."""
        limit, missing = last + datetime.resolution, ""
        hours = starts_between(Period.HOUR, checkpoint, last)
        self._note_reaches(hours)
        for hour in hours:
            reach = self._reach[hour]
            if reach is None or reach < min(hour + HOUR, limit):
                limit, missing = (
                    max(reach or hour, checkpoint),
                    f"the lake lacks deltas of the hour from {hour.isoformat()}: export it first",
                )
                break
        hole = self.coverage.hole_within(checkpoint, last)
        if hole and hole[0] < limit:
            limit = max(hole[0], checkpoint)
            missing = f"nobody heard {self._ticker} from {hole[0].isoformat()} until {hole[1].isoformat()}"
        sent_empty = [at for at in self._emptied if checkpoint < at < limit]
        if sent_empty and (at := first_standing(self._connection, self.lake, self._ticker, checkpoint, sent_empty)):
            return at, f"the exchange emptied the book of {self._ticker} at {at.isoformat()}"
        return limit, missing

    def _backward(self, checkpoint: datetime, first: datetime) -> datetime:
        """The first moment that follows from a later checkpoint."""
        if self._heard_from is None:
            return checkpoint
        limit = max(Period.HOUR.floor(first), self._heard_from)
        hours = starts_between(Period.HOUR, first, checkpoint - datetime.resolution)
        self._note_reaches(hours)
        for hour in reversed(hours):
            reach = self._reach[hour]
            if reach is None or reach < min(hour + HOUR, checkpoint):
                limit = max(limit, hour + HOUR)
                break
        limit = max([limit, *(high for low, high in self.coverage.holes if low < checkpoint)])
        return max(first, self._emptied_before(checkpoint, limit))

    def _emptied_before(self, checkpoint: datetime, limit: datetime) -> datetime:
        """The moment after `limit` at which the exchange emptied the book that leads to a checkpoint; else `limit`.

        It may send the empty book more than once: then the first one after the last that the changes contradict.
        """
        emptied = [at for at in self._emptied if limit < at < checkpoint]
        if len(emptied) < 2:
            return emptied[0] if emptied else limit
        standing = last_standing(self._connection, self.lake, self._ticker, checkpoint, emptied)
        return next((at for at in emptied if standing is None or at > standing), emptied[-1])

    def _note_reaches(self, hours: Sequence[datetime]) -> None:
        """Note of each hour the first moment whose deltas the lake does not have; None where it has no file of it."""
        new = [hour for hour in hours if hour not in self._reach]
        for hour, footer in zip(new, at_once(lambda hour: read_footer(self.lake, _DELTAS, hour), new), strict=True):
            self._reach[hour] = None if footer is None else footer.window_end

    def _look(self, start: datetime, end: datetime) -> None:
        """Find the checkpoints of the span, one before and one after it."""
        first, last = Period.DAY.floor(start), Period.DAY.floor(end)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        self._take([day for day in days if self._has(day)])
        if not self._checkpoints or self._checkpoints[-1] <= end:
            tomorrow = last + timedelta(days=1)
            self._take([tomorrow] if self._has(tomorrow) else [])
        if not self._checkpoints or self._checkpoints[0] > start:
            self._look_back(first)

    def _look_back(self, day: datetime) -> None:
        """Find the last checkpoint before a day: a quiet market has none for as long as it is quiet."""
        earlier = [start for start in self.lake.starts(_SNAPSHOTS) if start < day]
        for days in (*_LOOKBACKS, len(earlier)):
            chosen, earlier = earlier[-days:], earlier[:-days]
            known = len(self._checkpoints)
            self._take(chosen)
            if len(self._checkpoints) > known or not earlier:
                return

    def _has(self, day: datetime) -> bool:
        return read_footer(self.lake, _SNAPSHOTS, day) is not None

    def _take(self, days: Sequence[datetime]) -> None:
        """Note what the files of some days hold of the market."""
        if not days:
            return
        query = {"files": [self.lake.path(_SNAPSHOTS, day) for day in days], "ticker": self._ticker}
        rows = self._connection.execute(_BOOKS, query).fetchall()
        found = [(datetime_from_us(us), is_checkpoint, is_sent_empty) for us, is_checkpoint, is_sent_empty in rows]
        self._checkpoints = sorted({*self._checkpoints, *(at for at, is_checkpoint, _ in found if is_checkpoint)})
        self._emptied = sorted({*self._emptied, *(at for at, _, is_sent_empty in found if is_sent_empty)})
        if found:
            self._heard_from = min(found[0][0], self._heard_from or found[0][0])
