"""What becomes of one connection's frames: decoded once, checked in sequence, captured, handed to the sink.

One router lives as long as its connection. Kept out: the socket, and what the rows say (core.capture).
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import structlog

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.capture import MOST_CHECKPOINTS, Capture
from kalshi_platform.core.errors import ExchangeUnavailable, FrameRejected, Reason
from kalshi_platform.core.market_book import CaptureCounts
from kalshi_platform.core.messages import (
    DeltaFrame,
    Frame,
    LifecycleFrame,
    MultivariateLifecycleFrame,
    SnapshotFrame,
    TickerFrame,
    TradeFrame,
    check_levels,
    decode,
    envelope,
)
from kalshi_platform.core.records import GapRow, check_ticker
from kalshi_platform.core.units import MILLISECOND, SECOND
from kalshi_platform.core.usual_changes import Change
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.codes import MARKET_LIMIT
from kalshi_platform.exchange.events import (
    Ended,
    Event,
    Gap,
    Heard,
    Late,
    Misplaced,
    Missed,
    OutOfSequence,
    Refused,
    Stale,
    Started,
    Unanswered,
)
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.subscriptions import SERVED_BY
from kalshi_platform.gatherer.coverage import Cause, Coverage, End, Hole
from kalshi_platform.gatherer.healing import Healing
from kalshi_platform.service.metrics import GathererMetrics

_ASK_AGAIN_MS = 5_000
_RECENT_MS = 2_000

_log = structlog.get_logger()


class Router:
    """Routes the frames of one connection.

    Args:
        coverage: The connection's record of what was heard and missed.
        session: The connection's protocol state.
        capture: Turns frames into rows; holds the books.
        sink: Takes the rows.
        metrics: Told of lags and alarms.
        on_lifecycle: Called with each change in a market's life.

    Attributes:
        crowded_out: Markets that the exchange would not have on this connection; another one may take them.
    """

    def __init__(
        self,
        coverage: Coverage,
        session: Session,
        capture: Capture,
        sink: Sink,
        metrics: GathererMetrics,
        on_lifecycle: Callable[[LifecycleFrame | MultivariateLifecycleFrame], None],
    ) -> None:
        self._coverage = coverage
        self._name = coverage.connection
        self._session = session
        self._capture = capture
        self._sink = sink
        self._metrics = metrics
        self._on_lifecycle = on_lifecycle
        self._received = metrics.lag.labels("received")
        self._sending = metrics.lag.labels("sending")
        self._reported = CaptureCounts()
        self._asked_ms = 0
        self._latest = self._standstill = (0, 0)
        self._healing = Healing(session, capture)
        self._silent: set[str] = set()
        self.crowded_out: list[str] = []
        self.heard_data = False
        self.swept_ms = 0

    def feed(self, messages: Iterable[tuple[bytes, int]]) -> None:
        """Take frames as they came, each with the time of its receipt; changes in a row are taken together."""
        changes: list[Change] = []
        for raw, received_us in messages:
            try:
                frame = decode(raw)
                if type(frame) is DeltaFrame:
                    changes.append((frame, raw, received_us))
                    continue
                check_levels(frame, raw)
            except FrameRejected as rejection:
                self._take_changes(changes)
                self._take_unreadable(raw, rejection, received_us)
                continue
            if changes:
                self._take_changes(changes)
            self._take(frame, raw, received_us)
        self._take_changes(changes)

    def _take_changes(self, changes: list[Change]) -> None:
        """Record changes, the most frequent of all frames by far; the first that is unusual ends the short way."""
        if not changes:
            return
        rows = self._capture.usual_changes(changes[: self._session.next_changes(changes)])
        if rows:
            usual = changes[: len(rows)]
            self._session.count_changes(usual)
            self._sink.add_changes(rows)
            self._note_changes(usual)
        for frame, raw, received_us in changes[len(rows) :]:
            self._take(frame, raw, received_us)
        changes.clear()

    def _note_changes(self, changes: Sequence[Change]) -> None:
        self.heard_data = True
        frame, _, received_us = changes[-1]
        self._sending.observe_all(_lags([(at, one.sending_ts_ms) for one, _, at in changes if one.sending_ts_ms]))
        self._received.observe_all(_lags([(at, one.msg.ts_ms or 0) for one, _, at in changes]))
        self._latest = (received_us // MILLISECOND, max(0, received_us // MILLISECOND - (frame.msg.ts_ms or 0)))
        self._note_time(received_us, is_data=True)

    def _take_unreadable(self, raw: bytes, rejection: FrameRejected, received_us: int) -> None:
        self._reject(raw, rejection, received_us)
        saved = envelope(raw)
        self._capture.missed(saved)
        for event in self._session.receive_rejected(saved, received_us):
            self._handle(event, raw, received_us)
        if saved.seq is not None:  # else nobody knows what it was: heard it was not
            self._note_time(received_us, is_numbered=True)

    def _take(self, frame: Frame, raw: bytes, received_us: int) -> None:
        sent_ms = getattr(frame, "sending_ts_ms", None)
        if sent_ms is not None:
            self._sending.observe(_lag(received_us, sent_ms))
        is_data, is_numbered = False, getattr(frame, "seq", None) is not None
        for event in self._session.receive(frame, received_us):
            self._handle(event, raw, received_us)
            is_data |= isinstance(event, Heard)
            is_numbered |= isinstance(event, Started)
        self._note_time(received_us, is_data=is_data, is_numbered=is_numbered)

    def _note_time(self, received_us: int, *, is_data: bool = False, is_numbered: bool = False) -> None:
        """What is missed after this frame is stamped later than it, and perhaps before it came."""
        self._coverage.last_us = received_us - self.lag_ms(received_us // MILLISECOND) * MILLISECOND
        if is_data:
            self._coverage.data_us = self._coverage.last_us
        if is_data or is_numbered:
            self._coverage.numbered_us = self._coverage.last_us

    def sweep(self, settled_ms: int, now_us: int, active_since_us: int | None = None) -> None:
        """Periodic care: checkpoints of quiet markets, snapshots for books in doubt, silence, alarms.

        Args:
            settled_ms: Exchange time up to which everything has come.
            now_us: The time.
            active_since_us: Since when the exchange has been sending; None while it pauses, or nobody knows.

        Raises:
            ExchangeUnavailable: Where the exchange does not answer commands.
        """
        for event in (*self._session.tick(now_us), *self._session.stale(now_us, active_since_us)):
            self._handle(event, b"", now_us)
        self._capture.await_late(may_come=self._session.awaits_late(now_us))
        self._heal(now_us, ())
        now_ms = now_us // MILLISECOND
        rows = self._capture.checkpoints(settled_ms - self.lag_ms(now_ms), now_us)
        for row in rows:
            self._sink.add(row)
        if len(rows) < MOST_CHECKPOINTS:
            self.swept_ms = max(self.swept_ms, settled_ms - self.lag_ms(now_ms))
        if now_ms - self._asked_ms >= _ASK_AGAIN_MS:
            for stranger in self._capture.untrusted - self._session.tickers:  # a change came after it was forgotten
                self._capture.retire(stranger, lives_on=True)
            self._session.request_snapshots(self._capture.untrusted)
            self._heal(now_us)
            self._asked_ms = now_ms
        self._report_alarms()

    def retire(self, tickers: Sequence[str], now_us: int, *, live_on: bool = False) -> None:
        """These markets are not followed any more, or elsewhere where they live on."""
        self._coverage.left(Channel.ORDERBOOK, tickers, now_us)
        for ticker in tickers:
            self._capture.retire(ticker, lives_on=live_on)

    def book(self, ticker: str) -> OrderBook | None:
        """A market's book; None where it is unknown or in doubt."""
        return self._capture.book(ticker)

    def changed_us(self, ticker: str) -> int | None:
        """Exchange time (µs) of a book's last change or snapshot; None where there is no certain book."""
        return self._capture.changed_us(ticker)

    def lag_ms(self, now_ms: int) -> int:
        """How old the last message was when it came; 0 where none came lately, so that nothing is waiting.

        After a standstill everything that came meanwhile may be waiting, until something newer shows how old it is.
        """
        came_ms, lag = self._latest
        if came_ms <= self._standstill[0] <= now_ms:
            came_ms, lag = self._standstill
        return lag if now_ms - came_ms < _RECENT_MS else 0

    def stood_still(self, since_us: int, now_us: int) -> None:
        """Nothing was taken since a message that came then; others have come meanwhile, or wait to be let in."""
        since_ms, now_ms = since_us // MILLISECOND, now_us // MILLISECOND
        self._standstill = (now_ms, now_ms - since_ms + self.lag_ms(since_ms))

    def _handle(self, event: Event, raw: bytes, received_us: int) -> None:
        match event:
            case Heard(frame):
                self.heard_data = True
                self._record(frame, raw, received_us)
            case Late(frame):
                self._record(frame, raw, received_us, is_late=True)
            case Gap():
                self._note_gap(event, received_us)
            case OutOfSequence(channel, sid, found):
                detail = f"{channel} sid {sid}: expected {found.expected}, came {found.seen}"
                self._reject(raw, FrameRejected(Reason.OUT_OF_SEQUENCE, detail), received_us)
            case Misplaced(_, detail):
                self._reject(raw, FrameRejected(Reason.UNKNOWN_SUBSCRIPTION, detail), received_us)
            case Started():
                self._start(event, received_us)
            case Ended():
                self._end(event, received_us)
            case Missed():
                self._note_missed(event, received_us)
            case Refused() | Unanswered() | Stale():
                self._complain(event)

    def _note_gap(self, gap: Gap, received_us: int) -> None:
        if gap.channel == Channel.ORDERBOOK:
            self._capture.await_late(may_come=True)
            self._capture.distrust()
            self._asked_ms = received_us // MILLISECOND
        found = gap.found
        hole = Hole(Cause.SEQUENCE, gap.channel, gap.sid, "", found.expected, found.seen, gap.markets)
        self._note_hole(hole, received_us)

    def _note_hole(self, hole: Hole, now_us: int) -> None:
        row = self._coverage.missed(hole, now_us)
        if row is None:
            return
        self._metrics.gaps.labels(hole.channel).inc()
        _log.warning("something was missed", **_facts(row))

    def _note_missed(self, missed: Missed, now_us: int) -> None:
        if missed.channel == Channel.ORDERBOOK:
            self._capture.distrust(missed.ticker)
        self._note_hole(Hole(Cause.REJECTED, missed.channel, missed.sid, _storable(missed.ticker)), now_us)

    def _note_unused(self, frame: Frame, now_us: int) -> None:
        """A frame could be read and not used: its market is in doubt, or every market where that is the nonsense."""
        if isinstance(frame, DeltaFrame | SnapshotFrame | TradeFrame | TickerFrame):
            (channel,) = SERVED_BY[type(frame)]
            ticker = frame.msg.market_ticker
            is_doubtful = channel is Channel.ORDERBOOK and ticker not in self._session.tickers
            self._note_missed(Missed(channel, frame.sid, None if is_doubtful else ticker), now_us)

    def _start(self, started: Started, now_us: int) -> None:
        _log.info("subscribed", connection=self._name, channel=started.channel, sid=started.sid)
        self._silent.discard(started.channel)
        self._coverage.subscribed(started.channel, started.sid)
        if started.channel == Channel.ORDERBOOK:
            self._capture.restart()
        else:
            self._coverage.listening(started.channel, "", now_us)

    def _end(self, ended: Ended, now_us: int) -> None:
        cause = Cause.SILENT if ended.channel in self._silent else Cause.ENDED
        _log.warning(
            "subscription ended", connection=self._name, channel=ended.channel, sid=ended.sid,
            code=ended.code, text=ended.text,
        )  # fmt: skip
        heard_until = self._coverage.data_us if cause is Cause.SILENT else None
        touched = self._coverage.ended(ended.channel, End.ENDED, heard_until)
        if touched:
            self._note_hole(Hole(cause, ended.channel, ended.sid, markets=touched), now_us)
        if ended.channel == Channel.ORDERBOOK:
            self._capture.restart()

    def _heal(self, now_us: int, markets: Collection[str] | None = None) -> None:
        """Close the record of holes behind which everything is whole again; those of single markets where named."""
        if self._coverage.has_holes:
            self._coverage.heal(partial(self._healing.cure, now_us, self._coverage.broken_us), now_us, markets)

    def _complain(self, event: Refused | Unanswered | Stale) -> None:
        match event:
            case Refused(code, text, tickers):
                _log.warning("command refused", connection=self._name, code=code, text=text, markets=len(tickers))
                if code == MARKET_LIMIT:
                    self.crowded_out.extend(tickers)
                else:
                    self._metrics.homeless.inc(len(tickers))
            case Unanswered(name, attempt, is_hopeless):
                _log.warning("no reply", connection=self._name, command=name, attempt=attempt)
                if is_hopeless:
                    raise ExchangeUnavailable(f"the exchange did not answer {name}, sent {attempt} times")
            case Stale(channel, sid):
                _log.warning("silent subscription is started anew", connection=self._name, channel=channel, sid=sid)
                self._silent.add(channel)

    def _record(self, frame: Frame, raw: bytes, received_us: int, *, is_late: bool = False) -> None:
        if isinstance(frame, LifecycleFrame | MultivariateLifecycleFrame):
            self._on_lifecycle(frame)
            return
        try:
            rows = self._capture.record(frame, received_us, is_late=is_late)
        except FrameRejected as rejection:
            self._reject(raw, rejection, received_us)
            self._note_unused(frame, received_us)
            return
        for row in rows:
            self._sink.add(row)
        if isinstance(frame, SnapshotFrame) and not is_late:
            self._note_book(frame.msg.market_ticker, received_us)
        if isinstance(frame, DeltaFrame | TradeFrame | TickerFrame) and frame.msg.ts_ms is not None:
            self._note_lag(frame.msg.ts_ms, received_us)

    def _note_lag(self, exchange_ms: int, received_us: int) -> None:
        received_ms = received_us // MILLISECOND
        self._latest = (received_ms, max(0, received_ms - exchange_ms))
        self._received.observe(_lag(received_us, exchange_ms))

    def _note_book(self, ticker: str, now_us: int) -> None:
        """A whole book came: its market is heard from now on, unless it was given up meanwhile."""
        if ticker in self._session.tickers:
            self._coverage.listening(Channel.ORDERBOOK, ticker, now_us)
            self._heal(now_us, (ticker,))
        else:
            self._capture.retire(ticker, lives_on=True)

    def _reject(self, raw: bytes, rejection: FrameRejected, received_us: int) -> None:
        self._metrics.rejected.labels(rejection.reason.value).inc()
        if self._sink.reject(raw, rejection, self._name, received_us):
            _log.warning(
                "frame rejected", connection=self._name, reason=rejection.reason.value, detail=rejection.detail
            )

    def _report_alarms(self) -> None:
        now = self._capture.counts
        for kind in ("negative_levels", "crossed_books", "late_deltas", "clock_regressions"):
            grown = getattr(now, kind) - getattr(self._reported, kind)
            if grown:
                self._metrics.alarms.labels(kind).inc(grown)
                setattr(self._reported, kind, getattr(now, kind))
                _log.warning("book alarm", connection=self._name, kind=kind, count=grown)


def _lag(received_us: int, exchange_ms: int) -> float:
    """Seconds from a stamp of the exchange to the receipt; none is below nothing, whatever the clocks say."""
    return max(0.0, (received_us - exchange_ms * MILLISECOND) / SECOND)


def _lags(stamps: Sequence[tuple[int, int]]) -> list[float]:
    """The same of many, without a call for each."""
    return [(at - ms * MILLISECOND) / SECOND if at > ms * MILLISECOND else 0.0 for at, ms in stamps]


def _facts(row: GapRow) -> dict[str, object]:
    names = ("connection", "channel", "cause", "sid", "ticker", "expected_seq", "seen_seq", "markets")
    return {name: getattr(row, name) for name in names}


def _storable(ticker: str | None) -> str:
    """A ticker as a frame had it, or an empty one where the frame had none that is one."""
    try:
        return check_ticker(ticker or "")
    except FrameRejected:
        return ""
