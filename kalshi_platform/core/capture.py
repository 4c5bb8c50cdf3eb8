"""Capture: the frames of one connection become rows, books and checkpoints.

Pure: frames in, rows out, with the clock as an argument. Live gatherers and the replay of recordings run this same
code. Here belong occurrence, position, book keeping and checkpoints. Kept out: sockets, commands, sequence checks
(exchange.session) and writing (database).
"""

from collections.abc import Sequence, Set

from kalshi_platform.core.book import NegativeLevel, OrderBook
from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.market_book import CaptureCounts, MarketBook
from kalshi_platform.core.messages import DeltaFrame, Envelope, Frame, SnapshotFrame, TickerFrame, TradeFrame
from kalshi_platform.core.occurrences import Occurrences
from kalshi_platform.core.records import (
    DeltaRow,
    Row,
    SnapshotRow,
    Source,
    TickerRow,
    check_ticker,
    digest_of,
    exchange_ms,
    levels_of,
    side_of,
    snapshot_row,
    ticker_values,
    trade_row,
)
from kalshi_platform.core.units import (
    MILLISECOND,
    price_from_dollars,
    size_from_contracts,
)
from kalshi_platform.core.usual_changes import Change, usual_rows

HOUR_MS = 3_600_000
MOST_CHECKPOINTS = 500
FIRST_MS = 1_000
"""A book that has come is checkpointed a whole second to two later: by then all that it holds is stamped earlier."""

_WORST_CLOCK_MS = 5_000
"""How wrong the gatherer's clock may be (gatherer.registry), which tells when a snapshot came that does not say so."""

_TICKER_MEMORY_MS = 100
_TICKER_SILENCE_MS = 60_000
"""A ticker that is not heard for so long, or twice as long, is forgotten."""

_BOOK_FRAMES = ("orderbook_delta", "orderbook_snapshot")


_Change = tuple[str, int, bool, int, int]
"""Ticker, millisecond, side, price and size of a delta."""


class Capture:
    """Turns one connection's frames into rows.

    Args:
        gatherer_id: Written into snapshots.
        checkpoint_ms: Interval of the exchange's clock at which books are checkpointed.
    """

    def __init__(self, gatherer_id: str, checkpoint_ms: int = HOUR_MS) -> None:
        self.gatherer_id = gatherer_id
        self._checkpoint_ms = checkpoint_ms
        self._markets: dict[str, MarketBook] = {}
        self._tickers: dict[str, Occurrences] = {}
        self._silent_tickers: dict[str, Occurrences] = {}
        self._silent_from = 0
        self._watched: dict[int, set[str]] = {}  # by when a sweep is to look at them; a look too many does no harm
        self._leaving: set[str] = set()
        self._untrusted: set[str] = set()
        self._remember_from: int | None = None
        self.counts = CaptureCounts()

    @property
    def untrusted(self) -> Set[str]:
        """Markets whose book cannot be trusted until a snapshot comes."""
        return self._untrusted

    def book(self, ticker: str) -> OrderBook | None:
        """The market's book, or None where it is unknown or cannot be trusted."""
        market = self._markets.get(ticker)
        return None if market is None or market.valid_from is None else market.book

    def changed_us(self, ticker: str) -> int | None:
        """Exchange time (µs) of the last change or snapshot of a book; None where it cannot be trusted."""
        market = self._markets.get(ticker)
        if market is None or market.valid_from is None:
            return None
        return max(market.valid_from, market.occurrences.ms) * MILLISECOND

    def await_late(self, *, may_come: bool) -> None:
        """Whether frames that fill a hole may still come, so that what is counted must be remembered."""
        self._remember_from = 0 if may_come else None

    def distrust(self, ticker: str | None = None) -> None:
        """Stop believing one book, or with None every book, until its next snapshot."""
        for one in list(self._markets) if ticker is None else [ticker]:
            market = self._markets.get(one)
            if market is not None:
                self._doubt(one, market)

    def restart(self) -> None:
        """The order book subscription has ended: its books count no more.

        What was counted stays: a change that follows on the next subscription within the same millisecond is another.
        """
        self.distrust()
        for market in self._markets.values():
            market.due = None
        self._watched.clear()

    def retire(self, ticker: str, *, lives_on: bool = False) -> None:
        """Forget a market that is no longer subscribed, once the checkpoint of its end stands and nothing may follow.

        Changes may be on their way yet, and must not take a number that is taken.

        Args:
            ticker: The market.
            lives_on: Whether it changes on, unheard here: then its book is over, and no checkpoint may show it.
        """
        market = self._markets.get(ticker)
        if market is not None:
            market.is_leaving = True
            self._leaving.add(ticker)
            self._untrusted.discard(ticker)
            if lives_on:
                market.valid_from = market.due = None

    def record(self, frame: Frame, received_us: int, *, is_late: bool = False) -> Sequence[Row]:
        """The rows of one frame; frames that carry no market data have none.

        A late frame is recorded like any other, but no book believes it: each waits for a snapshot, or has had one
        that shows the change already.

        Raises:
            FrameRejected: Where a value is not usable; a book that it concerned is then distrusted.
        """
        if isinstance(frame, DeltaFrame):
            return self._late_delta(frame, received_us) if is_late else self._delta(frame, received_us)
        if isinstance(frame, TradeFrame):
            return (trade_row(frame.msg, received_us),)
        if isinstance(frame, TickerFrame):
            return (self._ticker(frame, received_us),)
        if isinstance(frame, SnapshotFrame):
            return (self._late_snapshot(frame, received_us),) if is_late else self._snapshot(frame, received_us)
        return ()

    def usual_changes(self, changes: Sequence[Change]) -> list[DeltaRow]:
        """The rows of changes, from the first on, as long as all is as usual: `record` without detours.

        Of the first that is not nothing has happened yet, nor of those behind it: `record` will tell.
        """
        return usual_rows(self._markets, self.counts, self._remember_from, changes)

    def missed(self, envelope: Envelope) -> None:
        """A frame could not be decoded: a book that it may have changed is not certain any more."""
        if envelope.type in _BOOK_FRAMES:
            self.distrust(None if envelope.msg is None else envelope.msg.market_ticker)

    def _snapshot(self, frame: SnapshotFrame, received_us: int) -> Sequence[SnapshotRow]:
        """Take a whole book; from now on it can be trusted. Before it stands the checkpoint of the book it replaces."""
        ticker = check_ticker(frame.msg.market_ticker)
        market = self._market(ticker)
        market.is_leaving = False
        try:
            book, sent_ms = _book_of(frame, received_us)
        except FrameRejected:
            self._doubt(ticker, market)
            raise
        row = snapshot_row(book, ticker, Source.WEBSOCKET, self.gatherer_id, sent_ms * MILLISECOND, received_us)
        if self._may_wait(market) and (market.book.yes, market.book.no) == (book.yes, book.no):
            return (row,)  # the same once more: it has been certain since it came
        rows: list[SnapshotRow] = []
        surely_ms = sent_ms if frame.sending_ts_ms is not None else sent_ms - _WORST_CLOCK_MS
        if market.due is not None and market.valid_from is not None and surely_ms >= market.due:
            rows.extend(self._checkpoint(ticker, market, surely_ms, received_us))
        before = self.book(ticker)
        market.book, market.valid_from = book, _certain_from(frame, sent_ms, market)
        self._untrusted.discard(ticker)
        if before is None or before.is_empty != book.is_empty:
            self._plan_first(ticker, market, market.valid_from)
        self._plan(ticker, market, market.valid_from)
        rows.append(row)
        return rows

    def _late_snapshot(self, frame: SnapshotFrame, received_us: int) -> SnapshotRow:
        """What the exchange said is kept; the book may have moved on since."""
        ticker = check_ticker(frame.msg.market_ticker)
        book, sent_ms = _book_of(frame, received_us)
        return snapshot_row(book, ticker, Source.WEBSOCKET, self.gatherer_id, sent_ms * MILLISECOND, received_us)

    def _late_delta(self, frame: DeltaFrame, received_us: int) -> Sequence[DeltaRow]:
        ticker, ms, side, price, size_delta = _change_of(frame, received_us)
        market = self._market(ticker)
        if ms < market.emitted:
            self.counts.late_deltas += 1
        return (self._counted(market, frame, (ticker, ms, side, price, size_delta), received_us),)

    def _counted(self, market: MarketBook, frame: DeltaFrame, change: _Change, received_us: int) -> DeltaRow:
        """A change's row, numbered among its equals."""
        ticker, ms, side, price, size_delta = change
        occurrence = market.occurrences.count(ms, (side, price, size_delta), self._remember_from)
        return DeltaRow(
            ms * MILLISECOND, ticker, side, price, size_delta, occurrence, market.occurrences.position,
            frame.seq, frame.sid, received_us,
        )  # fmt: skip

    def _delta(self, frame: DeltaFrame, received_us: int) -> Sequence[DeltaRow | SnapshotRow]:
        """Record one change; before it stands the checkpoint that it ends, if one was due."""
        try:
            change = _change_of(frame, received_us)
        except FrameRejected:
            self.distrust(frame.msg.market_ticker)
            raise
        ticker, ms, side, price, size_delta = change
        market = self._market(ticker)
        rows: list[DeltaRow | SnapshotRow] = []
        if market.due is not None and ms >= market.due:
            rows.extend(self._checkpoint(ticker, market, ms, received_us))
        if ms < market.occurrences.ms:
            self.counts.clock_regressions += 1
        row = self._counted(market, frame, change, received_us)
        self._apply(ticker, market, ms, side, price, size_delta)
        self._plan(ticker, market, ms)
        rows.append(row)
        return rows

    def _ticker(self, frame: TickerFrame, received_us: int) -> TickerRow:
        """Record one ticker update.

        The digest covers the values and their occurrence, so that a quote that flickers there and back within one
        millisecond is kept as often as it was sent.
        """
        body = frame.msg
        ticker = check_ticker(body.market_ticker)
        ms = exchange_ms(body.ts_ms, body.ts, received_us)
        values = ticker_values(body)
        occurrences = self._tickers.get(ticker)
        if occurrences is None:
            occurrences = self._silent_tickers.pop(ticker, None) or Occurrences()
            self._tickers[ticker] = occurrences
        # this channel has no seq: whether a frame is late cannot be known
        digest = digest_of((values, occurrences.count(ms, values, ms - _TICKER_MEMORY_MS)))
        return TickerRow(ms * MILLISECOND, ticker, *values, digest, received_us)

    def checkpoints(self, until_ms: int, received_us: int, most: int = MOST_CHECKPOINTS) -> list[SnapshotRow]:
        """The checkpoints that stand out at boundaries up to `until_ms`, for markets that have been quiet since.

        At most `most` of them, so that an hour's turn does not hold up the stream: whoever gets as many asks again.
        """
        rows = self._due_checkpoints(until_ms, received_us, most)
        self._forget(until_ms)
        return rows

    def _due_checkpoints(self, until_ms: int, received_us: int, most: int) -> list[SnapshotRow]:
        rows: list[SnapshotRow] = []
        for at in sorted(at for at in self._watched if at <= until_ms):
            tickers = sorted(self._watched.pop(at))
            for number, ticker in enumerate(tickers):
                if len(rows) >= most:
                    self._watched.setdefault(at, set()).update(tickers[number:])
                    return rows
                rows.extend(self._look_at(ticker, until_ms, received_us))
        return rows

    def _look_at(self, ticker: str, until_ms: int, received_us: int) -> list[SnapshotRow]:
        """A market's checkpoint, if one is due; one that may wait is not looked at again before the boundary."""
        market = self._markets.get(ticker)
        if market is None or market.due is None or market.due > until_ms:
            return []
        boundary = self._boundary_after(market.due)
        if boundary > until_ms and self._may_wait(market):
            self._watched.setdefault(boundary, set()).add(ticker)
            return []
        return self._checkpoint(ticker, market, until_ms, received_us)

    def _forget(self, until_ms: int) -> None:
        """Forget markets that have left and been quiet since, and tickers that fell silent."""
        if until_ms >= self._silent_from:
            self._silent_tickers, self._tickers = self._tickers, {}
            self._silent_from = until_ms + _TICKER_SILENCE_MS
        for ticker in list(self._leaving):
            market = self._markets[ticker]
            if not market.is_leaving:
                self._leaving.discard(ticker)
            elif market.due is None and self._remember_from is None and market.occurrences.ms <= until_ms:
                self._leaving.discard(ticker)
                del self._markets[ticker]
                self._untrusted.discard(ticker)

    def _market(self, ticker: str) -> MarketBook:
        market = self._markets.get(ticker)
        if market is None:
            market = self._markets[ticker] = MarketBook()
            self._untrusted.add(ticker)
        return market

    def _doubt(self, ticker: str, market: MarketBook) -> None:
        market.valid_from = None
        if not market.is_leaving:
            self._untrusted.add(ticker)

    def _apply(self, ticker: str, market: MarketBook, ms: int, side: bool, price: int, size_delta: int) -> None:
        if ms < market.emitted:
            self.counts.late_deltas += 1
        if market.valid_from is None:
            return
        try:
            market.book.apply(side, price, size_delta)
        except NegativeLevel:
            self.counts.negative_levels += 1
            self._doubt(ticker, market)
            return
        if market.book.is_crossed:
            self.counts.crossed_books += 1

    def _plan(self, ticker: str, market: MarketBook, changed_ms: int) -> None:
        """Something changed: the boundary after it is due."""
        if market.due is None:
            self._set_due(ticker, market, self._boundary_after(changed_ms))

    def _plan_first(self, ticker: str, market: MarketBook, sent_ms: int) -> None:
        """A book came that nothing led to: a checkpoint is due soon, for a market may live for less than an hour."""
        soon = (sent_ms // FIRST_MS + 2) * FIRST_MS
        self._set_due(ticker, market, min(soon, self._boundary_after(sent_ms)))

    def _may_wait(self, market: MarketBook) -> bool:
        """Whether a first checkpoint may wait for a change or the boundary: the book has not changed since it came.

        As long as it waits, it holds for every moment from `due` on. Not an empty one: it may be the end of a market,
        to which no change leads.
        """
        is_first = market.due is not None and market.due % self._checkpoint_ms != 0
        is_quiet = market.valid_from is not None and market.occurrences.ms <= market.valid_from
        return is_first and is_quiet and not market.book.is_empty

    def _boundary_after(self, ms: int) -> int:
        return (ms // self._checkpoint_ms + 1) * self._checkpoint_ms

    def _set_due(self, ticker: str, market: MarketBook, due: int) -> None:
        market.due = due
        self._watched.setdefault(due, set()).add(ticker)

    def _checkpoint(self, ticker: str, market: MarketBook, now_ms: int, received_us: int) -> list[SnapshotRow]:
        """The checkpoint that is due, if the book was certain before it; the plan is cleared either way.

        One that has waited until a boundary stands there, whether a sweep or a change finds it first.
        """
        due = market.due
        if due is not None and self._boundary_after(due) <= now_ms and self._may_wait(market):
            due = self._boundary_after(due)
        market.due = None
        certain_from = market.valid_from
        if due is not None and certain_from is not None and certain_from >= due:
            self._plan(ticker, market, certain_from)  # certain only after the boundary: the next one is its first
            return []
        if due is None or certain_from is None:
            return []
        market.emitted = due
        self.counts.checkpoints += 1
        return [snapshot_row(market.book, ticker, Source.CHECKPOINT, self.gatherer_id, due * MILLISECOND, received_us)]


def _change_of(frame: DeltaFrame, received_us: int) -> _Change:
    """A delta in integers.

    Raises:
        FrameRejected: Where a value is not usable.
    """
    body = frame.msg
    ms = exchange_ms(body.ts_ms, body.ts, received_us)
    side, price = side_of(body.side), price_from_dollars(body.price_dollars)
    return check_ticker(body.market_ticker), ms, side, price, size_from_contracts(body.delta_fp)


def _book_of(frame: SnapshotFrame, received_us: int) -> tuple[OrderBook, int]:
    """A snapshot's book and the millisecond of its sending.

    Raises:
        FrameRejected: Where a value is not usable.
    """
    book = OrderBook(levels_of(frame.msg.yes_dollars_fp), levels_of(frame.msg.no_dollars_fp))
    sent_ms = received_us // MILLISECOND if frame.sending_ts_ms is None else frame.sending_ts_ms
    return book, exchange_ms(sent_ms, None, received_us)


def _certain_from(frame: SnapshotFrame, sent_ms: int, market: MarketBook) -> int:
    """Millisecond from which a book is certain that has just come: nothing in it is stamped later.

    Where only our clock says when it was sent, that may be slow; but after a certain book every change was heard.
    """
    if frame.sending_ts_ms is not None:
        return sent_ms
    if market.valid_from is None:
        return sent_ms + _WORST_CLOCK_MS
    return max(sent_ms, market.valid_from, market.occurrences.ms)
