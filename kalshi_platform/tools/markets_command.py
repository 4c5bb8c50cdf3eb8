"""`kalshi-platform markets`: a walk over the exchange's list of markets, to a terminal, a pipe or a file.

Memory holds one page. A walk into a file can be killed at any moment: the same command goes on behind the last whole
page. Kept out: what a market is (exchange), and following markets (gatherer).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import IO, Self

import msgspec
from rich.console import Console

from kalshi_platform.core.errors import ConfigurationError, ExchangeUnavailable
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.filters import MarketFilters, MarketStatus
from kalshi_platform.exchange.rest.objects import Market
from kalshi_platform.exchange.rest.pages import PatientPages, Progress, Walk
from kalshi_platform.exchange.rest.progress import walk_bar
from kalshi_platform.exchange.rest.records import to_raw
from kalshi_platform.service.retry import backoff
from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.credentials import signer_of

_encoder = msgspec.json.Encoder(decimal_format="number")
_COLUMNS = "{:<44} {:<11} {:>7} {:>7} {:>7} {:>15} {:<17} {}\n"
_NARROW = "{0:<30} {2:>7} {3:>7} {4:>7} {5:>11} {6:<11}\n"
"""For a terminal in which the other layout would wrap: without status, title and year."""

_WIDE = 130
_HEADINGS = ("ticker", "status", "bid", "ask", "last", "volume 24h", "closes (UTC)", "title")


def wanted(status: MarketStatus, series: str | None, event: str | None, *, combos: bool) -> MarketFilters:
    """The filters that a person means: without combos, unless asked for or named by their series or event."""
    return MarketFilters(
        status=None if status is MarketStatus.ALL else status.value,
        series_ticker=series,
        event_ticker=event,
        mve_filter=None if combos or series or event else "exclude",
    )


async def list_markets(
    settings: Settings, filters: MarketFilters, output: Path | None, patience: float, *, as_json: bool
) -> None:
    """Walk, and write every market to standard output or a file.

    Args:
        settings: Where the exchange is; with a key the walk is signed, fresh and paid for.
        filters: Which markets.
        output: A file for NDJSON; else standard output.
        patience: Seconds that an outage may last.
        as_json: NDJSON on standard output instead of a table.

    Raises:
        ConfigurationError: The file or the key cannot be used.
        ExchangeUnavailable: Patience ran out.
    """
    console = Console(stderr=True)
    with _target(output, filters, as_json=as_json) as target:
        async with RestClient(settings.rest_url, signer_of(settings)) as client:
            with walk_bar("markets", console=console, begun=target.rows) as show:
                walk = Walk(cursor=target.cursor, on_progress=_both(target.note, show))
                trouble = _Trouble(patience, console)
                pages = PatientPages(
                    lambda one: client.markets(filters, one), walk, trouble.waits, on_trouble=trouble.tell
                )
                async for rows in pages.pages():
                    target.write(rows)
                    trouble.is_over()
        target.finish()


def _both(first: Callable[[Progress], None], second: Callable[[Progress], None]) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        first(progress)
        second(progress)

    return tell


class _Trouble:
    """How long an outage is borne; before the first page it is not: then the address is more likely wrong."""

    def __init__(self, patience: float, console: Console) -> None:
        self._patience = patience
        self._console = console
        self._has_begun = False

    def is_over(self) -> None:
        """A page came."""
        self._has_begun = True

    def waits(self) -> Iterator[float]:
        """Seconds to wait, in all as many as patience allows."""
        left = self._patience if self._has_begun else 0.0
        for wait in backoff(Random(), longest=30.0):  # noqa: S311 - spreads clients, guards nothing
            if left <= 0:
                return
            yield min(wait, left)
            left -= wait

    def tell(self, error: ExchangeUnavailable, wait: float) -> None:
        """Say so, beside the bar."""
        text = f"{error}; trying again in {wait:.1f} s"
        self._console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _target(output: Path | None, filters: MarketFilters, *, as_json: bool) -> "_Stream | _File":
    return _Stream(sys.stdout, as_json=as_json) if output is None else _File(output, repr(filters))


class _Stream:
    """Standard output: lines as they come."""

    rows = 0
    cursor: str | None = None

    def __init__(self, stream: IO[str], *, as_json: bool) -> None:
        self._stream = stream
        self._as_json = as_json
        self._is_narrow = stream.isatty() and Console(file=stream).width < _WIDE

    def __enter__(self) -> Self:
        if not self._as_json:
            self._stream.write(_laid_out(_HEADINGS, is_narrow=self._is_narrow))
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def write(self, markets: Sequence[Market]) -> None:
        """A page."""
        lines = (_laid_out(_cells(one), is_narrow=self._is_narrow) for one in markets)
        self._stream.write(_ndjson(markets).decode() if self._as_json else "".join(lines))
        self._stream.flush()

    def note(self, progress: Progress) -> None:
        """Nothing to keep: what was printed is printed."""

    def finish(self) -> None:
        """Nothing to do."""


class _Saved(msgspec.Struct, frozen=True):
    """How far a walk into a file came: so many bytes are whole pages, and the next one begins at the cursor."""

    filters: str
    size: int
    rows: int
    cursor: str | None


class _File:
    """A file that has its name once it is whole; until then `.part`, and beside it `.walk`, which says how far it is.

    Raises:
        ConfigurationError: It cannot be written, or was begun by a walk with other filters.
    """

    def __init__(self, path: Path, filters: str) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._walk = path.with_name(path.name + ".walk")
        self._filters = filters
        saved = self._read()
        self.rows = self._begun = saved.rows
        self.cursor = saved.cursor
        try:
            self._file = self._part.open("r+b" if saved.size else "wb")
            self._file.truncate(saved.size)
            self._file.seek(saved.size)
        except OSError as error:
            raise ConfigurationError(f"cannot write {self._part}: {error.strerror}; name another --output") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, markets: Sequence[Market]) -> None:
        """A page."""
        self._file.write(_ndjson(markets))

    def note(self, progress: Progress) -> None:
        """The page is whole: from here on a killed walk goes on behind it."""
        self._file.flush()
        self.rows = self._begun + progress.rows
        saved = _Saved(self._filters, self._file.tell(), self.rows, progress.cursor)
        unfinished = self._walk.with_name(self._walk.name + ".part")
        unfinished.write_bytes(msgspec.json.encode(saved))
        unfinished.replace(self._walk)

    def finish(self) -> None:
        """All is there."""
        self._file.close()
        self._part.replace(self._path)
        self._walk.unlink(missing_ok=True)

    def _read(self) -> _Saved:
        nothing = _Saved(self._filters, 0, 0, None)
        if not (self._walk.is_file() and self._part.is_file()):
            return nothing
        try:
            saved = msgspec.json.decode(self._walk.read_bytes(), type=_Saved)
        except msgspec.DecodeError:
            return nothing
        if saved.filters != self._filters:
            raise ConfigurationError(
                f"{self._part} was begun with other filters: repeat those to go on, or remove it to begin anew"
            )
        return saved if self._part.stat().st_size >= saved.size else nothing


def _ndjson(markets: Sequence[Market]) -> bytes:
    return _encoder.encode_lines([to_raw(one) for one in markets])


def _laid_out(cells: Sequence[str], *, is_narrow: bool) -> str:
    if not is_narrow:
        return _COLUMNS.format(*cells)
    ticker, closes = cells[0], cells[6]
    short = ticker if len(ticker) <= 30 else f"{ticker[:29]}…"
    return _NARROW.format(short, *cells[1:6], closes[5:] if closes[:1].isdigit() else "closes")


def _cells(market: Market) -> Sequence[str]:
    return (
        market.ticker,
        market.status,
        market.yes_bid_dollars or "",
        market.yes_ask_dollars or "",
        market.last_price_dollars or "",
        market.volume_24h_fp or "",
        (market.close_time or "")[:16].replace("T", " "),
        market.title or "",
    )
