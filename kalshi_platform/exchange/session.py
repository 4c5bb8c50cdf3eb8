"""One connection's protocol as a pure state machine: frames and times in, events and commands out.

Holds subscriptions (one sid per channel, kalshi-protocol.md §3.6), places every `seq`, asks for fresh snapshots after
a gap, and subscribes again where a subscription ends or falls silent. Kept out: sockets, clocks, books and rows.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace

from kalshi_platform.core.messages import (
    Envelope,
    ErrorFrame,
    Frame,
    OkFrame,
    SnapshotFrame,
    SubscribedFrame,
    UnsubscribedFrame,
)
from kalshi_platform.core.sequence import Place, SequenceBreak
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange import codes
from kalshi_platform.exchange.commands import LONGEST_WAIT_US, MOST_ATTEMPTS, Command, Outbox, wait_us
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
from kalshi_platform.exchange.markets import Markets
from kalshi_platform.exchange.subscriptions import SERVED_BY, Channel, DataFrame, Subscription, Subscriptions

__all__ = ["Channel", "Session"]

RECONCILE_US = 60 * SECOND
"""So often the exchange is asked what it serves: a subscription may end without a word (kalshi-pitfalls.md 25)."""


class Session:
    """The protocol state of one connection; a new connection needs a new session (fact 10).

    Args:
        channels: Channels to subscribe to.
        tickers: Markets of the order book channel; the other channels listen to every market.
    """

    def __init__(self, channels: Sequence[Channel], tickers: Iterable[str] = ()) -> None:
        self._channels = list(channels)
        self._subscriptions = Subscriptions()
        self.next_changes, self.count_changes = self._subscriptions.next_changes, self._subscriptions.count
        self._outbox = Outbox()
        self._markets = Markets(tickers, self._outbox)
        self._failures: dict[Channel, int] = {}
        self._listed_us: int | None = None
        for channel in self._channels:
            self._subscribe(channel)

    @property
    def tickers(self) -> Set[str]:
        """Markets that this connection is meant to follow."""
        return self._markets.wanted.keys()

    def take_commands(self) -> list[bytes]:
        """Commands to send now, in order; each is handed out once."""
        return self._outbox.take()

    def add_markets(self, tickers: Iterable[str]) -> None:
        """Follow more markets."""
        self._request_markets(self._markets.want(tickers))

    def delete_markets(self, tickers: Iterable[str]) -> None:
        """Stop following markets."""
        left = self._markets.leave(tickers)
        one = self._subscriptions.serving(Channel.ORDERBOOK)
        if one is not None:
            self._markets.drop(one.sid, left)

    def request_snapshots(self, tickers: Iterable[str]) -> None:
        """Ask for fresh books; subscribing again would answer `ok` and send nothing (fact 8)."""
        one = self._subscriptions.serving(Channel.ORDERBOOK)
        if one is not None and not one.is_leaving:
            self._markets.ask(one.sid, tickers)

    def resubscribe(self, channel: Channel) -> None:
        """End the channel's subscription and start another: new sid, sequence from 1, books anew (fact 9)."""
        one = self._subscriptions.serving(channel)
        if one is not None and not one.is_leaving:
            one.is_leaving = True
            self._outbox.send(Command("unsubscribe", channel, one.sid))

    def tick(self, now_us: int) -> list[Event]:
        """Let time pass: what was put off is sent, what nobody answered is sent again or reported."""
        for command in self._outbox.due(now_us):
            self._send_again(command)
        if self._listed_us is not None and now_us - self._listed_us >= RECONCILE_US:
            self._reconcile()
        if self._listed_us is None or now_us - self._listed_us >= RECONCILE_US:
            self._listed_us = now_us
        one = self._subscriptions.serving(Channel.ORDERBOOK)
        if one is not None and not one.is_leaving:
            self._markets.ask_bookless(one.sid, now_us)
            if self._markets.is_resync_due:
                self._markets.resync(one.sid, now_us)
        events: list[Event] = []
        for command in self._outbox.expired(now_us):
            is_hopeless = command.attempt >= MOST_ATTEMPTS and command.action != "get_snapshot"
            events.append(Unanswered(command.action or command.name, command.attempt, is_hopeless))
            if command.attempt < MOST_ATTEMPTS:
                self._send_again(replace(command, attempt=command.attempt + 1))
        return events

    def stale(self, now_us: int, active_since_us: int | None) -> list[Event]:
        """Subscriptions that are silent against their rhythm; each is started anew.

        Args:
            now_us: The time.
            active_since_us: Since when the exchange has been sending; None while it pauses.
        """
        staying = [one for one in self._subscriptions.living() if not one.is_leaving]
        silent = [one for one in staying if one.rhythm.is_stale(now_us, active_since_us)]
        for one in silent:
            self.resubscribe(one.channel)
        return [Stale(one.channel, one.sid) for one in silent]

    def stood_still(self, now_us: int) -> None:
        """We did not listen until now: nobody was silent, and what is awaited may lie unread."""
        for one in self._subscriptions.living():
            one.rhythm.is_stale(now_us, None)
        self._outbox.wait_anew(now_us)

    def awaits_late(self, now_us: int) -> bool:
        """Whether frames that fill a hole may still come."""
        return self._subscriptions.await_late(now_us)

    def is_whole(self, sid: int) -> bool:
        """Whether every number of a subscription has come, be it late; of one that is forgotten nobody knows."""
        one = self._subscriptions.get(sid)
        return one is not None and one.sequence.is_whole

    def serves(self, channel: str) -> bool:
        """Whether a subscription serves the channel."""
        return self._subscriptions.serving(Channel(channel)) is not None

    def has_all_books(self, untrusted: Set[str]) -> bool:
        """Whether the book of every market that is wanted has come, and is not among those."""
        one = self._subscriptions.serving(Channel.ORDERBOOK)
        is_served = one is not None and not one.is_leaving
        return not self._markets.wanted or (is_served and self._markets.are_whole(untrusted))

    def receive(self, frame: Frame, now_us: int) -> list[Event]:
        """Take one decoded frame; returns what it means, in order."""
        if isinstance(frame, SubscribedFrame):
            return self._subscribed(frame, now_us)
        if isinstance(frame, DataFrame):
            return self._data(frame, now_us)
        one = self._subscriptions.get(frame.sid)
        events: list[Event] = []
        if one is not None and frame.seq is not None:
            place, events = self._place(one, frame.seq, now_us)
            if place is Place.REPEATED:
                return events
        if isinstance(frame, OkFrame):
            return events + self._ok(frame, now_us)
        if isinstance(frame, ErrorFrame):
            return events + self._error(frame, now_us)
        return events + self._unsubscribed(frame, now_us)

    def receive_rejected(self, envelope: Envelope, now_us: int) -> list[Event]:
        """Count a frame that could not be decoded: it took its place all the same; tickers alone have none to take."""
        is_blank = envelope == Envelope()  # it may have been a ticker: of anything else a number will tell
        one = self._subscriptions.serving(Channel.TICKER) if is_blank else self._subscriptions.get(envelope.sid)
        ticker = None if envelope.msg is None else envelope.msg.market_ticker
        if one is None:
            return []
        if envelope.seq is None:
            is_all_we_hear = one.is_alive and one.channel is Channel.TICKER
            return [Missed(one.channel, one.sid, ticker)] if is_all_we_hear else []
        place, events = self._place(one, envelope.seq, now_us)
        if place is Place.REPEATED or not one.is_alive:
            return [event for event in events if not isinstance(event, OutOfSequence)]
        if one.channel is Channel.ORDERBOOK:
            known = ticker if ticker in self._markets.requested else None
            self.request_snapshots(self._markets.requested if known is None else [known])
            ticker = known
        return [*events, Missed(one.channel, one.sid, ticker)]

    # data

    def _data(self, frame: DataFrame, now_us: int) -> list[Event]:
        served_by = SERVED_BY[type(frame)]
        sid, seq = frame.sid, getattr(frame, "seq", None)
        events: list[Event] = []
        one = self._subscriptions.get(sid)
        if one is None:
            one, events = self._adopt(sid, served_by, now_us)
            if one is None:
                return events
        if one.channel not in served_by:
            return self._misplaced(one, frame, seq, now_us)
        if one.is_alive and not isinstance(frame, SnapshotFrame):  # books come on request, in floods
            one.rhythm.note(now_us)
        if seq is None:
            return [*events, Heard(frame)]
        place, found = self._place(one, seq, now_us)
        events += found
        if place is Place.REPEATED:
            return events
        is_whole = one.is_alive and place in (Place.NEXT, Place.AHEAD)
        if is_whole and isinstance(frame, SnapshotFrame):
            self._outbox.came(frame.id, frame.msg.market_ticker, now_us)
            self._markets.book_came(sid, frame.msg.market_ticker)
        return [*events, Heard(frame) if is_whole else Late(frame)]

    def _place(self, one: Subscription, seq: int, now_us: int) -> tuple[Place, list[Event]]:
        """Where a number stands; what that means for the subscription."""
        expected = one.sequence.expected
        place = one.sequence.observe(seq)
        found = SequenceBreak(expected, seq)
        if place is Place.REPEATED:
            return place, [OutOfSequence(one.channel, one.sid, found)]
        if place not in (Place.AHEAD, Place.BEHIND):
            return place, []
        one.gap_us = now_us
        is_book = one.channel is Channel.ORDERBOOK
        if is_book and one.is_alive and not one.is_leaving:
            self._markets.resync(one.sid, now_us)
        return place, [Gap(one.channel, one.sid, found, len(self._markets.requested) if is_book else 0)]

    def _misplaced(self, one: Subscription, frame: Frame, seq: int | None, now_us: int) -> list[Event]:
        """A frame that this subscription does not send: its place is taken, its content not believed."""
        detail = f"{type(frame).__name__} on sid {one.sid}, which serves {one.channel}"
        missed = [] if seq is None else self.receive_rejected(Envelope(sid=one.sid, seq=seq), now_us)
        return [*missed, Misplaced(one.sid, detail)]

    def _adopt(self, sid: int, served_by: Sequence[Channel], now_us: int) -> tuple[Subscription | None, list[Event]]:
        """A sid that was never announced: the announcement was lost or overtaken, or somebody is wrong.

        A channel has one sid at a time (fact 2), so what comes on two of them is never the same change twice: where
        another sid serves the channel, the frames of this one are late ones of a subscription that is over.
        """
        ours = [channel for channel in served_by if channel in self._channels]
        free = [channel for channel in ours if self._subscriptions.serving(channel) is None]
        if not free or not self._is_expecting(free[0]):
            self._reconcile()
        if not ours or self._subscriptions.is_forgotten(sid):
            return None, [Misplaced(sid, f"sid {sid} was never announced")]
        if free:
            return self._start(free[0], sid, now_us)
        return self._subscriptions.remember(sid, ours[0], now_us), []

    # replies

    def _subscribed(self, frame: SubscribedFrame, now_us: int) -> list[Event]:
        self._outbox.answered(frame.id)
        sid, name = frame.msg.sid, frame.msg.channel
        if self._subscriptions.get(sid) is not None:
            return []  # said twice, or data came first and its sid was adopted
        if name not in self._channels:
            self._reconcile()
            return [Misplaced(sid, f"channel {name[:100]!r} was not asked for")]
        return self._start(Channel(name), sid, now_us)[1]

    def _start(self, channel: Channel, sid: int, now_us: int) -> tuple[Subscription, list[Event]]:
        old = self._subscriptions.serving(channel)
        if old is not None:
            self._bury(old)
        self._outbox.settle(channel)
        one = self._subscriptions.start(sid, channel, now_us)
        if channel is Channel.ORDERBOOK:
            self._request_markets(self._markets.missing)
            self._markets.drop(sid, self._markets.unwanted)
        return one, [Started(channel, sid)]

    def _ok(self, frame: OkFrame, now_us: int) -> list[Event]:
        command = self._outbox.answered(frame.id)
        if frame.sid is None:
            return self._listed(frame.msg, now_us) if isinstance(frame.msg, list) else []
        if command is None or command.name != "subscribe":
            return []
        events: list[Event] = []
        known = self._subscriptions.get(frame.sid)
        if (known is None or not known.is_alive) and command.channel in self._channels:
            one, events = self._start(Channel(command.channel), frame.sid, now_us)
            events += self._place(one, frame.seq, now_us)[1] if known is None and frame.seq is not None else []
        if command.channel == Channel.ORDERBOOK:
            self.request_snapshots(self._markets.requested)  # none come for markets that it thinks we have
        return events

    def _listed(self, listed: Sequence[object], now_us: int) -> list[Event]:
        """What the exchange says it serves, against what we believe."""
        served = self._subscriptions.listed(listed)
        events: list[Event] = []
        for one in [one for one in self._subscriptions.living() if one.sid not in served]:
            events += self._end(one, 0, "the exchange does not list it", now_us)
        for sid, name in served.items():
            known = self._subscriptions.get(sid)
            if known is not None and known.is_alive:
                continue
            if name not in self._channels or self._subscriptions.serving(Channel(name)) is not None:
                self._outbox.send(Command("unsubscribe", str(name), sid))
            elif not self._is_expecting(Channel(name)):
                events += self._start(Channel(name), sid, now_us)[1]
                self.request_snapshots(self._markets.requested)
        return events

    def _unsubscribed(self, frame: UnsubscribedFrame, now_us: int) -> list[Event]:
        self._outbox.answered(frame.id)
        one = self._subscriptions.get(frame.sid)
        return [] if one is None or not one.is_alive else self._end(one, 0, "unsubscribed", now_us)

    def _error(self, frame: ErrorFrame, now_us: int) -> list[Event]:
        code, text = frame.msg.code, frame.msg.msg
        command = self._outbox.answered(frame.id, is_error=True)
        sid = command.sid if code == codes.UNKNOWN_SID and command is not None else frame.sid
        one = self._subscriptions.get(sid)
        if one is not None and (code in codes.TERMINAL or code == codes.UNKNOWN_SID):
            return self._end(one, code, text, now_us) if one.is_alive else []
        return [Refused(code, text, () if command is None else self._refused(command, code, now_us))]

    def _refused(self, command: Command, code: int, now_us: int) -> tuple[str, ...]:
        """Live with a refusal; returns the markets that will not be followed."""
        if code in codes.AGAIN_LATER:
            again = replace(command, attempt=command.attempt + 1)
            self._outbox.send_later(again, now_us + wait_us(command.attempt))
        elif code == codes.UNKNOWN_CHANNEL:
            self._channels = [channel for channel in self._channels if channel != command.channel]
        elif code == codes.ALREADY_SUBSCRIBED:
            self._reconcile()
        elif code == codes.MARKET_LIMIT and len(command.tickers) > 1:
            self._markets.ask_for_less(command)
        elif command.action == "add_markets" or (command.name == "subscribe" and command.tickers):
            refused = self._markets.refuse(command.tickers)
            self._request_markets(self._markets.missing)
            return refused
        return ()

    def _end(self, one: Subscription, code: int, text: str, now_us: int) -> list[Event]:
        """A subscription is over; ask for another, after a while where the last ones did not live long."""
        if one.is_leaving or now_us - one.started_us > LONGEST_WAIT_US:
            self._failures.pop(one.channel, None)
        failures = 0 if one.is_leaving else self._failures.get(one.channel, 0)
        self._failures[one.channel] = failures + 1
        self._bury(one)
        if failures:
            self._outbox.send_later(Command("subscribe", one.channel), now_us + wait_us(failures))
        else:
            self._subscribe(one.channel)
        return [Ended(one.channel, one.sid, code, text)]

    def _bury(self, one: Subscription) -> None:
        self._subscriptions.bury(one)
        self._outbox.forget(one.sid)
        if one.channel is Channel.ORDERBOOK and not self._is_expecting(Channel.ORDERBOOK):
            self._markets.forget()

    # commands

    def _subscribe(self, channel: Channel, attempt: int = 1) -> None:
        if channel not in self._channels or self._is_expecting(channel):
            return
        first = self._markets.begin() if channel is Channel.ORDERBOOK else ()
        if channel is Channel.ORDERBOOK and not first:
            return  # the exchange has no order book subscription without markets
        self._outbox.send(Command("subscribe", channel, tickers=first, attempt=attempt))

    def _request_markets(self, missing: Sequence[str]) -> None:
        one = self._subscriptions.serving(Channel.ORDERBOOK)
        if one is not None:
            self._markets.add(one.sid, missing)
        elif missing and not self._markets.requested:
            self._subscribe(Channel.ORDERBOOK)

    def _send_again(self, command: Command) -> None:
        """Send a command once more, as far as it is still wanted."""
        if command.name == "subscribe":
            if self._subscriptions.serving(Channel(command.channel)) is None:
                self._subscribe(Channel(command.channel), command.attempt)
            return
        one = self._subscriptions.get(command.sid)
        if command.name == "list_subscriptions":
            self._outbox.send(command)
        elif one is not None and one.is_alive:
            is_leaving = command.action == "delete_markets"
            tickers = tuple(ticker for ticker in command.tickers if (ticker in self._markets.wanted) is not is_leaving)
            if tickers or command.name == "unsubscribe":
                self._outbox.send(replace(command, tickers=tickers))

    def _reconcile(self) -> None:
        if all(command.name != "list_subscriptions" for command in self._outbox.waiting()):
            self._outbox.send(Command("list_subscriptions"))

    def _is_expecting(self, channel: Channel) -> bool:
        return any(one.name == "subscribe" and one.channel == channel for one in self._outbox.pending())
