"""Candlesticks: one market, many markets, live and historical, in one shape and as long a range as one likes.

Historical candles name their fields differently (`open`, not `open_dollars`; kalshi-pitfalls.md 41): evened out here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kalshi_platform.exchange.rest.errors import NotFound, UnexpectedAnswer
from kalshi_platform.exchange.rest.markets import chunks
from kalshi_platform.exchange.rest.objects import Candle
from kalshi_platform.exchange.rest.records import to_records
from kalshi_platform.exchange.rest.transport import Transport, Value, read

_CANDLES_PER_CALL = 5_000
_CANDLES_PER_BATCH = 10_000
_TICKERS_PER_BATCH = 100
_PRICES = ("yes_bid", "yes_ask", "price")
_OHLC = ("open", "low", "high", "close", "mean", "previous", "min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """Which candles: those whose end lies in a range of Unix seconds, both bounds included.

    Raises:
        ValueError: The exchange keeps no such periods.
    """

    start_ts: int
    end_ts: int
    minutes: int = 1
    include_latest_before_start: bool = False

    def __post_init__(self) -> None:
        """Refuse what the exchange would refuse."""
        if self.minutes not in (1, 60, 1440):
            raise ValueError(f"candles last 1, 60 or 1440 minutes, not {self.minutes}")
        if self.end_ts < self.start_ts:
            raise ValueError("candles end before they start")

    def spans(self, candles: int) -> Iterator[dict[str, Value]]:
        """Queries of at most so many candles each, which together are the range; no candle is in two of them."""
        length = self.minutes * 60 * candles
        for start in range(self.start_ts, self.end_ts + 1, length):
            latest = self.include_latest_before_start and start == self.start_ts
            end = min(start + length - 1, self.end_ts)
            yield replace(self, start_ts=start, end_ts=end, include_latest_before_start=latest).query()

    def query(self) -> dict[str, Value]:
        """The parameters as they are sent."""
        return {
            "start_ts": self.start_ts,
            "end_ts": self.end_ts,
            "period_interval": self.minutes,
            "include_latest_before_start": self.include_latest_before_start or None,
        }

    def after(self, end_ts: int) -> "Periods | None":
        """What is left of the range behind a second; None where nothing is."""
        if end_ts >= self.end_ts:
            return None
        return replace(self, start_ts=end_ts + 1, include_latest_before_start=False)


class CandleEndpoints:
    """`…/candlesticks`, wherever they are."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def candlesticks(self, series_ticker: str, ticker: str, periods: Periods) -> list[Candle]:
        """The candles of a market, whether it is live or archived already."""
        try:
            return await self.live_candlesticks(series_ticker, ticker, periods)
        except NotFound:
            return await self.historical_candlesticks(ticker, periods)

    async def live_candlesticks(self, series_ticker: str, ticker: str, periods: Periods) -> list[Candle]:
        """The candles of a market that is not archived."""
        return await self._candles(f"/series/{series_ticker}/markets/{ticker}/candlesticks", periods)

    async def historical_candlesticks(self, ticker: str, periods: Periods) -> list[Candle]:
        """The candles of an archived market, in the same shape."""
        return await self._candles(f"/historical/markets/{ticker}/candlesticks", periods)

    async def batch_candlesticks(self, tickers: Sequence[str], periods: Periods) -> dict[str, list[Candle]]:
        """The candles of many live markets, in as few calls as the exchange's limits allow."""
        found: dict[str, list[Candle]] = {}
        for chunk in chunks(tickers, _TICKERS_PER_BATCH):
            for span in periods.spans(_CANDLES_PER_BATCH // len(chunk)):
                for ticker, candles in (await self._batch(chunk, span)).items():
                    found.setdefault(ticker, []).extend(candles)
        return found

    async def event_candlesticks(
        self, series_ticker: str, event_ticker: str, periods: Periods
    ) -> dict[str, list[Candle]]:
        """The candles of every market of an event.

        The exchange cuts an answer that would be too long and says where; the rest is asked for until all is there.

        Raises:
            UnexpectedAnswer: It says that it got no further.
        """
        path = f"/series/{series_ticker}/events/{event_ticker}/candlesticks"
        found: dict[str, list[Candle]] = {}
        rest: Periods | None = periods
        while rest:
            part = await self._event_part(path, rest)
            for ticker, candles in part.candles.items():
                found.setdefault(ticker, []).extend(candles)
            rest = rest.after(part.end_ts)
        return found

    async def _event_part(self, path: str, periods: Periods) -> "_EventPart":
        raw = await self._transport.get_raw(path, periods.query())
        part = read(path, lambda: _event_part(raw))
        if part.end_ts < periods.start_ts:
            raise UnexpectedAnswer(f"GET {path} was cut before its beginning, at {part.end_ts}")
        return part

    async def _batch(self, tickers: Sequence[str], span: dict[str, Value]) -> dict[str, list[Candle]]:
        path = "/markets/candlesticks"
        raw = await self._transport.get_raw(path, {"market_tickers": ",".join(tickers), **span})
        return read(path, lambda: {one["market_ticker"]: _records(one["candlesticks"]) for one in raw["markets"]})

    async def _candles(self, path: str, periods: Periods) -> list[Candle]:
        candles: list[Candle] = []
        for span in periods.spans(_CANDLES_PER_CALL):
            raw = await self._transport.get_raw(path, span)
            candles += read(path, lambda raw=raw: _records(raw["candlesticks"]))  # type: ignore[misc]
        return candles


class _EventPart(NamedTuple):
    """Candles by market, and the second up to which they are all there."""

    candles: dict[str, list[Candle]]
    end_ts: int


def _event_part(raw: dict[str, Any]) -> _EventPart:
    pairs = zip(raw["market_tickers"], raw["market_candlesticks"], strict=True)
    return _EventPart({ticker: _records(candles) for ticker, candles in pairs}, int(raw["adjusted_end_ts"]))


def _records(raw: list[dict[str, Any]] | None) -> list[Candle]:
    return to_records([_evened(one) for one in raw or []], Candle)


def _evened(raw: dict[str, Any]) -> dict[str, Any]:
    """A candle with the names of live ones."""
    candle = _renamed(raw, ("volume", "open_interest"), "_fp")
    for name in _PRICES:
        if isinstance(candle.get(name), dict):
            candle[name] = _renamed(candle[name], _OHLC, "_dollars")
    return candle


def _renamed(raw: dict[str, Any], names: Sequence[str], suffix: str) -> dict[str, Any]:
    return {f"{key}{suffix}" if key in names else key: value for key, value in raw.items()}
