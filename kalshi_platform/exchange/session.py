"""One connection's protocol as a pure state machine: frames in, events and commands out.

Holds subscriptions (one sid per channel, kalshi-protocol.md §3.6), counts every `seq`, asks for fresh snapshots after
a gap, and subscribes again where the exchange ends a subscription. Kept out: sockets, time, books and rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from kalshi_platform.core.messages import (
    Envelope,
    ErrorFrame,
    Frame,
    OkFrame,
    SubscribedFrame,
    TickerFrame,
    UnsubscribedFrame,
)
from kalshi_platform.core.sequence import SequenceBreak, SequenceCounter

CHUNK = 500
"""Tickers in one command; batches of 500 were measured to be accepted (kalshi-protocol.md §3.8)."""

TERMINAL_CODES = frozenset({10, 25})
"""Channel error and buffer overflow: the subscription is dead, the socket may be healthy (§3.3)."""


class Channel(StrEnum):
    """Channels that the platform listens to."""

    ORDERBOOK = "orderbook_delta"
    TICKER = "ticker"
    TRADE = "trade"
    LIFECYCLE = "market_lifecycle_v2"


@dataclass(frozen=True, slots=True)
class Heard:
    """A data frame that stands in its place: to be recorded."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Started:
    """A new subscription serves the channel; whatever was known from an older one has ended."""

    channel: str
    sid: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames are missing before this one: nothing known of the subscription's books is certain any more."""

    channel: str
    sid: int
    found: SequenceBreak
    markets: int


@dataclass(frozen=True, slots=True)
class OutOfSequence:
    """A frame whose number had passed already: recording it could count a change twice."""

    channel: str
    sid: int
    found: SequenceBreak


@dataclass(frozen=True, slots=True)
class Ended:
    """The exchange ended a subscription; a new one has been asked for."""

    channel: str
    sid: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The exchange refused a command."""

    code: int
    text: str


Event = Heard | Started | Gap | OutOfSequence | Ended | Refused


@dataclass(slots=True)
class _Subscription:
    channel: str
    sequence: SequenceCounter = field(default_factory=SequenceCounter)


def _chunks(tickers: Iterable[str]) -> Iterator[Sequence[str]]:
    ordered = sorted(tickers)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))


class Session:
    """The protocol state of one connection; a new connection needs a new session (fact 10).

    Args:
        channels: Channels to subscribe to.
        tickers: Markets of the order book channel; the other channels listen to every market.
    """

    def __init__(self, channels: Sequence[Channel], tickers: Iterable[str] = ()) -> None:
        self._channels = tuple(channels)
        self._tickers = set(tickers)
        self._requested: set[str] = set()
        self._subscriptions: dict[int, _Subscription] = {}
        self._commands: list[bytes] = []
        self._last_id = 0
        for channel in self._channels:
            self._subscribe(channel)

    @property
    def tickers(self) -> frozenset[str]:
        """Markets that this connection is meant to follow."""
        return frozenset(self._tickers)

    def take_commands(self) -> list[bytes]:
        """Commands to send now, in order; each is handed out once."""
        commands, self._commands = self._commands, []
        return commands

    def add_markets(self, tickers: Iterable[str]) -> None:
        """Follow more markets."""
        self._tickers.update(tickers)
        self._request_markets()

    def delete_markets(self, tickers: Iterable[str]) -> None:
        """Stop following markets."""
        leaving = self._tickers.intersection(tickers)
        self._tickers -= leaving
        sid = self._sid_of(Channel.ORDERBOOK)
        if sid is not None:
            for chunk in _chunks(leaving & self._requested):
                self._update(sid, "delete_markets", chunk)
            self._requested -= leaving

    def request_snapshots(self, tickers: Iterable[str]) -> None:
        """Ask for fresh books; subscribing again would answer `ok` and send nothing (fact 8)."""
        sid = self._sid_of(Channel.ORDERBOOK)
        if sid is not None:
            for chunk in _chunks(self._requested.intersection(tickers)):
                self._update(sid, "get_snapshot", chunk)

    def receive(self, frame: Frame) -> list[Event]:
        """Take one decoded frame; returns what it means, in order."""
        if isinstance(frame, SubscribedFrame):
            return self._started(frame)
        if isinstance(frame, ErrorFrame):
            return [*self._counted(frame.sid, frame.seq), *self._error(frame)]
        if isinstance(frame, OkFrame):
            return self._counted(frame.sid, frame.seq)
        if isinstance(frame, UnsubscribedFrame):
            events = self._counted(frame.sid, frame.seq)
            self._subscriptions.pop(frame.sid, None)
            return events
        if isinstance(frame, TickerFrame):
            return [Heard(frame)]
        events = self._counted(frame.sid, frame.seq)
        if any(isinstance(event, OutOfSequence) for event in events):
            return events
        return [*events, Heard(frame)]

    def receive_rejected(self, envelope: Envelope) -> list[Event]:
        """Count a frame that could not be decoded: it took its place in the sequence all the same."""
        return self._counted(envelope.sid, envelope.seq)

    def _counted(self, sid: int | None, seq: int | None) -> list[Event]:
        if sid is None or seq is None:
            return []
        subscription = self._subscriptions.get(sid)
        if subscription is None:
            return []
        found = subscription.sequence.observe(seq)
        if found is None:
            return []
        if found.seen < found.expected:
            return [OutOfSequence(subscription.channel, sid, found)]
        is_book = subscription.channel == Channel.ORDERBOOK
        if is_book:
            self.request_snapshots(self._requested)
        return [Gap(subscription.channel, sid, found, len(self._requested) if is_book else 0)]

    def _started(self, frame: SubscribedFrame) -> list[Event]:
        channel, sid = frame.msg.channel, frame.msg.sid
        self._subscriptions[sid] = _Subscription(channel)
        if channel == Channel.ORDERBOOK:
            self._request_markets()
        return [Started(channel, sid)]

    def _error(self, frame: ErrorFrame) -> list[Event]:
        code, text = frame.msg.code, frame.msg.msg
        ended = self._subscriptions.pop(frame.sid, None) if frame.sid is not None and code in TERMINAL_CODES else None
        if ended is None or frame.sid is None:
            return [Refused(code, text)]
        self._subscribe(Channel(ended.channel))
        return [Ended(ended.channel, frame.sid, code, text)]

    def _subscribe(self, channel: Channel) -> None:
        params: dict[str, Any] = {"channels": [channel.value]}
        if channel is Channel.ORDERBOOK:
            first = next(_chunks(self._tickers), None)
            if first is None:
                return  # the exchange has no order book subscription without markets
            self._requested = set(first)
            # the default of use_yes_price is announced to flip (kalshi-pitfalls.md 17)
            params |= {"market_tickers": list(first), "use_yes_price": False, "skip_ticker_ack": True}
        self._command("subscribe", params)

    def _request_markets(self) -> None:
        missing = self._tickers - self._requested
        sid = self._sid_of(Channel.ORDERBOOK)
        if sid is None:
            if missing and not self._requested:
                self._subscribe(Channel.ORDERBOOK)
            return
        for chunk in _chunks(missing):
            self._update(sid, "add_markets", chunk)
        self._requested |= missing

    def _update(self, sid: int, action: str, tickers: Sequence[str]) -> None:
        self._command("update_subscription", {"sids": [sid], "action": action, "market_tickers": list(tickers)})

    def _command(self, name: str, params: dict[str, Any]) -> None:
        self._last_id += 1
        self._commands.append(msgspec.json.encode({"id": self._last_id, "cmd": name, "params": params}))

    def _sid_of(self, channel: Channel) -> int | None:
        return next((sid for sid, one in self._subscriptions.items() if one.channel == channel), None)
