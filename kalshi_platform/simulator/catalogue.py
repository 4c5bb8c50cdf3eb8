"""Everything the exchange lists, by name and in the order of listing, and the invention of more of it.

A market is never forgotten and its place in the order never changes: pages of REST rely on that.
"""

from random import Random
from uuid import UUID

from kalshi_platform.simulator.market import Event, Listing, Market, Series
from kalshi_platform.simulator.prices import DECI_CENT, LINEAR_CENT, TAPERED_DECI_CENT, PriceStructure

_MARKETS_PER_EVENT = 5
_EVENTS_PER_SERIES = 8
_DAY_MS = 86_400_000
_THEMES = (
    ("Rain in millimetres", "Climate and Weather", "daily"),
    ("Closing level of the index", "Financials", "daily"),
    ("Coin price", "Crypto", "hourly"),
    ("Points scored", "Sports", "custom"),
    ("Tickets sold", "Entertainment", "weekly"),
    ("Metal price", "Commodities", "fifteen_min"),
)


class Catalogue:
    """The exchange's series, events and markets."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.series: dict[str, Series] = {}
        self.events: dict[str, Event] = {}
        self.markets: dict[str, Market] = {}
        self.markets_in_order: list[Market] = []
        self.events_in_order: list[Event] = []
        self.markets_by_event: dict[str, list[Market]] = {}

    def list_market(self, now_ms: int) -> tuple[Market, Event | None]:
        """Invent and list one more market.

        Returns:
            The market, not yet open and with an empty book, and its event if that is new too.
        """
        new_event = self._list_event(now_ms) if len(self.markets) % _MARKETS_PER_EVENT == 0 else None
        event = new_event or self.events_in_order[-1]
        market = Market(self._listing(event, now_ms), close_ms=event.strike_ms, updated_ms=now_ms)
        self.markets[market.ticker] = market
        self.markets_in_order.append(market)
        self.markets_by_event[event.ticker].append(market)
        return market, new_event

    def _list_event(self, now_ms: int) -> Event:
        number = len(self.events)
        series = self._series_of_event(number, now_ms)
        event = Event(
            ticker=f"{series.ticker}-E{number:05d}",
            series_ticker=series.ticker,
            title=f"{series.title}, round {number}",
            sub_title=f"Round {number}",
            mutually_exclusive=self._random.random() < 0.3,
            strike_ms=now_ms + _DAY_MS * (1 + int(self._random.random() * 30)),
            created_ms=now_ms,
        )
        self.events[event.ticker] = event
        self.events_in_order.append(event)
        self.markets_by_event[event.ticker] = []
        return event

    def _series_of_event(self, number: int, now_ms: int) -> Series:
        position = number // _EVENTS_PER_SERIES
        ticker = f"KXSIM{position:03d}"
        if ticker not in self.series:
            title, category, frequency = _THEMES[position % len(_THEMES)]
            self.series[ticker] = Series(ticker, title, category, frequency, now_ms)
        return self.series[ticker]

    def _listing(self, event: Event, now_ms: int) -> Listing:
        rung = len(self.markets_by_event[event.ticker]) + 1
        strike = 10.0 * rung + 0.5
        return Listing(
            ticker=f"{event.ticker}-T{strike}",
            event_ticker=event.ticker,
            series_ticker=event.series_ticker,
            market_id=str(UUID(int=self._random.getrandbits(128), version=4)),
            title=f"{event.title}: above {strike}?",
            yes_sub_title=f"Above {strike}",
            structure=self._structure(),
            strike=strike,
            created_ms=now_ms,
            expected_expiration_ms=event.strike_ms + 300_000,
        )

    def _structure(self) -> PriceStructure:
        chance = self._random.random()
        if chance < 0.7:
            return DECI_CENT
        return LINEAR_CENT if chance < 0.9 else TAPERED_DECI_CENT
