"""Candlesticks, computed from the trades that REST remembers.

There is a candle for each period in which a market traded. Quotes of the past are not kept: a candle's ask is the price
that takers of YES paid, its bid the price that takers of NO left, and its open interest is today's.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from aiohttp import web

from kalshi_platform.simulator.market import Market
from kalshi_platform.simulator.prices import PRICE_TEXT, size_text
from kalshi_platform.simulator.requests import answer, invalid_parameter, read_flag, read_integer, read_names
from kalshi_platform.simulator.rest.objects import Json
from kalshi_platform.simulator.rest.state import RestState, find
from kalshi_platform.simulator.trade_tape import TapeEntry

_PERIODS = (1, 60, 1440)
_MAX_CANDLES = 5_000
_MAX_BATCH_CANDLES = 10_000
_MAX_TICKERS = 100


class CandleHandlers:
    """`…/candlesticks`."""

    def __init__(self, state: RestState) -> None:
        self._state = state

    async def single(self, request: web.Request) -> web.Response:
        """GET /series/{series}/markets/{ticker}/candlesticks."""
        find(self._state.catalogue.series, request, "series")
        market = self._state.market(request)
        span = _Span(request.query, 1, _MAX_CANDLES)
        return answer({"ticker": market.ticker, "candlesticks": self._candles([market], span)[market.ticker]})

    async def historical(self, request: web.Request) -> web.Response:
        """GET /historical/markets/{ticker}/candlesticks: the same under other names (pitfalls 41)."""
        market = self._state.market(request, archived=True)
        span = _Span(request.query, 1, _MAX_CANDLES)
        candles = [_historical(one) for one in self._candles([market], span)[market.ticker]]
        return answer({"ticker": market.ticker, "candlesticks": candles})

    async def event(self, request: web.Request) -> web.Response:
        """GET /series/{series}/events/{ticker}/candlesticks: cut where there would be too many (protocol §2.3)."""
        find(self._state.catalogue.series, request, "series")
        event = self._state.event(request)
        markets = self._state.live_markets(event)
        span = _Span(request.query, 1, None)
        span.cut(_MAX_CANDLES // max(1, len(markets)))
        found = self._candles(markets, span)
        body = {"market_tickers": list(found), "market_candlesticks": list(found.values())}
        return answer(body | {"adjusted_end_ts": span.end})

    async def batch(self, request: web.Request) -> web.Response:
        """GET /markets/candlesticks: up to a hundred markets."""
        tickers = sorted(read_names(request.query, "market_tickers") or ())
        if not 1 <= len(tickers) <= _MAX_TICKERS:
            raise invalid_parameter(f"market_tickers must name 1..{_MAX_TICKERS} markets")
        span = _Span(request.query, len(tickers), _MAX_BATCH_CANDLES)
        listed = self._state.catalogue.markets
        markets = [listed[ticker] for ticker in tickers if ticker in listed]
        live = [one for one in markets if not self._state.is_archived(one)]
        found = self._candles(live, span)
        return answer({"markets": [{"market_ticker": name, "candlesticks": rows} for name, rows in found.items()]})

    def _candles(self, markets: Iterable[Market], span: "_Span") -> dict[str, list[Json]]:
        """The candles of some markets, in one look at the tape."""
        known = {market.ticker: market for market in markets}
        trades: dict[str, list[TapeEntry]] = {ticker: [] for ticker in known}
        for entry in self._state.tape.before(None):
            if entry.ticker in trades:
                trades[entry.ticker].append(entry)
        return {ticker: span.candles(rows[::-1], known[ticker]) for ticker, rows in trades.items()}


class _Span:
    """Which candles are asked for: at most so many of all markets together, if there is a limit.

    Raises:
        BadRequestError: A parameter is missing, or there would be too many.
    """

    def __init__(self, query: Mapping[str, str], tickers: int, most: int | None) -> None:
        for name in ("start_ts", "end_ts", "period_interval"):
            if not query.get(name):
                raise invalid_parameter(f"{name} is required")
        minutes = read_integer(query, "period_interval", 0)
        if minutes not in _PERIODS:
            raise invalid_parameter("period_interval must be 1, 60 or 1440")
        self._seconds = minutes * 60
        self._start, self.end = read_integer(query, "start_ts", 0), read_integer(query, "end_ts", 0)
        self._with_latest = bool(read_flag(query, "include_latest_before_start"))
        if most is not None and (self.end - self._start) // self._seconds * tickers > most:
            raise invalid_parameter(f"more than {most} candlesticks")

    def cut(self, candles: int) -> None:
        """End where this many candles of a market are there."""
        self.end = min(self.end, self._start + candles * self._seconds - 1)

    def candles(self, trades: Sequence[TapeEntry], market: Market) -> list[Json]:
        """Periods whose end lies in the range, both bounds included; before them, if asked, what was known already."""
        periods: defaultdict[int, list[TapeEntry]] = defaultdict(list)
        for entry in trades:
            periods[-(-entry.micros // (self._seconds * 1_000_000)) * self._seconds].append(entry)
        candles: list[Json] = []
        previous: TapeEntry | None = None
        before: TapeEntry | None = None
        for end, rows in periods.items():
            if end < self._start:
                before = rows[-1]
            elif end <= self.end:
                candles.append(_candle(end, rows, previous, market))
            previous = rows[-1]
        return self._latest_before(before, market, candles) + candles

    def _latest_before(self, before: TapeEntry | None, market: Market, candles: Sequence[Json]) -> list[Json]:
        """If asked, the last price before the range as a candle of its first period, unless that has one."""
        first = -(-self._start // self._seconds) * self._seconds
        has_one = bool(candles) and candles[0]["end_period_ts"] == first
        return [_before(first, before, market)] if before and self._with_latest and not has_one else []


def _candle(end: int, rows: Sequence[TapeEntry], previous: TapeEntry | None, market: Market) -> Json:
    prices = [entry.trade.yes_price for entry in rows]
    mean = sum(entry.trade.yes_price * entry.trade.size for entry in rows) // sum(entry.trade.size for entry in rows)
    body = _ohlc(prices) | {"mean_dollars": PRICE_TEXT[mean]}
    body |= {"min_dollars": PRICE_TEXT[min(prices)], "max_dollars": PRICE_TEXT[max(prices)]}
    if previous:
        body["previous_dollars"] = PRICE_TEXT[previous.trade.yes_price]
    return {
        "end_period_ts": end,
        "yes_bid": _ohlc([one.trade.yes_price for one in rows if one.trade.taker == "no"] or prices),
        "yes_ask": _ohlc([one.trade.yes_price for one in rows if one.trade.taker == "yes"] or prices),
        "price": body,
        "volume_fp": size_text(sum(entry.trade.size for entry in rows)),
        "open_interest_fp": size_text(market.open_interest),
    }


def _before(end: int, previous: TapeEntry, market: Market) -> Json:
    """A candle without trades, which carries the last price into the range."""
    price = [previous.trade.yes_price]
    return {
        "end_period_ts": end,
        "yes_bid": _ohlc(price),
        "yes_ask": _ohlc(price),
        "price": {"previous_dollars": PRICE_TEXT[previous.trade.yes_price]},
        "volume_fp": size_text(0),
        "open_interest_fp": size_text(market.open_interest),
    }


def _ohlc(prices: Sequence[int]) -> Json:
    first, low, high, last = (PRICE_TEXT[price] for price in (prices[0], min(prices), max(prices), prices[-1]))
    return {"open_dollars": first, "low_dollars": low, "high_dollars": high, "close_dollars": last}


def _historical(candle: Json) -> Json:
    """A candle as the archive writes it."""
    bare = {name.removesuffix("_fp"): value for name, value in candle.items()}
    for name in ("yes_bid", "yes_ask", "price"):
        bare[name] = {key.removesuffix("_dollars"): value for key, value in candle[name].items()}
    return bare
