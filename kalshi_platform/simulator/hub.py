"""Everybody who is connected, and the way of a message to those who hear of it.

The exchange tells the hub what happened; the hub encodes it at most once per audience, hands it out, and says to how
many. What clients ask for is `session`'s business.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

from kalshi_platform.simulator import wire
from kalshi_platform.simulator.account import Ended, Handed, Subscribed
from kalshi_platform.simulator.connection import Connection
from kalshi_platform.simulator.market import Listing, Market, Quote
from kalshi_platform.simulator.mishaps import Mishaps
from kalshi_platform.simulator.order_flow import Delta, Trade
from kalshi_platform.simulator.subscriptions import Audience, Channel, Subscription

_NO_MARKET = ""
_OVERFLOW = 25


class Member(Protocol):
    """A connected client, as the hub sees it."""

    @property
    def connection(self) -> Connection:
        """Where its frames go."""

    def pump(self) -> None:
        """Send what is due without an event, as far as the client keeps up."""

    def end(self, subscription: Subscription, error: int) -> None:
        """End a subscription with an error: its client did not read, or its channel broke."""


class Hub:
    """The connected clients and their audiences."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.sending_ms = clock()
        """What `sending_ts_ms` says; one look at the clock serves a whole tick."""
        self._audiences = {(channel, priced): Audience() for channel in Channel for priced in (False, True)}
        self.changed_at: float | None = None
        """When somebody last subscribed to something or was due a first book, by the monotonic clock."""
        self._members: dict[Member, None] = {}
        self._owners: dict[Subscription, Member] = {}
        self._mishaps: dict[Connection, Mishaps] = {}
        self.tell: Callable[[Subscribed | Ended], None] | None = None
        """Takes down who subscribed to what; where nobody does, no account is kept of who got which number either."""

    def look_at_clock(self) -> int:
        """Set the send time of what follows, and return it."""
        self.sending_ms = self._clock()
        return self.sending_ms

    def admit(self, member: Member, mishaps: Mishaps | None = None) -> None:
        """A client connected, on a connection with faults or without."""
        self._members[member] = None
        if mishaps:
            self._mishaps[member.connection] = mishaps

    def dismiss(self, member: Member) -> None:
        """A client is gone, and its subscriptions with it."""
        self._members.pop(member, None)
        self._mishaps.pop(member.connection, None)
        for subscription in [s for s, owner in self._owners.items() if owner is member]:
            self.close(subscription)

    def open(self, subscription: Subscription, owner: Member) -> None:
        """A subscription may from now on join its audience."""
        self._owners[subscription] = owner
        if self.tell:
            self.tell(Subscribed(subscription.connection.number, subscription.sid, subscription.channel.value))

    def close(self, subscription: Subscription) -> None:
        """A subscription ended."""
        self.audience(subscription).leave_all(subscription)
        owner = self._owners.pop(subscription, None)
        if self.tell and owner:
            number, channel = subscription.connection.number, subscription.channel.value
            self.tell(Ended(number, subscription.sid, channel, subscription.seq))

    def listening(self) -> Counter[str]:
        """Subscriptions that have got all their first books, by channel."""
        return Counter(one.channel.value for one in self._owners if not one.wanted)

    def audience(self, subscription: Subscription) -> Audience:
        """The audience that a subscription joins or leaves."""
        self.changed_at = time.monotonic()
        return self._audiences[subscription.channel, subscription.yes_priced]

    def delta(self, listing: Listing, fact: Delta, ts_ms: int) -> Handed:
        """Publish a change of one level; returns to whom."""
        return self._to_books(
            listing.ticker,
            b"orderbook_delta",
            partial(wire.delta, listing, fact, ts_ms),
        )

    def snapshot(self, market: Market) -> None:
        """Publish a book that changed as a whole."""
        self._to_books(market.ticker, b"orderbook_snapshot", partial(wire.snapshot, market))

    def trade(self, ticker: str, trade_id: str, fact: Trade, ts_ms: int) -> Handed:
        """Publish a trade; returns to whom."""
        audience = self._audiences[Channel.TRADE, False]
        if audience.is_empty(ticker):
            return self._nobody()
        return self._hand_out(audience, ticker, b"trade", wire.trade(ticker, trade_id, fact, ts_ms))

    def ticker(self, listing: Listing, quote: Quote, ts_ms: int) -> Handed:
        """Publish best prices and statistics; returns to whom."""
        audience = self._audiences[Channel.TICKER, False]
        if audience.is_empty(listing.ticker):
            return self._nobody()
        return self._hand_out(audience, listing.ticker, b"ticker", wire.ticker(listing, quote, ts_ms))

    def lifecycle(self, kind: bytes, text: str, *, of_combo: bool) -> None:
        """Publish a market's or an event's step of life to all who follow them; combos have a channel of their own."""
        channel = Channel.COMBO_LIFECYCLE if of_combo else Channel.LIFECYCLE
        self._hand_out(self._audiences[channel, False], _NO_MARKET, kind, text)

    def recorded_delta(self, ticker: str, text: Callable[..., str]) -> Handed:
        """Publish a change of one level as it was recorded; returns to whom.

        Args:
            ticker: Its market.
            text: Writes its `msg`, told as `yes_priced` whether the no side stands on the yes scale.
        """
        return self._to_books(ticker, b"orderbook_delta", text)

    def recorded(self, channel: Channel, ticker: str, kind: bytes, text: str) -> Handed:
        """Publish a message as it was recorded; returns to whom.

        Args:
            channel: Where it belongs.
            ticker: Its market; nothing where it is about no market of a list.
            kind: Its type.
            text: Its `msg`.
        """
        audience = self._audiences[channel, False]
        return self._nobody() if audience.is_empty(ticker) else self._hand_out(audience, ticker, kind, text)

    def _to_books(self, ticker: str, kind: bytes, text: Callable[..., str]) -> Handed:
        """Hand out what both ways of pricing hear, each written at most once."""
        usual, priced = self._audiences[Channel.ORDERBOOK, False], self._audiences[Channel.ORDERBOOK, True]
        handed = (
            self._nobody() if usual.is_empty(ticker) else self._hand_out(usual, ticker, kind, text(yes_priced=False))
        )
        if priced.is_empty(ticker):
            return handed
        others = self._hand_out(priced, ticker, kind, text(yes_priced=True))
        to = ",".join(one for one in (handed.to, others.to) if one)
        return Handed(handed.recipients + others.recipients, self.sending_ms, to)

    def _nobody(self) -> Handed:
        return Handed(0, self.sending_ms, "")

    def has_room(self, most_bytes: int) -> bool:
        """Whether every client has taken all but so many bytes of what it was sent."""
        return all(member.connection.backlog() < most_bytes for member in self._members)

    def tail(self, message: str) -> bytes:
        """The part of an envelope that all recipients share."""
        return f'"sending_ts_ms":{self.sending_ms},"msg":{message}}}'.encode()

    def _hand_out(self, audience: Audience, ticker: str, kind: bytes, message: str) -> Handed:
        tail = self.tail(message)
        recipients = 0
        to: list[str] | None = [] if self.tell else None
        ended: list[tuple[Subscription, int]] = []
        for subscription in audience.of(ticker):
            connection = subscription.connection
            if connection.is_over:
                continue
            if connection.congested:
                ended.append((subscription, _OVERFLOW))
                continue
            if connection in self._mishaps:
                is_intact, error = self._mishaps[connection].deliver(subscription, kind, tail, ticker)
                if error:
                    ended.append((subscription, error))
                if not is_intact:
                    continue
            else:
                connection.send(subscription.envelope(kind, tail))
            recipients += 1
            if to is not None:
                to.append(f"[{connection.number},{subscription.sid},{subscription.seq}]")
        for subscription, error in ended:
            self._owners[subscription].end(subscription, error)
        return Handed(recipients, self.sending_ms, ",".join(to) if to else "")

    def answered(self, connection: Connection, subscription: Subscription | None) -> None:
        """A command is answered, under the next number of a subscription or under none; nothing goes wrong with it."""
        mishaps = self._mishaps.get(connection)
        if mishaps:
            mishaps.holes.arrive(subscription)

    def ping(self) -> None:
        """Send everybody the heartbeat."""
        for member in self._members:
            member.connection.ping()

    def flush(self) -> None:
        """Send what is due and write everything that waits."""
        for member in tuple(self._members):
            member.pump()
            member.connection.flush()
