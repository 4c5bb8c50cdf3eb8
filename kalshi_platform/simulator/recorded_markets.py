"""What a recording is about: its markets with what is known of them, listed as an exchange lists them.

A look through the files finds the markets and their grids. `GET /events/{ticker}` bodies that lie beside the recording
(`.json` files below the same folder) add titles, times, strikes and results. Kept out: playing it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Any

import msgspec

from kalshi_platform.simulator.book import Book
from kalshi_platform.simulator.catalogue import Catalogue
from kalshi_platform.simulator.lake_tape import market_objects
from kalshi_platform.simulator.market import Event, Listing, Market, Series, Status
from kalshi_platform.simulator.prices import CENTI_CENT, DECI_CENT, DOLLAR, LINEAR_CENT, STRUCTURES, PriceStructure
from kalshi_platform.simulator.recording import RecordedFrame, RecordingError, find_recordings, read_recording, stamp_ms

_DECIMALS = {"price": 4, "size": 2}


class _Body(msgspec.Struct):
    market_id: str = ""
    price_dollars: str | None = None
    yes_price_dollars: str | None = None
    yes_dollars_fp: list[tuple[str, str]] = []
    no_dollars_fp: list[tuple[str, str]] = []


_BODIES = msgspec.json.Decoder(_Body)


@dataclass(slots=True)
class RecordedMarket:
    """One market of a recording."""

    ticker: str
    first_ms: int
    last_ms: int = 0
    market_id: str = ""
    step: int = 0
    """The greatest step that all its prices stand on, in 1e-4 dollars."""
    details: dict[str, Any] = field(default_factory=dict)
    """Its market object of REST, where that was recorded too."""
    event: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RecordingIndex:
    """What a recording holds."""

    files: Sequence[Path]
    frames: int = 0
    markets: dict[str, RecordedMarket] = field(default_factory=dict)

    @property
    def first_ms(self) -> int:
        """When it begins."""
        return min(one.first_ms for one in self.markets.values())


@lru_cache(maxsize=65536)
def fixed(text: str, kind: str) -> int:
    """A price in 1e-4 dollars or a size in 1e-2 contracts, from the text of the wire, exactly.

    Raises:
        ValueError: it is no such number, or finer than that.
    """
    decimals = _DECIMALS[kind]
    whole, _, fraction = text.partition(".")
    kept, lost = fraction[:decimals], fraction[decimals:]
    if lost.strip("0"):
        raise ValueError(f"{text!r} is finer than a {kind} can be")
    return int(whole + kept.ljust(decimals, "0"))


def open_tape(path: Path, on_progress: Callable[[Path, int], None] | None = None) -> RecordingIndex:
    """What a recorded file, or a folder of them, holds.

    Args:
        path: The file or folder; REST bodies are looked for beside the file or below the folder.
        on_progress: Told a file and how many of its bytes have been read.

    Raises:
        RecordingError: it cannot be served.
    """
    index = look_through(find_recordings(path), on_progress)
    add_details(index, path if path.is_dir() else path.parent)
    return index


def look_through(files: Sequence[Path], on_progress: Callable[[Path, int], None] | None = None) -> RecordingIndex:
    """Read every file once, to know what there is.

    Raises:
        RecordingError: a file cannot be served, or there is nothing in any of them.
    """
    index = RecordingIndex(files)
    for path in files:
        tell = _telling(path, on_progress)
        for frame in read_recording(path, tell):
            index.frames += 1
            if frame.ticker:
                _note(index, frame, path)
    if not index.markets:
        raise RecordingError(f"{files[0]} holds no message about a market: is it a recording of the WebSocket?")
    return index


def _telling(path: Path, on_progress: Callable[[Path, int], None] | None) -> Callable[[int], None] | None:
    return (lambda read: on_progress(path, read)) if on_progress else None


def _note(index: RecordingIndex, frame: RecordedFrame, path: Path) -> None:
    market = index.markets.get(frame.ticker)
    if market is None:
        market = index.markets[frame.ticker] = RecordedMarket(frame.ticker, frame.at_ms)
    market.first_ms, market.last_ms = min(market.first_ms, frame.at_ms), max(market.last_ms, frame.at_ms)
    try:
        body = _BODIES.decode(frame.message)
        market.market_id = market.market_id or body.market_id
        for price in _prices(body):
            market.step = gcd(market.step, fixed(price, "price"))
    except (msgspec.DecodeError, ValueError) as error:
        raise RecordingError(f"{path}: a {frame.type} of {frame.ticker} cannot be served: {error}") from error


def _prices(body: _Body) -> Iterable[str]:
    yield from (price for price in (body.price_dollars, body.yes_price_dollars) if price)
    yield from (price for price, _ in body.yes_dollars_fp + body.no_dollars_fp)


def add_details(index: RecordingIndex, folder: Path) -> None:
    """Take what recorded REST bodies below a folder say about the markets; other files are passed over."""
    for path in sorted(folder.rglob("*.json")):
        try:
            body = msgspec.json.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError):
            continue
        response = body.get("response", body) if isinstance(body, dict) else {}
        listed = response.get("markets") if isinstance(response, dict) else None
        for details in listed if isinstance(listed, list) else ():
            market = index.markets.get(details.get("ticker", ""))
            if market:
                market.details, market.event = details, response.get("event") or {}
    for details in market_objects(folder):
        market = index.markets.get(details.get("ticker", ""))
        if market:
            market.details = details


class RecordedCatalogue(Catalogue):
    """The markets of a recording, as an exchange that lists nothing else."""

    def __init__(self, index: RecordingIndex) -> None:
        super().__init__(0, 0, index.first_ms)
        self._events_of_series: dict[str, list[Event]] = {}
        for market in sorted(index.markets.values(), key=lambda one: (one.first_ms, one.ticker)):
            self._adopt(market)

    def events_of_series(self, ticker: str) -> list[Event]:
        """The events of one series, in order; none for a name that does not exist."""
        return self._events_of_series.get(ticker, [])

    def _adopt(self, recorded: RecordedMarket) -> None:
        event = _event(recorded)
        if event.series_ticker not in self.series:
            category = recorded.event.get("category") or "Recorded"
            series = Series(event.series_ticker, event.series_ticker, category, "custom", recorded.first_ms)
            self.series.append(series.ticker, series)
        if event.ticker not in self.events:
            self.events.append(event.ticker, event)
            self.markets_by_event.append(event.ticker, [])
            self._events_of_series.setdefault(event.series_ticker, []).append(event)
        market = _market(recorded, self.events[event.ticker])
        self.markets.append(market.ticker, market)
        self._ids[market.listing.market_id] = market.ticker
        self.markets_by_event[event.ticker].append(market)


def _event(recorded: RecordedMarket) -> Event:
    ticker = recorded.details.get("event_ticker") or recorded.ticker.rpartition("-")[0] or recorded.ticker
    return Event(
        ticker=ticker,
        series_ticker=recorded.event.get("series_ticker") or ticker.partition("-")[0],
        title=recorded.event.get("title") or ticker,
        sub_title=recorded.event.get("sub_title") or "",
        mutually_exclusive=bool(recorded.event.get("mutually_exclusive")),
        strike_ms=_time(recorded.event, "strike_date", recorded.last_ms),
        created_ms=recorded.first_ms,
    )


def _market(recorded: RecordedMarket, event: Event) -> Market:
    details = recorded.details
    listing = Listing(
        ticker=recorded.ticker,
        event_ticker=event.ticker,
        series_ticker=event.series_ticker,
        market_id=recorded.market_id,
        title=details.get("title") or recorded.ticker,
        yes_sub_title=details.get("yes_sub_title") or recorded.ticker,
        structure=_structure(recorded),
        strike=float(details.get("floor_strike") or 0.0),
        created_ms=_time(details, "created_time", recorded.first_ms),
        expected_expiration_ms=_time(details, "expected_expiration_time", recorded.last_ms),
    )
    close_ms = _time(details, "close_time", recorded.last_ms)
    open_ms = _time(details, "open_time", recorded.first_ms)
    outcome = details.get("result") or ""
    return Market(listing, close_ms, Book, open_ms=open_ms, status=Status.ACTIVE, updated_ms=open_ms, outcome=outcome)


def _time(body: dict[str, Any], name: str, usual: int) -> int:
    text = body.get(name)
    return stamp_ms(text) if text else usual


def _structure(recorded: RecordedMarket) -> PriceStructure:
    """The grid that REST names, else the coarsest on which every recorded price stands."""
    name = recorded.details.get("price_level_structure")
    known = next((one for one in STRUCTURES if one.name == name), None)
    step = gcd(recorded.step, DOLLAR)
    return known or next((one for one in (LINEAR_CENT, DECI_CENT) if step % one.bands[0].step == 0), CENTI_CENT)
