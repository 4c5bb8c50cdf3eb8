"""The endpoints of markets on both sides of the historical cutoff: listings, books, trades.

One method an endpoint, as the exchange has it; `range` asks both sides at once.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.objects import Cutoff, Level, Market, OrderBook, Trade
from kalshi_platform.exchange.rest.pages import Pages, Walk
from kalshi_platform.exchange.rest.records import to_record
from kalshi_platform.exchange.rest.transport import Transport, Value, read

T = TypeVar("T")

_FROM_THE_START = Walk()
_EVERYTHING = MarketFilters()
_PAGE = 1000
_BOOKS_PER_CALL = 100


class MarketEndpoints:
    """`/markets`, `/historical/markets` and their trades and books."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def markets(self, filters: MarketFilters = _EVERYTHING, walk: Walk = _FROM_THE_START) -> Pages[Market]:
        """Every live market that the filters match; combos dominate unless excluded (kalshi-pitfalls.md 34)."""
        return self._transport.walk("/markets", Market, "markets", walk, _PAGE, **filters.query())

    async def market(self, ticker: str) -> Market:
        """One live market."""
        return await self._transport.get(f"/markets/{ticker}", Market, "market")

    async def orderbook(self, ticker: str, depth: int = 0) -> OrderBook:
        """One book; `depth` keeps the best levels of each side, 0 keeps all."""
        path = f"/markets/{ticker}/orderbook"
        raw = await self._transport.get_raw(path, {"depth": depth or None})
        return read(path, lambda: _book({"ticker": ticker, **raw}))

    async def orderbooks(self, tickers: Sequence[str]) -> list[OrderBook]:
        """Many books, a hundred a call; tickers that the exchange does not know are left out."""
        books: list[OrderBook] = []
        for chunk in chunks(tickers, _BOOKS_PER_CALL):
            raw = await self._transport.get_raw("/markets/orderbooks", {"tickers": chunk})
            books += read("/markets/orderbooks", lambda raw=raw: [_book(one) for one in raw["orderbooks"]])  # type: ignore[misc]
        return books

    def trades(
        self,
        *,
        ticker: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        is_block_trade: bool | None = None,
        walk: Walk = _FROM_THE_START,
    ) -> Pages[Trade]:
        """Trades after the cutoff; block trades are among them unless filtered (kalshi-pitfalls.md 45)."""
        query = _trade_query(ticker, min_ts, max_ts, is_block_trade)
        return self._transport.walk("/markets/trades", Trade, "trades", walk, _PAGE, **query)

    async def cutoff(self) -> Cutoff:
        """Up to when markets and trades have moved to /historical; it only moves forward."""
        return await self._transport.get("/historical/cutoff", Cutoff)

    def historical_markets(
        self,
        *,
        tickers: Sequence[str] = (),
        event_ticker: str | None = None,
        series_ticker: str | None = None,
        mve_filter: str | None = None,
        walk: Walk = _FROM_THE_START,
    ) -> Pages[Market]:
        """Markets settled before the cutoff.

        Raises:
            ValueError: More than one filter: they exclude each other.
        """
        query: dict[str, Value] = {
            "tickers": ",".join(tickers) or None,
            "event_ticker": event_ticker,
            "series_ticker": series_ticker,
            "mve_filter": mve_filter,
        }
        given = [name for name, value in query.items() if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other among historical markets")
        return self._transport.walk("/historical/markets", Market, "markets", walk, _PAGE, **query)

    async def historical_market(self, ticker: str) -> Market:
        """One market settled before the cutoff."""
        return await self._transport.get(f"/historical/markets/{ticker}", Market, "market")

    def historical_trades(
        self,
        *,
        ticker: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        is_block_trade: bool | None = None,
        walk: Walk = _FROM_THE_START,
    ) -> Pages[Trade]:
        """Trades before the cutoff."""
        query = _trade_query(ticker, min_ts, max_ts, is_block_trade)
        return self._transport.walk("/historical/trades", Trade, "trades", walk, _PAGE, **query)


def chunks(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Rows in pieces of at most this size."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _trade_query(ticker: str | None, min_ts: int | None, max_ts: int | None, block: bool | None) -> dict[str, Value]:
    return {"ticker": ticker, "min_ts": min_ts, "max_ts": max_ts, "is_block_trade": block}


def _book(raw: dict[str, Any]) -> OrderBook:
    """A book with its levels in the documented order, whatever the order they came in (kalshi-pitfalls.md 22)."""
    body = dict(raw)
    sides = dict(body.pop("orderbook_fp"))
    for side in ("yes_dollars", "no_dollars"):
        sides[side] = sorted(sides.get(side) or [], key=_price)
    return to_record(body | sides, OrderBook)


def _price(level: Level) -> Decimal:
    return Decimal(level[0])
