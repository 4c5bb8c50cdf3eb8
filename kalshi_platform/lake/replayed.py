"""Replaying a file of deltas from checkpoint to checkpoint: the proof that no change of a book is missing.

From each checkpoint on, the changes of the file are applied by the same book that gatherers keep; no level may go below
nothing, no book may cross, and at the next checkpoint both must be equal. Kept out: where checkpoints come from, and
whether somebody knows why a book does not fit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import pyarrow as pa

from kalshi_platform.core.book import NegativeLevel, OrderBook

MOST = 1_000
"""Breaks that are kept; all are counted."""

_COLUMNS = ("ticker", "exchange_ts", "side", "price", "size_delta")


class Delta(NamedTuple):
    """One change: time in microseconds, side (true is yes), micro-dollars, hundredths of a contract."""

    ticker: str
    moment: int
    side: bool
    price: int
    size_delta: int


class Checkpoint(NamedTuple):
    """One kept book: time in microseconds, levels in micro-dollars and hundredths of a contract."""

    ticker: str
    moment: int
    yes_prices: Sequence[int]
    yes_sizes: Sequence[int]
    no_prices: Sequence[int]
    no_sizes: Sequence[int]
    is_cleared: bool = False
    """Whether the exchange emptied the book, as it does when a market closes: no change leads there."""

    def book(self) -> OrderBook:
        """The book as it was kept."""
        return OrderBook(
            zip(self.yes_prices, self.yes_sizes, strict=True), zip(self.no_prices, self.no_sizes, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Break:
    """Where a market's changes stopped fitting.

    Attributes:
        since: The checkpoint that the book was replayed from, µs since 1970.
        moment: Where it was seen, µs since 1970.
        what: What did not fit.
    """

    ticker: str
    since: int
    moment: int
    what: str


@dataclass(slots=True)
class Replay:
    """What a replay found.

    Attributes:
        markets: Markets with a change or a checkpoint.
        deltas: Changes that were applied.
        unstarted: Changes before their market's first checkpoint, which no proof speaks of.
        compared: Checkpoints that a replayed book was held against.
        breaks: Where something did not fit, the first `MOST`.
        broken: How often something did not fit.
    """

    markets: int = 0
    deltas: int = 0
    unstarted: int = 0
    compared: int = 0
    breaks: list[Break] = field(default_factory=list)
    broken: int = 0

    def note(self, found: Break) -> None:
        """Count a break and keep it, if there is room."""
        self.broken += 1
        if len(self.breaks) < MOST:
            self.breaks.append(found)


def replay(deltas: Iterable[pa.RecordBatch], checkpoints: Iterable[pa.RecordBatch]) -> Replay:
    """Apply every change to its market's book, in order.

    Args:
        deltas: A file's rows, in its order: by ticker, time and position; decimals.
        checkpoints: By ticker in the same order, then time; integers, as `database.quality.read_checkpoints` gives
            them.
    """
    found = Replay()
    kept = _Groups(_checkpoints(checkpoints))
    for ticker, changes in groupby(_deltas(deltas), itemgetter(0)):
        for quiet in kept.before(ticker):
            _replay_market((), quiet, found)
        _replay_market(changes, kept.of(ticker), found)
    for quiet in kept.before(None):
        _replay_market((), quiet, found)
    return found


def _replay_market(changes: Iterable[Delta], checkpoints: Sequence[Checkpoint], found: Replay) -> None:
    found.markets += 1
    market = _Market(found, iter(checkpoints))
    for change in changes:
        market.reach(change.moment)
        market.apply(change)
    market.reach(None)


class _Market:
    """One market's book while it is replayed; None where it is not known."""

    def __init__(self, found: Replay, checkpoints: Iterator[Checkpoint]) -> None:
        self._found = found
        self._checkpoints = checkpoints
        self._next = next(checkpoints, None)
        self._from: Checkpoint | None = None
        self._book: OrderBook | None = None
        self._was_crossed = False

    def reach(self, moment: int | None) -> None:
        """Pass the checkpoints that hold all that came before `moment`; None passes all that are left."""
        while (at := self._next) is not None and (moment is None or at.moment <= moment):
            book = at.book()
            if self._book is not None and not at.is_cleared:
                self._found.compared += 1
                if (self._book.yes, self._book.no) != (book.yes, book.no):
                    self._broken(at.moment, "does not end at the next checkpoint")
            self._book, self._from, self._next = book, at, next(self._checkpoints, None)
            self._was_crossed = False

    def apply(self, change: Delta) -> None:
        """Apply one change, if the book is known."""
        if self._book is None:
            self._found.unstarted += self._from is None
            return
        self._found.deltas += 1
        try:
            self._book.apply(change.side, change.price, change.size_delta)
        except NegativeLevel as error:
            self._broken(change.moment, str(error))
            self._book = None  # until the next checkpoint: what follows would only repeat it
            return
        if self._book.is_crossed and not self._was_crossed:
            self._was_crossed = True
            self._broken(change.moment, "bid meets ask")

    def _broken(self, moment: int, what: str) -> None:
        if self._from is not None:
            self._found.note(Break(self._from.ticker, self._from.moment, moment, what))


class _Groups:
    """Checkpoints by market, taken in step with the changes."""

    def __init__(self, checkpoints: Iterator[Checkpoint]) -> None:
        self._groups = ((ticker, list(group)) for ticker, group in groupby(checkpoints, itemgetter(0)))
        self._waiting = next(self._groups, None)

    def before(self, ticker: str | None) -> Iterator[list[Checkpoint]]:
        """The markets that come before one; None: all that are left."""
        while self._waiting and (ticker is None or self._waiting[0] < ticker):
            yield self._waiting[1]
            self._waiting = next(self._groups, None)

    def of(self, ticker: str) -> list[Checkpoint]:
        """One market's; none where it has none."""
        if not self._waiting or self._waiting[0] != ticker:
            return []
        group = self._waiting[1]
        self._waiting = next(self._groups, None)
        return group


def _deltas(batches: Iterable[pa.RecordBatch]) -> Iterator[Delta]:
    for batch in batches:
        columns = [_plain(batch.column(name)).to_pylist() for name in _COLUMNS]
        yield from map(Delta._make, zip(*columns, strict=True))


def _checkpoints(batches: Iterable[pa.RecordBatch]) -> Iterator[Checkpoint]:
    for batch in batches:
        columns = [_plain(column).to_pylist() for column in batch.columns]
        yield from map(Checkpoint._make, zip(*columns, strict=True))


def _plain(column: pa.Array) -> pa.Array:
    """Times as microseconds and decimals as the digits that they are made of."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    if pa.types.is_decimal(column.type):
        return column.view(pa.decimal128(column.type.precision, 0)).cast(pa.int64())
    return column
