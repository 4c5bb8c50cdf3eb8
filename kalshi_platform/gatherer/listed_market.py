"""One market as the registry keeps it, and how REST's words for it are read.

Kept out: what follows from them (`listing`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import IntEnum
from functools import lru_cache
from sys import intern

import msgspec

from kalshi_platform.exchange.rest.objects import PriceRange

GONE = frozenset({"finalized", "settled"})
"""What REST calls a market that is over."""


class State(IntEnum):
    """Where a market is in its life, as far as following it is concerned."""

    UNOPENED = 0
    OPEN = 1
    PAUSED = 2
    CLOSED = 3


STATES: Mapping[str, State] = {
    "initialized": State.UNOPENED, "unopened": State.UNOPENED, "active": State.OPEN, "open": State.OPEN,
    "inactive": State.PAUSED, "paused": State.PAUSED, "closed": State.CLOSED, "determined": State.CLOSED,
    "disputed": State.CLOSED, "amended": State.CLOSED,
}  # fmt: skip
"""By what REST calls it (kalshi-protocol.md §2.4); anything unknown counts as open, so that nothing is missed."""


class ListedMarket(msgspec.Struct, gc=False):
    """One market: a hundred bytes beside its name, because there may be a million.

    Attributes:
        state: Where it is in its life.
        open_s: When it opens, Unix seconds; 0 where nobody said.
        close_s: When it closes; 0 where nobody said, or where it is open although that time has passed.
        volume: Contracts of the last 24 hours, as REST said last.
        shard: The part of the exchange that trades it.
        grid: Its prices, in a word that equal grids share.
        walk: The last walk that saw it.
        is_followed: Whether a connection has it.
    """

    state: State
    open_s: int = 0
    close_s: int = 0
    volume: int = 0
    shard: int = 0
    grid: str = ""
    walk: int = 0
    is_followed: bool = False


@lru_cache(maxsize=65_536)  # the markets of an event share their times, and these integers
def seconds(rfc3339: str | None) -> int:
    """A time of REST as Unix seconds; 0 where there is none, or none that can be read."""
    try:
        return int(datetime.fromisoformat(rfc3339 or "").timestamp())
    except ValueError:
        return 0


def contracts(text: str | None) -> int:
    """Whole contracts of a size as REST writes it; 0 where it writes none."""
    whole = (text or "").partition(".")[0]
    return int(whole) if whole.isdecimal() else 0


def grid(ranges: Iterable[PriceRange | Mapping[str, object]]) -> str:
    """A price grid in one word: its bands; labels come and go (kalshi-protocol.md §4). Few differ."""
    return _word(tuple(_band(one) for one in ranges))


def _band(one: PriceRange | Mapping[str, object]) -> tuple[str, ...]:
    if isinstance(one, PriceRange):
        return one.start, one.end, one.step
    return str(one.get("start")), str(one.get("end")), str(one.get("step"))


@lru_cache(maxsize=1024)
def _word(bands: tuple[tuple[str, ...], ...]) -> str:
    return intern(" ".join("/".join(map(_plain, band)) for band in bands))


def _plain(text: str) -> str:
    """A decimal without the zeros that REST and messages may write differently."""
    return text.rstrip("0").rstrip(".") if "." in text else text
