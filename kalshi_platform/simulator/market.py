"""A market, its event and its series: what the exchange lists, and how a market stands at the moment.

A listing never changes, though a market may get another one; a market's state does, and only its exchange changes it.
How either is written for REST is `objects`' business, how they come into being `catalogue`'s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from kalshi_platform.simulator.book import Book, Side
from kalshi_platform.simulator.prices import DOLLAR, LINEAR_CENT, PriceStructure


class Status(StrEnum):
    """A market's state as REST names it (protocol §2.4)."""

    INITIALIZED = "initialized"
    ACTIVE = "active"
    INACTIVE = "inactive"
    CLOSED = "closed"
    DETERMINED = "determined"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True)
class Series:
    """A family of events under one set of rules."""

    ticker: str
    title: str
    category: str
    frequency: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that will happen, on which several markets bet."""

    ticker: str
    series_ticker: str
    title: str
    sub_title: str
    mutually_exclusive: bool
    strike_ms: int
    created_ms: int


class FeeChange(NamedTuple):
    """An event got a fee of its own."""

    event: Event
    fee_type: str
    multiplier: float
    changed_ms: int


class Leg(NamedTuple):
    """One outcome that a combo needs."""

    event_ticker: str
    market_ticker: str
    side: Side


@dataclass(frozen=True, slots=True)
class Listing:
    """What is fixed about a market on the day it is listed."""

    ticker: str
    event_ticker: str
    series_ticker: str
    market_id: str
    title: str
    yes_sub_title: str
    structure: PriceStructure
    strike: float
    created_ms: int
    expected_expiration_ms: int
    collection: str = ""
    """Where a combo comes from; nothing for other markets."""
    legs: tuple[Leg, ...] = ()

    @property
    def is_combo(self) -> bool:
        """Whether this is a combo, which has a lifecycle channel of its own."""
        return bool(self.legs)


class Quote(NamedTuple):
    """What a ticker message says of a market, times aside."""

    last_price: int
    yes_bid: int
    yes_ask: int
    yes_bid_size: int
    yes_ask_size: int
    last_trade_size: int
    volume: int
    open_interest: int


@dataclass(slots=True, weakref_slot=True, eq=False)
class Market:
    """A listed market as it stands.

    A founder of the exchange that nobody traded yet is made from its name each time somebody looks: it is open, its
    book is its opening book, and nothing of it is kept.
    """

    listing: Listing
    close_ms: int
    opening: Callable[[], Book]
    """Makes the book with which the market opens."""
    open_ms: int = 0
    status: Status = Status.INITIALIZED
    structure: PriceStructure = LINEAR_CENT
    last_price: int = 0
    last_trade_size: int = 0
    volume: int = 0
    open_interest: int = 0
    outcome: str = ""
    """How it will end, where that is decided before it is said."""
    result: str = ""
    settled_ms: int = 0
    updated_ms: int = 0
    last_ticker_ms: int = 0
    published: Quote | None = None
    is_introduced: bool = False
    """Whether the ledger knows its book."""
    _book: Book | None = None

    def __post_init__(self) -> None:
        """The grid of the first day; it may change."""
        self.structure = self.listing.structure

    @property
    def book(self) -> Book:
        """The order book; that of a market before its opening is empty."""
        if self._book is None:
            self._book = Book() if self.status is Status.INITIALIZED else self.opening()
        return self._book

    def open(self, now_ms: int) -> None:
        """Take orders from now on, beginning with the opening book."""
        self.status = Status.ACTIVE
        self.updated_ms = now_ms
        self._book = None

    @property
    def ticker(self) -> str:
        """The market's name."""
        return self.listing.ticker

    def trade(self, yes_price: int, count: int, *, opens_interest: bool) -> None:
        """Take a trade into the statistics."""
        self.last_price = yes_price
        self.last_trade_size = count
        self.volume += count
        if opens_interest:
            self.open_interest += count
        else:
            self.open_interest = max(0, self.open_interest - count)

    def quote(self) -> Quote:
        """The market's best prices and statistics; an empty side asks a dollar or bids nothing (protocol §5)."""
        book = self.book
        return Quote(
            self.last_price,
            book.best["yes"],
            DOLLAR - book.best["no"],
            book.best_size("yes"),
            book.best_size("no"),
            self.last_trade_size,
            self.volume,
            self.open_interest,
        )
