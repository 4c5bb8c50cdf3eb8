"""Everybody who is connected, and the way of a message to those who hear of it.

The exchange tells the hub what happened; the hub encodes it at most once per audience, hands it out, and says to how
many. What clients ask for is `session`'s business.
"""

from collections.abc import Callable
from typing import Protocol

from kalshi_platform.simulator import wire
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
        self._members: dict[Member, None] = {}
        self._owners: dict[Subscription, Member] = {}
        self._mishaps: dict[Connection, Mishaps] = {}

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

    def close(self, subscription: Subscription) -> None:
        """A subscription ended."""
        self.audience(subscription).leave_all(subscription)
        self._owners.pop(subscription, None)

    def audience(self, subscription: Subscription) -> Audience:
        """The audience that a subscription joins or leaves."""
        return self._audiences[subscription.channel, subscription.yes_priced]

    def delta(self, listing: Listing, fact: Delta, ts_ms: int) -> int:
        """Publish a change of one level; returns to how many."""
        recipients = 0
        for yes_priced in (False, True):
            audience = self._audiences[Channel.ORDERBOOK, yes_priced]
            if not audience.is_empty(listing.ticker):
                text = wire.delta(listing, fact, ts_ms, yes_priced=yes_priced)
                recipients += self._hand_out(audience, listing.ticker, b"orderbook_delta", text)
        return recipients

    def snapshot(self, market: Market) -> None:
        """Publish a book that changed as a whole."""
        for yes_priced in (False, True):
            audience = self._audiences[Channel.ORDERBOOK, yes_priced]
            if not audience.is_empty(market.ticker):
                text = wire.snapshot(market, yes_priced=yes_priced)
                self._hand_out(audience, market.ticker, b"orderbook_snapshot", text)

    def trade(self, ticker: str, trade_id: str, fact: Trade, ts_ms: int) -> int:
        """Publish a trade; returns to how many."""
        audience = self._audiences[Channel.TRADE, False]
        if audience.is_empty(ticker):
            return 0
        return self._hand_out(audience, ticker, b"trade", wire.trade(ticker, trade_id, fact, ts_ms))

    def ticker(self, listing: Listing, quote: Quote, ts_ms: int) -> int:
        """Publish best prices and statistics; returns to how many."""
        audience = self._audiences[Channel.TICKER, False]
        if audience.is_empty(listing.ticker):
            return 0
        return self._hand_out(audience, listing.ticker, b"ticker", wire.ticker(listing, quote, ts_ms))

    def lifecycle(self, kind: bytes, text: str, *, of_combo: bool) -> None:
        """Publish a market's or an event's step of life to all who follow them; combos have a channel of their own."""
        channel = Channel.COMBO_LIFECYCLE if of_combo else Channel.LIFECYCLE
        self._hand_out(self._audiences[channel, False], _NO_MARKET, kind, text)

    def tail(self, message: str) -> bytes:
        """The part of an envelope that all recipients share."""
        return f'"sending_ts_ms":{self.sending_ms},"msg":{message}}}'.encode()

    def _hand_out(self, audience: Audience, ticker: str, kind: bytes, message: str) -> int:
        tail = self.tail(message)
        recipients = 0
        ended: list[tuple[Subscription, int]] = []
        for subscription in audience.of(ticker):
            connection = subscription.connection
            if connection.is_over:
                continue
            if connection.congested:
                ended.append((subscription, _OVERFLOW))
            elif connection in self._mishaps:
                is_intact, error = self._mishaps[connection].deliver(subscription, kind, tail, ticker)
                recipients += is_intact
                if error:
                    ended.append((subscription, error))
            else:
                connection.send(subscription.envelope(kind, tail))
                recipients += 1
        for subscription, error in ended:
            self._owners[subscription].end(subscription, error)
        return recipients

    def ping(self) -> None:
        """Send everybody the heartbeat."""
        for member in self._members:
            member.connection.ping()

    def flush(self) -> None:
        """Send what is due and write everything that waits."""
        for member in tuple(self._members):
            member.pump()
            member.connection.flush()
