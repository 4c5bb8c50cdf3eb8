"""A recorded tape played back: the same messages to whoever subscribes now, under new numbers, books kept up to date.

A `msg` leaves as it was recorded; envelopes, sequence numbers and the snapshots of a new subscription are this
exchange's own. Reading is `recording`'s business, the list of markets `recorded_markets`'.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf

import msgspec

from kalshi_platform.simulator.account import Handed
from kalshi_platform.simulator.book import Side
from kalshi_platform.simulator.clock import TapeClock
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.market import Market, Quote, Status
from kalshi_platform.simulator.options import SimulatorOptions
from kalshi_platform.simulator.order_flow import Delta, Trade
from kalshi_platform.simulator.prices import DOLLAR, PRICE_TEXT
from kalshi_platform.simulator.recorded_markets import RecordedCatalogue, RecordingIndex, fixed
from kalshi_platform.simulator.recording import RecordedFrame, read_recordings, stamp_ms
from kalshi_platform.simulator.subscriptions import Channel
from kalshi_platform.simulator.venue import Venue

LONGEST_SILENCE_MS = 60_000
"""A longer silence of a tape is leapt over: what lies between two recorded windows is not history."""

_MAX_BEAT_SECONDS = 0.02
_UNREAD_BYTES = 256 * 1024
_CHANNELS = {
    "trade": Channel.TRADE,
    "ticker": Channel.TICKER,
    "market_lifecycle_v2": Channel.LIFECYCLE,
    "event_lifecycle": Channel.LIFECYCLE,
    "event_fee_update": Channel.LIFECYCLE,
    "multivariate_market_lifecycle": Channel.COMBO_LIFECYCLE,
}


class _Delta(msgspec.Struct):
    price_dollars: str
    delta_fp: str
    side: Side
    ts_ms: int | None = None
    ts: str | None = None


class _Snapshot(msgspec.Struct):
    yes_dollars_fp: list[tuple[str, str]] = []
    no_dollars_fp: list[tuple[str, str]] = []


class _Trade(msgspec.Struct):
    trade_id: str
    yes_price_dollars: str
    count_fp: str
    taker_side: Side = "yes"
    taker_outcome_side: Side | None = None
    is_block_trade: bool = False
    ts_ms: int | None = None
    ts: int = 0


class _Ticker(msgspec.Struct):
    price_dollars: str = "0"
    yes_bid_dollars: str = "0"
    yes_ask_dollars: str = "0"
    yes_bid_size_fp: str = "0"
    yes_ask_size_fp: str = "0"
    last_trade_size_fp: str = "0"
    volume_fp: str = "0"
    open_interest_fp: str = "0"
    ts_ms: int | None = None
    ts: int = 0


class Replay(Venue):
    """An exchange whose traffic happened before.

    Args:
        options: How it behaves; the seed and everything about rates mean nothing here.
        index: What the recording holds.
        clock: The tape's.
        hub: Everybody who listens.
        ledger: The account of what is sent.
    """

    def __init__(
        self, options: SimulatorOptions, index: RecordingIndex, clock: TapeClock, hub: Hub, ledger: Ledger
    ) -> None:
        super().__init__(RecordedCatalogue(index), hub, ledger, options.recent_trades)
        self._wait_seconds = options.replay_wait_seconds
        self._clock = clock
        self._frames: Iterator[RecordedFrame] = read_recordings(index.files)
        self._next = next(self._frames, None)
        self.frames = index.frames
        """How many there are."""
        self.played = 0
        """How many of them have passed."""
        self.impossible = 0
        """Changes that no book could have seen, because the recording has holes; the level is then left empty."""
        self.has_begun = False
        self._last_tickers: dict[str, str] = {}
        self._play: dict[str, Callable[[RecordedFrame, Market], None]] = {
            "orderbook_snapshot": self._snapshot,
            "orderbook_delta": self._delta,
            "trade": self._trade,
            "ticker": self._ticker,
        }
        for market in self.catalogue.markets_in_order:
            self.timetable.at(market.close_ms, partial(self._close, market))

    @property
    def is_over(self) -> bool:
        """Whether the tape has come to its end."""
        return self._next is None

    def last_ticker(self, market: Market) -> str | None:
        """The last ticker message of a market on the tape so far."""
        return self._last_tickers.get(market.ticker)

    def begin(self) -> None:
        """Start the tape, whoever listens."""
        if not self.has_begun:
            self.has_begun = True
            self._clock.turn_to(self.now_ms)

    def beat(self, now_ms: int) -> None:
        """Play what is due; at full speed, as much as the clients take."""
        if not self.has_begun and self._is_awaited():
            self.begin()
        if not self.has_begun or self.is_paused:
            return
        deadline = time.monotonic() + _MAX_BEAT_SECONDS
        last_ms = -1
        while (frame := self._next) is not None:
            if frame.at_ms != last_ms and not self._may_go_on(frame, deadline):
                break
            last_ms = frame.at_ms
            self._publish(frame)
            self.played += 1
            self._next = next(self._frames, None)
        self.keep_time(max(self.now_ms, now_ms))

    def _is_awaited(self) -> bool:
        """Whether somebody subscribed and nobody has since for a while."""
        changed_at = self._hub.changed_at
        return changed_at is not None and time.monotonic() - changed_at >= self._wait_seconds

    def _may_go_on(self, frame: RecordedFrame, deadline: float) -> bool:
        """Whether a frame is due; all of one moment go together."""
        if time.monotonic() > deadline:
            return False
        if self._clock.speed == inf:
            if not self._hub.has_room(_UNREAD_BYTES):
                return False
            self._clock.turn_to(frame.at_ms)
            return True
        if frame.at_ms - self.now_ms > LONGEST_SILENCE_MS:
            self._clock.turn_to(frame.at_ms)
        return frame.at_ms <= self._clock.now_ms()

    def _publish(self, frame: RecordedFrame) -> None:
        self._hub.look_at_clock()
        self.keep_time(max(frame.at_ms, self.now_ms))
        play = self._play.get(frame.type)
        if play:
            play(frame, self.find(frame.ticker))
        else:
            self._as_recorded(frame)

    def _as_recorded(self, frame: RecordedFrame) -> Handed:
        """Hand out a message that is the same for everybody."""
        channel = _CHANNELS[frame.type]
        ticker = frame.ticker if channel.takes_markets else ""
        return self._hub.recorded(channel, ticker, frame.type.encode(), frame.message.decode())

    def _snapshot(self, frame: RecordedFrame, market: Market) -> None:
        """Take the recorded book; where it is not the one that was known, everybody is told."""
        body = msgspec.json.decode(frame.message, type=_Snapshot)
        sides: dict[Side, list[tuple[str, str]]] = {"yes": body.yes_dollars_fp, "no": body.no_dollars_fp}
        levels = {
            side: {fixed(price, "price"): fixed(size, "size") for price, size in ladder}
            for side, ladder in sides.items()
        }
        if levels == market.book.levels:
            return
        market.book.levels = levels
        market.book.best = {side: max(levels[side], default=0) for side in levels}
        market.is_introduced = False
        self.introduce(market)
        self._hub.snapshot(market)

    def _delta(self, frame: RecordedFrame, market: Market) -> None:
        body = msgspec.json.decode(frame.message, type=_Delta)
        fact = Delta(body.side, fixed(body.price_dollars, "price"), fixed(body.delta_fp, "size"))
        self.introduce(market)
        self._apply(market, fact)
        handed = self._hub.recorded_delta(market.ticker, partial(_delta_text, frame, fact))
        stamp = body.ts_ms or (stamp_ms(body.ts) if body.ts else frame.at_ms)
        self._ledger.delta(stamp, market.ticker, fact, handed)

    def _apply(self, market: Market, fact: Delta) -> None:
        """Change a book without the exchange's own scruples: a recording may have holes."""
        book, (side, price, change) = market.book, fact
        size = book.levels[side].get(price, 0) + change
        self.impossible += size < 0
        if size > 0:
            book.levels[side][price] = size
            book.best[side] = max(price, book.best[side])
        elif book.levels[side].pop(price, None) is not None and price == book.best[side]:
            book.best[side] = max(book.levels[side], default=0)

    def _trade(self, frame: RecordedFrame, market: Market) -> None:
        body = msgspec.json.decode(frame.message, type=_Trade)
        yes_price, count = fixed(body.yes_price_dollars, "price"), fixed(body.count_fp, "size")
        fact = Trade(yes_price, count, body.taker_outcome_side or body.taker_side, body.is_block_trade)
        stamp = body.ts_ms or body.ts * 1000
        market.trade(yes_price, count, opens_interest=True)
        self.tape.append(body.trade_id, market.ticker, stamp, fact)
        self._ledger.trade(stamp, body.trade_id, market.ticker, fact, self._as_recorded(frame))

    def _ticker(self, frame: RecordedFrame, market: Market) -> None:
        body = msgspec.json.decode(frame.message, type=_Ticker)
        quote = Quote(
            *(fixed(text, "price") for text in (body.price_dollars, body.yes_bid_dollars, body.yes_ask_dollars)),
            *(fixed(text, "size") for text in (body.yes_bid_size_fp, body.yes_ask_size_fp, body.last_trade_size_fp)),
            *(fixed(text, "size") for text in (body.volume_fp, body.open_interest_fp)),
        )
        self._last_tickers[market.ticker] = frame.message.decode()
        self._ledger.ticker(body.ts_ms or body.ts * 1000, market.ticker, quote, self._as_recorded(frame))

    @staticmethod
    def _close(market: Market, _: int) -> None:
        """REST shows a market closed from its time on; what sockets heard of that is on the tape."""
        market.status, market.updated_ms = Status.CLOSED, market.close_ms


def _delta_text(frame: RecordedFrame, fact: Delta, *, yes_priced: bool) -> str:
    """The recorded `msg`, with its price on the yes scale where that was asked for."""
    if not yes_priced or fact.side == "yes":
        return frame.message.decode()
    message = msgspec.json.decode(frame.message)
    message["price_dollars"] = PRICE_TEXT[DOLLAR - fact.price]
    return msgspec.json.encode(message).decode()
