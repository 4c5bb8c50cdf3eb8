"""`kalshi-platform public-demo`: from a series to the last trades of one market, as anybody may ask for them.

Kept out: how books and trades look (`market_view`), and what REST answers (exchange).
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import islice

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kalshi_platform.core.errors import ConfigurationError, ExchangeUnavailable
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.errors import NotFound
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.objects import Market, OrderBook, Series, Trade
from kalshi_platform.exchange.rest.pages import Walk
from kalshi_platform.exchange.rest.records import to_raw
from kalshi_platform.exchange.rest.transport import patience
from kalshi_platform.tools.market_view import TradeLine, plain_table, show_book, show_trades, titled
from kalshi_platform.tools.own_exchange import own_exchange

_MARKETS = 8
_TRADES = 10
_SIMULATOR = ("--markets", "60", "--rate", "400", "--trading", "20")
_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Tour:
    """What was asked for, in order; `market` is the one whose book and trades are shown."""

    series: Series
    markets: Sequence[Market]
    market: Market
    book: OrderBook
    trades: Sequence[Trade]
    when: datetime


async def public_demo(rest_url: str, series: str, market: str | None, *, simulate: bool, as_json: bool) -> None:
    """Ask and draw.

    Args:
        rest_url: The exchange, unless simulated.
        series: Its ticker; a simulated exchange shows its own first series where it has none of this name.
        market: The market to look into; the one with the most volume unless given.
        simulate: Ask a simulated exchange on this machine.
        as_json: One JSON object instead of pictures.

    Raises:
        ConfigurationError: There is no such series or market, or none is open.
        ExchangeUnavailable: The exchange cannot be reached.
    """
    told = Console(stderr=True)
    with own_exchange(*_SIMULATOR) if simulate else nullcontext() as own:
        url = own.rest_url if own else rest_url
        try:
            async with RestClient(url, waits=patience(attempts=4)) as client:
                with told.status(f"asking {url}"):
                    found = await _first_series(client, series) if simulate else series
                    if found != series:
                        _tell(told, f"the simulated exchange has no series {series}: this is its {found}")
                    tour = await _tour(client, found, market)
        except ExchangeUnavailable as error:
            raise ExchangeUnavailable(
                f"{error}; the exchange cannot be reached from here: try again, or "
                "`kalshi-platform public-demo --simulate`, which needs no network"
            ) from error
    if as_json:
        sys.stdout.buffer.write(_json(tour) + b"\n")
    else:
        _draw(tour, Console())


async def _first_series(client: RestClient, wanted: str) -> str:
    known = [one.ticker for one in await client.series_list()]
    return wanted if wanted in known else known[0]


async def _tour(client: RestClient, series_ticker: str, market_ticker: str | None) -> Tour:
    try:
        series = await client.series(series_ticker)
    except NotFound:
        raise ConfigurationError(f"the exchange has no series {series_ticker}; --series names another") from None
    open_ones = MarketFilters(series_ticker=series_ticker, status="open")
    markets = [one async for one in client.markets(open_ones)]
    if not markets:
        raise ConfigurationError(f"no market of {series_ticker} is open now; --series names another")
    markets.sort(key=_volume, reverse=True)
    market = next((one for one in markets if market_ticker in (None, one.ticker)), None)
    if market is None:
        raise ConfigurationError(f"no open market of {series_ticker} is called {market_ticker}: {_names(markets)}")
    book = await client.orderbook(market.ticker)
    trades = await anext(client.trades(ticker=market.ticker, walk=Walk(limit=_TRADES)).pages())
    return Tour(series, markets, market, book, trades[:_TRADES], datetime.now(UTC))


def _volume(market: Market) -> tuple[Decimal, str]:
    try:
        return Decimal(market.volume_24h_fp or market.volume_fp or 0), market.ticker
    except InvalidOperation:
        return Decimal(0), market.ticker


def _names(markets: Sequence[Market]) -> str:
    return ", ".join(one.ticker for one in islice(markets, _MARKETS)) + (", …" if len(markets) > _MARKETS else "")


def _json(tour: Tour) -> bytes:
    return _encoder.encode(
        {
            "series": to_raw(tour.series),
            "markets": [to_raw(one) for one in tour.markets],
            "market": tour.market.ticker,
            "orderbook": to_raw(tour.book),
            "trades": [to_raw(one) for one in tour.trades],
        }
    )


def _draw(tour: Tour, console: Console) -> None:
    series, market = tour.series, tour.market
    facts = ", ".join(filter(None, (series.category, series.frequency, _fee(series))))
    console.print(titled(Text(f"{series.title or ''}\n{facts}"), f"series {series.ticker}"))
    count = f"{len(tour.markets)} open" + (f", {_MARKETS} busiest" if len(tour.markets) > _MARKETS else "")
    console.print(titled(_market_table(tour.markets[:_MARKETS]), f"markets: {count}"))
    if market.title:
        console.print(Text(market.title))
    book = tour.book
    yes, no = _levels(book.yes_dollars), _levels(book.no_dollars)
    console.print(show_book(market.ticker, tour.when, yes, no))
    if tour.trades:
        console.print(show_trades([_trade_line(one) for one in tour.trades]))
    else:
        console.print("no trades yet")


def _fee(series: Series) -> str:
    return f"fee {series.fee_type} by {series.fee_multiplier}" if series.fee_type else ""


def _market_table(markets: Sequence[Market]) -> Table:
    prices = ((name, "right") for name in ("bid", "ask", "last", "volume 24h"))
    table = plain_table("market", *prices, "closes (UTC)")
    for one in markets:
        closes = (one.close_time or "")[5:16].replace("T", " ")
        bid, ask, last = (_price(text) for text in (one.yes_bid_dollars, one.yes_ask_dollars, one.last_price_dollars))
        table.add_row(one.ticker, bid, ask, last, one.volume_24h_fp or "", closes)
    table.columns[0].overflow = "ellipsis"
    return table


def _price(text: str | None) -> str:
    return text or "-"


def _levels(levels: Sequence[tuple[str, str]]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(size)) for price, size in levels]


def _trade_line(trade: Trade) -> TradeLine:
    side = trade.taker_outcome_side or trade.taker_side
    return (
        datetime.fromisoformat(trade.created_time),
        trade.ticker,
        Decimal(trade.yes_price_dollars),
        Decimal(trade.count_fp),
        None if side is None else side == "yes",
    )


def _tell(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
