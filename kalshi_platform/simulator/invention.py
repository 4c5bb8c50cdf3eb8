"""Series, events and markets worked out of a seed and a number: the same ones each time, none of them kept.

Pure functions. What is listed when, and under which number, is `catalogue`'s business.
"""

from functools import lru_cache, partial
from hashlib import blake2b
from random import Random
from uuid import UUID

from kalshi_platform.simulator.book import Book, Side
from kalshi_platform.simulator.market import Event, Leg, Listing, Market, Series
from kalshi_platform.simulator.order_flow import OrderFlow
from kalshi_platform.simulator.prices import COMBO_STRUCTURE, STRUCTURE_MIX, PriceStructure

COMBO_SERIES = "KXMVESIM"
COMBO_COLLECTION = "KXMVESIM-R"

_DAY_MS = 86_400_000
_QUARTER_MS = 900_000
_PLACE_BITS = 48
_THEMES = (
    ("Rain in millimetres", "Climate and Weather", "daily"),
    ("Closing level of the index", "Financials", "daily"),
    ("Coin price", "Crypto", "hourly"),
    ("Points scored", "Sports", "custom"),
    ("Tickets sold", "Entertainment", "weekly"),
    ("Metal price", "Commodities", "fifteen_min"),
)


def series_ticker(place: int) -> str:
    """The name of a series."""
    return f"KXSIM{place:03d}"


def event_ticker(number: int) -> str:
    """The name of an event; eight of them make a series."""
    return f"{series_ticker(number // 8)}-E{number:05d}"


def strike_text(rung: int) -> str:
    """What a market of an event is about, in its name."""
    return f"{10 * (rung + 1)}.5"


def market_ticker(event: str, rung: int) -> str:
    """The name of a market."""
    return f"{event}-T{strike_text(rung)}"


def series(place: int, now_ms: int) -> Series:
    """A family of events."""
    title, category, frequency = _THEMES[place % len(_THEMES)]
    return Series(series_ticker(place), title, category, frequency, now_ms)


def strike_ms(seed: int, ticker: str, now_ms: int, life_ms: int, usual_days: int = 30) -> int:
    """When an event is decided and its markets close: a whole number of days from now, or a quarter of an hour.

    Args:
        seed: Of the exchange.
        ticker: The event.
        now_ms: When it is listed.
        life_ms: The longest that markets live, at least a quarter of an hour; 0 is `usual_days`.
        usual_days: The longest where nothing else was asked for.
    """
    chance = _draw(seed, ticker) // 10
    if not life_ms:
        return now_ms + _DAY_MS * (1 + chance % usual_days)
    quarters = max(1, life_ms // _QUARTER_MS)
    return now_ms - now_ms % _QUARTER_MS + _QUARTER_MS * (1 + chance % quarters)


def shortest_life_ms(now_ms: int, life_ms: int) -> int:
    """How long every market of the first moment lives at least; see `strike_ms`."""
    return _QUARTER_MS - now_ms % _QUARTER_MS if life_ms else _DAY_MS


@lru_cache(maxsize=1024)
def event(seed: int, number: int, now_ms: int, life_ms: int = 0) -> Event:
    """Something that will happen within thirty days, or within the life that markets are given."""
    ticker = event_ticker(number)
    chance = _draw(seed, ticker)
    title = _THEMES[number // 8 % len(_THEMES)][0]
    return Event(
        ticker=ticker,
        series_ticker=series_ticker(number // 8),
        title=f"{title}, round {number}",
        sub_title=f"Round {number}",
        mutually_exclusive=chance % 10 < 3,
        strike_ms=strike_ms(seed, ticker, now_ms, life_ms),
        created_ms=now_ms,
    )


def market(seed: int, parent: Event, rung: int, now_ms: int, place: int) -> Market:
    """A market that is not open yet; its opening book is made when somebody looks at it.

    Args:
        seed: Of the exchange.
        parent: Its event.
        rung: Which of the event's markets.
        now_ms: When it is listed.
        place: Where it stands in the order of listing; its UUID tells that to who knows the seed.
    """
    ticker = market_ticker(parent.ticker, rung)
    chance = _draw(seed, ticker)
    strike = float(strike_text(rung))
    structure = _structure(chance & 0xFFFF)
    listing = Listing(
        ticker=ticker,
        event_ticker=parent.ticker,
        series_ticker=parent.series_ticker,
        market_id=_market_id(chance, place),
        title=f"{parent.title}: above {strike}?",
        yes_sub_title=f"Above {strike}",
        structure=structure,
        strike=strike,
        created_ms=now_ms,
        expected_expiration_ms=parent.strike_ms + 300_000,
    )
    opening = partial(_opening_book, chance >> 144, structure)
    return Market(listing, parent.strike_ms, opening, open_ms=now_ms, updated_ms=now_ms)


def combo_series(now_ms: int) -> Series:
    """The series of all combos."""
    return Series(COMBO_SERIES, "Several outcomes at once", "Sports", "custom", now_ms)


def combo_event(seed: int, number: int, now_ms: int, life_ms: int = 0) -> Event:
    """The event of one combo."""
    ticker = f"{COMBO_SERIES}-S{number:05d}"
    decided_ms = strike_ms(seed, ticker, now_ms, life_ms, usual_days=3)
    return Event(
        ticker, COMBO_SERIES, f"Combo {number}", "", mutually_exclusive=False, strike_ms=decided_ms, created_ms=now_ms
    )


def combo(seed: int, parent: Event, legs: list[Listing], now_ms: int, place: int) -> Market:
    """A market on several outcomes at once; it trades on the grid that all combos have had since September 2026."""
    chance = _draw(seed, parent.ticker)
    ticker = f"{parent.ticker}-{chance & 0xFFFFFFFF:08X}"
    listing = Listing(
        ticker=ticker,
        event_ticker=parent.ticker,
        series_ticker=parent.series_ticker,
        market_id=_market_id(chance, place),
        title=", ".join(f"yes {leg.yes_sub_title}" for leg in legs),
        yes_sub_title=", ".join(f"yes {leg.yes_sub_title}" for leg in legs),
        structure=COMBO_STRUCTURE,
        strike=0.0,
        created_ms=now_ms,
        expected_expiration_ms=parent.strike_ms + 300_000,
        collection=COMBO_COLLECTION,
        legs=tuple(Leg(leg.event_ticker, leg.ticker, "yes") for leg in legs),
    )
    opening = partial(_opening_book, chance >> 144, COMBO_STRUCTURE)
    return Market(listing, parent.strike_ms, opening, open_ms=now_ms, updated_ms=now_ms)


def outcome(seed: int, ticker: str) -> Side:
    """How a market ends that ends by the clock."""
    return "yes" if _draw(seed, ticker) & 1 else "no"


def _draw(seed: int, name: str) -> int:
    """256 random bits that belong to this name."""
    return int.from_bytes(blake2b(f"{seed}:{name}".encode(), digest_size=32).digest())


def place_of_id(market_id: str) -> int | None:
    """Where the market with this UUID would stand in the order of listing; None where the text is no UUID."""
    try:
        return UUID(market_id).int & (1 << _PLACE_BITS) - 1
    except ValueError:
        return None


def _market_id(chance: int, place: int) -> str:
    bits = chance >> 16 & (1 << 128) - 1
    return str(UUID(int=bits >> _PLACE_BITS << _PLACE_BITS | place, version=4))


def _structure(chance: int) -> PriceStructure:
    share = chance / 0x10000
    for structure, part in STRUCTURE_MIX:
        share -= part
        if share < 0:
            return structure
    return STRUCTURE_MIX[0][0]


def _opening_book(key: int, structure: PriceStructure) -> Book:
    book = Book()
    OrderFlow(Random(key)).open_book(book, structure)  # noqa: S311 - repeatable books, nothing secret
    return book
