"""Markets, books and trades, on both sides of the historical cutoff."""

from collections.abc import Callable

from aiohttp import web

from kalshi_platform.simulator.market import Market
from kalshi_platform.simulator.prices import rfc3339_ms
from kalshi_platform.simulator.requests import (
    answer,
    invalid_parameter,
    read_cursor,
    read_flag,
    read_integer,
    read_limit,
)
from kalshi_platform.simulator.rest import objects
from kalshi_platform.simulator.rest.filters import candidates, check_historical, market_test
from kalshi_platform.simulator.rest.state import RestState, take_few, take_page
from kalshi_platform.simulator.trade_tape import TapeEntry

_MAX_BOOKS = 100
_MAX_DEPTH = 100


class MarketHandlers:
    """`/markets` and `/historical`."""

    def __init__(self, state: RestState) -> None:
        self._state = state

    async def markets(self, request: web.Request) -> web.Response:
        """GET /markets: those that are not archived."""
        return self._markets(request, archived=False)

    async def historical_markets(self, request: web.Request) -> web.Response:
        """GET /historical/markets: those that are."""
        check_historical(request.query)
        return self._markets(request, archived=True)

    async def market(self, request: web.Request) -> web.Response:
        """GET /markets/{ticker}."""
        return answer({"market": objects.market(self._state.market(request))})

    async def historical_market(self, request: web.Request) -> web.Response:
        """GET /historical/markets/{ticker}."""
        return answer({"market": objects.market(self._state.market(request, archived=True))})

    async def orderbook(self, request: web.Request) -> web.Response:
        """GET /markets/{ticker}/orderbook."""
        market = self._state.market(request)
        depth = read_integer(request.query, "depth", 0)
        if not 0 <= depth <= _MAX_DEPTH:
            raise invalid_parameter(f"depth must lie in 0..{_MAX_DEPTH}")
        return answer({"orderbook_fp": objects.orderbook(market.book, depth)})

    async def orderbooks(self, request: web.Request) -> web.Response:
        """GET /markets/orderbooks: up to a hundred tickers, each its own parameter; unknown ones are left out."""
        tickers = list(dict.fromkeys(request.query.getall("tickers", [])))
        if not 1 <= len(tickers) <= _MAX_BOOKS:
            raise invalid_parameter(f"tickers must name 1..{_MAX_BOOKS} markets")
        markets = self._state.catalogue.markets
        found = [markets[ticker] for ticker in tickers if ticker in markets]
        books = [{"ticker": one.ticker, "orderbook_fp": objects.orderbook(one.book, 0)} for one in found]
        return answer({"orderbooks": books})

    async def trades(self, request: web.Request) -> web.Response:
        """GET /markets/trades: newest first, those after the cutoff."""
        return self._trades(request, lambda entry: not self._state.is_history(entry))

    async def historical_trades(self, request: web.Request) -> web.Response:
        """GET /historical/trades: those before it."""
        return self._trades(request, self._state.is_history)

    async def cutoff(self, _: web.Request) -> web.Response:
        """GET /historical/cutoff: markets and trades move one by one."""
        markets, trades = rfc3339_ms(self._state.cutoff_ms), rfc3339_ms(self._state.trades_moved_ms)
        names = ("market_settled_ts", "orders_updated_ts", "market_positions_last_updated_ts")
        return answer(dict.fromkeys(names, markets) | {"trades_created_ts": trades})

    def _markets(self, request: web.Request, *, archived: bool) -> web.Response:
        query, state = request.query, self._state
        limit = read_limit(query, "GetHistoricalMarkets" if archived else "GetMarkets", most=1000, usual=100)
        passes = market_test(query)

        def matches(market: Market) -> bool:
            return state.is_archived(market) is archived and passes(market)

        found, cursor = take_page(candidates(state.catalogue, query), read_cursor(query), limit, matches)
        return state.page("markets", map(objects.market, found), cursor)

    def _trades(self, request: web.Request, is_here: Callable[[TapeEntry], bool]) -> web.Response:
        """Both time bounds include their second's beginning; a `limit` of 0 is the usual one."""
        query = request.query
        limit = read_limit(query, "GetTrades", most=1000, usual=100)
        ticker, block = query.get("ticker"), read_flag(query, "is_block_trade")
        oldest = read_integer(query, "min_ts", 0) * 1_000_000
        newest = read_integer(query, "max_ts", 2**40) * 1_000_000

        def matches(entry: TapeEntry) -> bool:
            return (
                (not ticker or entry.ticker == ticker)
                and oldest <= entry.micros <= newest
                and (block is None or entry.trade.is_block is block)
                and is_here(entry)
            )

        found, is_more = take_few(filter(matches, self._state.tape.before(read_cursor(query), (oldest, newest))), limit)
        cursor = found[-1].serial if is_more else None
        return self._state.page("trades", map(objects.trade, found), cursor)
