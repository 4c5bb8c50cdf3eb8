"""The REST endpoints under /trade-api/v2 (protocol §2): reads of the catalogue, the books and the trade tape.

Nothing here changes anything. Authentication and error bodies are put around these handlers by `server`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from aiohttp import web

from kalshi_platform.simulator import rest_objects
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.market import Event, Market, Status
from kalshi_platform.simulator.requests import (
    NotFoundError,
    answer,
    invalid_parameter,
    read_cursor,
    read_flag,
    read_integer,
    read_limit,
    read_names,
    write_cursor,
)
from kalshi_platform.simulator.rest_options import RestOptions
from kalshi_platform.simulator.trade_tape import TapeEntry

PREFIX = "/trade-api/v2"

STATUS_FILTERS: dict[str, frozenset[Status]] = {
    "unopened": frozenset({Status.INITIALIZED}),
    "open": frozenset({Status.ACTIVE}),
    "paused": frozenset({Status.INACTIVE}),
    "closed": frozenset({Status.CLOSED, Status.DETERMINED}),
    "settled": frozenset({Status.FINALIZED}),
}
"""What may be asked for is not what is answered (protocol §2.4)."""

_MAX_BOOKS = 100
_MAX_DEPTH = 100

T = TypeVar("T")


class Rest:
    """The handlers, around one exchange."""

    def __init__(self, exchange: Exchange, options: RestOptions, clock: Callable[[], int]) -> None:
        self._options = options
        self._clock = clock
        self._tape = exchange.tape
        self._catalogue = exchange.catalogue

    def routes(self) -> list[web.RouteDef]:
        """Every path with its handler; fixed paths win over `{ticker}`."""
        return [
            web.get(f"{PREFIX}/exchange/status", self.exchange_status),
            web.get(f"{PREFIX}/series", self.series_list),
            web.get(f"{PREFIX}/series/{{ticker}}", self.series),
            web.get(f"{PREFIX}/events", self.events),
            web.get(f"{PREFIX}/events/{{ticker}}", self.event),
            web.get(f"{PREFIX}/markets", self.markets),
            web.get(f"{PREFIX}/markets/orderbooks", self.orderbooks),
            web.get(f"{PREFIX}/markets/trades", self.trades),
            web.get(f"{PREFIX}/markets/{{ticker}}", self.market),
            web.get(f"{PREFIX}/markets/{{ticker}}/orderbook", self.orderbook),
        ]

    async def exchange_status(self, _: web.Request) -> web.Response:
        """GET /exchange/status."""
        flags = {"exchange_active": True, "trading_active": True, "intra_exchange_transfers_active": True}
        shard = {"exchange_index": 0, "description": "default"} | flags
        return answer(flags | {"exchange_index_statuses": [shard]})

    async def series_list(self, request: web.Request) -> web.Response:
        """GET /series: all of them at once, there is no cursor."""
        category = request.query.get("category")
        found = [one for one in self._catalogue.series.values() if category in (None, "", one.category)]
        return answer({"series": [rest_objects.series(one) for one in found]})

    async def series(self, request: web.Request) -> web.Response:
        """GET /series/{ticker}."""
        return answer({"series": rest_objects.series(_find(self._catalogue.series, request))})

    async def events(self, request: web.Request) -> web.Response:
        """GET /events."""
        query = request.query
        limit = read_limit(query, "GetEvents", most=200, usual=200)
        nested = bool(read_flag(query, "with_nested_markets"))
        statuses, series, tickers = (
            _statuses(query.get("status")),
            query.get("series_ticker"),
            read_names(query, "tickers"),
        )

        def matches(event: Event) -> bool:
            children = self._catalogue.markets_by_event[event.ticker]
            return (
                (not series or event.series_ticker == series)
                and (tickers is None or event.ticker in tickers)
                and (statuses is None or any(market.status in statuses for market in children))
            )

        found, cursor = _page(self._catalogue.events_in_order, read_cursor(query), limit, matches)
        return answer({"cursor": cursor, "events": [self._event_body(event, nested=nested) for event in found]})

    async def event(self, request: web.Request) -> web.Response:
        """GET /events/{ticker}: the markets stand beside the event, or inside it when asked for."""
        event = _find(self._catalogue.events, request)
        if read_flag(request.query, "with_nested_markets"):
            return answer({"event": self._event_body(event, nested=True)})
        markets = self._catalogue.markets_by_event[event.ticker]
        body = self._event_body(event, nested=False)
        return answer({"event": body, "markets": [rest_objects.market(market) for market in markets]})

    def _event_body(self, event: Event, *, nested: bool) -> rest_objects.Json:
        category = self._catalogue.series[event.series_ticker].category
        markets = self._catalogue.markets_by_event[event.ticker] if nested else None
        return rest_objects.event(event, category, markets)

    async def markets(self, request: web.Request) -> web.Response:
        """GET /markets."""
        query = request.query
        limit = read_limit(query, "GetMarkets", most=1000, usual=100)
        tickers, statuses = read_names(query, "tickers"), _statuses(query.get("status"))
        event, series = query.get("event_ticker"), query.get("series_ticker")
        only_combos = _wants_only_combos(query.get("mve_filter"))

        def matches(market: Market) -> bool:
            return (
                not only_combos
                and (tickers is None or market.ticker in tickers)
                and (statuses is None or market.status in statuses)
                and (not event or market.listing.event_ticker == event)
                and (not series or market.listing.series_ticker == series)
            )

        found, cursor = _page(self._catalogue.markets_in_order, read_cursor(query), limit, matches)
        return answer({"cursor": cursor, "markets": [rest_objects.market(market) for market in found]})

    async def market(self, request: web.Request) -> web.Response:
        """GET /markets/{ticker}."""
        return answer({"market": rest_objects.market(_find(self._catalogue.markets, request))})

    async def orderbook(self, request: web.Request) -> web.Response:
        """GET /markets/{ticker}/orderbook."""
        market = _find(self._catalogue.markets, request)
        depth = read_integer(request.query, "depth", 0)
        if not 0 <= depth <= _MAX_DEPTH:
            raise invalid_parameter(f"depth must lie in 0..{_MAX_DEPTH}")
        return answer({"orderbook_fp": rest_objects.orderbook(market.book, depth)})

    async def orderbooks(self, request: web.Request) -> web.Response:
        """GET /markets/orderbooks: up to a hundred tickers, each its own parameter; unknown ones are left out."""
        tickers = list(dict.fromkeys(request.query.getall("tickers", [])))
        if not 1 <= len(tickers) <= _MAX_BOOKS:
            raise invalid_parameter(f"tickers must name 1..{_MAX_BOOKS} markets")
        found = [self._catalogue.markets[ticker] for ticker in tickers if ticker in self._catalogue.markets]
        books = [{"ticker": one.ticker, "orderbook_fp": rest_objects.orderbook(one.book, 0)} for one in found]
        return answer({"orderbooks": books})

    async def trades(self, request: web.Request) -> web.Response:
        """GET /markets/trades: newest first; both time bounds include their second's beginning."""
        query = request.query
        limit = read_limit(query, "GetTrades", most=1000, usual=100)
        ticker, block = query.get("ticker"), read_flag(query, "is_block_trade")
        oldest, newest = read_integer(query, "min_ts", 0), read_integer(query, "max_ts", 2**40)

        def matches(entry: TapeEntry) -> bool:
            return (
                (not ticker or entry.ticker == ticker)
                and oldest * 1_000_000 <= entry.micros <= newest * 1_000_000
                and (block is None or entry.trade.is_block is block)
            )

        rows = filter(matches, self._tape.before(read_cursor(query)))
        found = list(islice(rows, limit))
        cursor = found[-1].serial if next(rows, None) else None
        return answer({"cursor": write_cursor(cursor), "trades": [rest_objects.trade(entry) for entry in found]})


def _page(rows: Sequence[T], cursor: int | None, limit: int, matches: Callable[[T], bool]) -> tuple[Iterable[T], str]:
    """Take the next matches from where the cursor points; a row's place never changes, so none is missed or doubled."""
    start = max(0, cursor or 0)
    places = (place for place in range(start, len(rows)) if matches(rows[place]))
    found = [rows[place] for place in islice(places, limit)]
    return found, write_cursor(next(places, None))


def _find(known: Mapping[str, T], request: web.Request) -> T:
    ticker = request.match_info["ticker"]
    if ticker not in known:
        raise NotFoundError(ticker)
    return known[ticker]


def _statuses(text: str | None) -> frozenset[Status] | None:
    if not text:
        return None
    if text not in STATUS_FILTERS:
        raise invalid_parameter(f"status must be one of {', '.join(STATUS_FILTERS)}")
    return STATUS_FILTERS[text]


def _wants_only_combos(text: str | None) -> bool:
    if text not in (None, "", "only", "exclude"):
        raise invalid_parameter("mve_filter must be only or exclude")
    return text == "only"
