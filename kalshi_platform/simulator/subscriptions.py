"""One channel on one connection: its `sid`, its own count of messages, and the markets it is about (protocol §3.6).

Here is how a message gets its envelope and who belongs to an audience. What a client may ask for is `session`'s
business, what is published `hub`'s.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from kalshi_platform.simulator.connection import Connection


class Channel(StrEnum):
    """The channels that can be subscribed here; any other name is error 8."""

    ORDERBOOK = "orderbook_delta"
    TICKER = "ticker"
    TRADE = "trade"
    LIFECYCLE = "market_lifecycle_v2"
    COMBO_LIFECYCLE = "multivariate_market_lifecycle"

    @property
    def is_sequenced(self) -> bool:
        """Whether its messages carry `seq`; the ticker's never did."""
        return self is not Channel.TICKER

    @property
    def takes_markets(self) -> bool:
        """Whether it can be narrowed to some markets."""
        return self in (Channel.ORDERBOOK, Channel.TICKER, Channel.TRADE)


class Wanted(NamedTuple):
    """A snapshot still to be sent: the first one of a market, or the answer to the command with this id."""

    ticker: str
    request_id: int | None


class Subscription:
    """What one connection hears of one channel."""

    __slots__ = ("_is_sequenced", "channel", "connection", "everything", "names_tickers", "seq", "sid", "tickers",
                 "wanted", "yes_priced")  # fmt: skip

    def __init__(self, channel: Channel, sid: int, connection: Connection, *, yes_priced: bool = False) -> None:
        self.channel = channel
        self.sid = sid
        self.connection = connection
        self.yes_priced = yes_priced
        self.names_tickers = True
        """Whether `ok` lists the markets (`skip_ticker_ack` says no)."""
        self.seq = 0
        self.tickers: dict[str, None] = {}
        self.everything = False
        self.wanted: deque[Wanted] = deque()
        """Bounded by the session, which refuses more markets than the exchange allows."""
        self._is_sequenced = channel.is_sequenced

    def next_seq(self) -> int | None:
        """Take the number of one more message; None where this channel does not count."""
        if not self._is_sequenced:
            return None
        self.seq += 1
        return self.seq

    def envelope(self, kind: bytes, tail: bytes) -> bytes:
        """Put the next envelope around a `tail` (send time and `msg`) that everybody who gets it shares."""
        if self._is_sequenced:
            self.seq += 1
            return b'{"type":"%b","sid":%d,"seq":%d,%b' % (kind, self.sid, self.seq, tail)
        return b'{"type":"%b","sid":%d,%b' % (kind, self.sid, tail)


class Audience:
    """Who hears of which market on one channel."""

    def __init__(self) -> None:
        self._everyone: dict[Subscription, None] = {}
        self._by_ticker: dict[str, dict[Subscription, None]] = {}

    def join(self, subscription: Subscription, tickers: Iterable[str]) -> None:
        """Let a subscription hear of some markets from now on."""
        for ticker in tickers:
            self._by_ticker.setdefault(ticker, {})[subscription] = None

    def join_all(self, subscription: Subscription) -> None:
        """Let a subscription hear of every market, those to come included."""
        self.leave(subscription, subscription.tickers)
        self._everyone[subscription] = None

    def leave(self, subscription: Subscription, tickers: Iterable[str]) -> None:
        """No longer let a subscription hear of some markets."""
        for ticker in tickers:
            members = self._by_ticker.get(ticker)
            if members:
                members.pop(subscription, None)
                if not members:
                    del self._by_ticker[ticker]

    def leave_all(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        self._everyone.pop(subscription, None)
        self.leave(subscription, subscription.tickers)

    def has(self, subscription: Subscription, ticker: str) -> bool:
        """Whether a subscription hears of a market by name."""
        return subscription in self._by_ticker.get(ticker, ())

    def of(self, ticker: str) -> Iterator[Subscription]:
        """Everybody who hears of a market; a subscription is in one of both groups only."""
        yield from self._everyone
        yield from self._by_ticker.get(ticker, ())

    def is_empty(self, ticker: str) -> bool:
        """Whether nobody hears of a market, so that nothing need be encoded."""
        return not self._everyone and ticker not in self._by_ticker
