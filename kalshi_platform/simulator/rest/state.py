"""What all REST endpoints look at: the catalogue, the tape, the clock, and where live ends and history begins.

Kept out: any endpoint, and the writing of objects.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

from aiohttp import web

from kalshi_platform.simulator.market import Event, Market, Status
from kalshi_platform.simulator.requests import NotFoundError, answer, write_cursor
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform.simulator.trade_tape import TapeEntry
from kalshi_platform.simulator.venue import Venue

MOST_LOOKED_AT = 10_000
"""Rows that one page looks at; a filter that few pass gets short pages with a cursor, never a long wait."""

T = TypeVar("T")


class RestState:
    """The exchange as REST sees it."""

    def __init__(self, exchange: Venue, options: RestOptions, clock: Callable[[], int]) -> None:
        self.exchange = exchange
        self.catalogue = exchange.catalogue
        self.tape = exchange.tape
        self.options = options
        self.clock = clock
        self.cutoff_ms = options.historical_cutoff_ms
        """Markets settled and trades made before this are history; move it forward and they move."""
        self.trades_cutoff_ms: int | None = None
        """Set it where trades are to move apart from markets (protocol pitfall 39); None moves them together."""
        self.exchange_active = True
        """Whether the exchange is up, as far as its status says; a status of one that is down comes with 503."""
        self.trading_active = True
        """Whether it trades, as far as its status says."""
        self.closed_shards: set[int] = set()
        """Parts of it that do not trade, as far as its status says."""
        self.resumes_ms = 0
        """When it means to be back; 0 is unknown."""

    def is_archived(self, market: Market) -> bool:
        """Whether a market is found under /historical only."""
        return market.status is Status.FINALIZED and market.settled_ms < self.cutoff_ms

    def is_history(self, entry: TapeEntry) -> bool:
        """Whether a trade is found under /historical only."""
        return entry.micros < self.trades_moved_ms * 1000

    @property
    def trades_moved_ms(self) -> int:
        """Trades made before this are history."""
        return self.cutoff_ms if self.trades_cutoff_ms is None else self.trades_cutoff_ms

    def market(self, request: web.Request, *, archived: bool = False) -> Market:
        """The market that the path names, if it is on this side of the cutoff.

        Raises:
            NotFoundError: Unknown, or on the other side.
        """
        market: Market = find(self.catalogue.markets, request)
        if self.is_archived(market) is not archived:
            raise NotFoundError(market.ticker)
        return market

    def event(self, request: web.Request) -> Event:
        """The event that the path names, a combo's included.

        Raises:
            NotFoundError: Unknown.
        """
        combos = self.catalogue.combo_events
        found: Event = find(combos if request.match_info["ticker"] in combos else self.catalogue.events, request)
        return found

    def live_markets(self, event: Event) -> list[Market]:
        """The markets of an event that are not archived (protocol §2.3)."""
        combo = self.catalogue.combos_by_event.get(event.ticker)
        markets = [combo] if combo else self.catalogue.markets_by_event[event.ticker]
        return [one for one in markets if not self.is_archived(one)]

    def category(self, event: Event) -> str:
        """The category of an event's series."""
        return self.catalogue.series[event.series_ticker].category

    def page(self, name: str, rows: Iterable[Any], cursor: int | None) -> web.Response:
        """A page of a list; the last one has an empty cursor, or none at all if so chosen."""
        text = write_cursor(cursor)
        body = {name: list(rows)} if self.options.omit_last_cursor and not text else {"cursor": text, name: list(rows)}
        return answer(body)


def find(known: Any, request: web.Request, part: str = "ticker") -> Any:
    """What the path names.

    Raises:
        NotFoundError: Nothing has that name.
    """
    ticker = request.match_info[part]
    if ticker not in known:
        raise NotFoundError(ticker)
    return known[ticker]


def take_page(
    rows: Sequence[T], cursor: int | None, limit: int, matches: Callable[[T], bool]
) -> tuple[list[T], int | None]:
    """The next matches from where the cursor points, and where to go on; a row's place never changes."""
    start = max(0, cursor or 0)
    end = min(len(rows), start + max(MOST_LOOKED_AT, limit + 1))
    found: list[T] = []
    for place in range(start, end):
        row = rows[place]  # made when looked at: once
        if matches(row):
            if len(found) == limit:
                return found, place
            found.append(row)
    return found, end if end < len(rows) else None


def take_few(rows: Iterable[T], limit: int) -> tuple[list[T], bool]:
    """So many rows, and whether there are more."""
    iterator = iter(rows)
    return list(islice(iterator, limit)), next(iterator, None) is not None
