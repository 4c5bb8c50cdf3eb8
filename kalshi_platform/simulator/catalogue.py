"""Everything the exchange lists, by name and in the order of listing, and the invention of more of it.

The founding markets follow from the seed and their place alone: they are made when somebody looks and forgotten again,
until `touch` says that something will happen to one. What is listed never disappears and never changes its place.
Combos (`KXMVE…`) are among the markets and their events stand apart, as on the exchange.
"""

from collections.abc import Callable
from weakref import WeakValueDictionary

from kalshi_platform.simulator import invention
from kalshi_platform.simulator.market import Event, FeeChange, Market, Series
from kalshi_platform.simulator.shelf import ByTicker, Shelf

MARKETS_PER_EVENT = 5
EVENTS_PER_SERIES = 8
_MAX_DIGITS = 9


class Catalogue:
    """The exchange's series, events and markets.

    Read it by name (`markets`, `events`, `series`: mappings), in order (`markets_in_order`, `events_in_order`:
    sequences, whose positions never change) and by what belongs together (`markets_by_event`, `events_of_series`).
    """

    def __init__(self, seed: int, founders: int, now_ms: int, life_ms: int = 0) -> None:
        self._seed = seed
        self._start_ms = now_ms
        self._life_ms = life_ms
        self._founders = founders
        self._alive: WeakValueDictionary[int, Market] = WeakValueDictionary()
        self._touched: dict[int, Market] = {}
        self._hidden: dict[str, Market] = {}
        self._ids: dict[str, str] = {}
        self._rung = 0
        events = -(-founders // MARKETS_PER_EVENT)
        series = -(-events // EVENTS_PER_SERIES)
        self.founding_markets = founders
        self.founding_events = events
        self.markets_in_order: Shelf[Market] = Shelf(founders, self._founder)
        self.events_in_order: Shelf[Event] = Shelf(events, self._founding_event)
        self._children: Shelf[list[Market]] = Shelf(events, self._founding_children)
        self._series: Shelf[Series] = Shelf(series, self._founding_series)
        self.markets = ByTicker(self.markets_in_order, founders, self._founder_place, self._founder_ticker)
        self.events = ByTicker(self.events_in_order, events, self._event_place, invention.event_ticker)
        self.markets_by_event = ByTicker(self._children, events, self._event_place, invention.event_ticker)
        self.series = ByTicker(self._series, series, self._series_place, invention.series_ticker)
        self.combo_events: dict[str, Event] = {}
        """Events of combos, which `events` and `events_in_order` do not hold; each has one market."""
        self.combos_by_event: dict[str, Market] = {}
        self.fee_changes: list[FeeChange] = []
        """What sockets were told of the fees of events, in that order."""

    def has(self, ticker: str) -> bool:
        """Whether sockets know a market with this name, which is a moment before REST does."""
        return ticker in self._hidden or ticker in self.markets

    def find(self, ticker: str) -> Market:
        """The market that sockets know by this name.

        Raises:
            KeyError: there is none.
        """
        return self._hidden.get(ticker) or self.markets[ticker]

    def ticker_of(self, market_id: str) -> str | None:
        """The name of the market with this UUID, if there is one."""
        later = self._ids.get(market_id)
        place = invention.place_of_id(market_id)
        if later is None and place is not None and place < self._founders:
            founder = self.markets_in_order[place].listing
            return founder.ticker if founder.market_id == market_id else None
        return later

    def touch(self, place: int) -> Market:
        """The founding market at a place, kept from now on because something will happen to it."""
        market = self._touched.get(place)
        if market is None:
            market = self._touched[place] = self._founder(place)
        return market

    @property
    def first_closing_ms(self) -> int:
        """Before this, no founding market closes by the clock."""
        return self._start_ms + invention.shortest_life_ms(self._start_ms, self._life_ms)

    def founding_closings(self) -> list[tuple[int, int]]:
        """When the markets of which founding event close: time in milliseconds and the event's number, in order."""
        names = map(invention.event_ticker, range(self.founding_events))
        return sorted(
            (invention.strike_ms(self._seed, name, self._start_ms, self._life_ms), number)
            for number, name in enumerate(names)
        )

    def places_of_event(self, number: int) -> range:
        """Where the markets of a founding event stand."""
        first = number * MARKETS_PER_EVENT
        return range(first, min(first + MARKETS_PER_EVENT, self.founding_markets))

    def kept(self, place: int) -> Market | None:
        """The founding market at a place, if something ever happened to it."""
        return self._touched.get(place)

    def touched(self) -> int:
        """How many founding markets are kept."""
        return len(self._touched)

    def events_of_series(self, ticker: str) -> list[Event]:
        """The events of one series, in order; none for a name that does not exist."""
        place = self.series.place(ticker)
        if place is None:
            return []
        first = place * EVENTS_PER_SERIES
        return self.events_in_order[first : first + EVENTS_PER_SERIES]

    def compose_market(self, now_ms: int) -> tuple[Market, Event | None]:
        """Invent one more market, which `publish` will show to REST.

        Returns:
            The market, not yet open, and its event if that is new too.
        """
        is_over = self._rung > 0 and self.events_in_order[-1].strike_ms <= now_ms
        rung = 0 if is_over else self._rung
        self._rung = (rung + 1) % MARKETS_PER_EVENT
        new_event = None if rung else self._begin_event(now_ms)
        event = new_event or self.events_in_order[-1]
        place = len(self.markets_in_order) + len(self._hidden)
        market = invention.market(self._seed, event, rung, now_ms, place)
        self._hidden[market.ticker] = market
        self._ids[market.listing.market_id] = market.ticker
        return market, new_event

    def publish(self, market: Market) -> None:
        """Show a composed market to REST."""
        del self._hidden[market.ticker]
        self.markets.append(market.ticker, market)
        self.markets_by_event[market.listing.event_ticker].append(market)

    def list_combo(self, now_ms: int) -> tuple[Market, Event]:
        """Invent and list one more combo: a market of its own event, whose legs are two founding markets."""
        number = len(self.combo_events)
        if invention.COMBO_SERIES not in self.series:
            self.series.append(invention.COMBO_SERIES, invention.combo_series(now_ms))
        event = invention.combo_event(self._seed, number, now_ms, self._life_ms)
        legs = [self.markets_in_order[(2 * number + step) % self._founders].listing for step in (0, 1)]
        market = invention.combo(self._seed, event, legs, now_ms, len(self.markets_in_order) + len(self._hidden))
        self.combo_events[event.ticker] = event
        self.combos_by_event[event.ticker] = market
        self._ids[market.listing.market_id] = market.ticker
        self.markets.append(market.ticker, market)
        return market, event

    def event_of(self, market: Market) -> Event:
        """The event of a market, a combo's included."""
        ticker = market.listing.event_ticker
        return self.combo_events[ticker] if ticker in self.combo_events else self.events[ticker]

    def _begin_event(self, now_ms: int) -> Event:
        number = len(self.events_in_order)
        place = number // EVENTS_PER_SERIES
        if invention.series_ticker(place) not in self.series:
            self.series.append(invention.series_ticker(place), invention.series(place, now_ms))
        event = invention.event(self._seed, number, now_ms, self._life_ms)
        self.events.append(event.ticker, event)
        self.markets_by_event.append(event.ticker, [])
        return event

    def _founder(self, place: int) -> Market:
        market = self._alive.get(place)
        if market is None:
            number, rung = divmod(place, MARKETS_PER_EVENT)
            market = invention.market(self._seed, self._founding_event(number), rung, self._start_ms, place)
            market.open(self._start_ms)
            self._alive[place] = market
        return market

    def _founding_event(self, number: int) -> Event:
        return invention.event(self._seed, number, self._start_ms, self._life_ms)

    def _founding_series(self, place: int) -> Series:
        return invention.series(place, self._start_ms)

    def _founding_children(self, number: int) -> list[Market]:
        return [self._founder(place) for place in self.places_of_event(number)]

    def _founder_ticker(self, place: int) -> str:
        number, rung = divmod(place, MARKETS_PER_EVENT)
        return invention.market_ticker(invention.event_ticker(number), rung)

    def _founder_place(self, ticker: str) -> int | None:
        event, _, strike = ticker.rpartition("-T")
        number = self._event_place(event)
        if number is None:
            return None
        places = self.places_of_event(number)
        return next((place for place in places if invention.strike_text(place - places.start) == strike), None)

    def _event_place(self, ticker: str) -> int | None:
        return _number(ticker.rpartition("-E")[2], ticker, self.founding_events, invention.event_ticker)

    def _series_place(self, ticker: str) -> int | None:
        series = -(-self.founding_events // EVENTS_PER_SERIES)
        return _number(ticker.removeprefix("KXSIM"), ticker, series, invention.series_ticker)


def _number(digits: str, ticker: str, below: int, write: Callable[[int], str]) -> int | None:
    """Read a founder's number back out of its name; None where no founder has that name."""
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > _MAX_DIGITS:
        return None
    number = int(digits)
    return number if number < below and write(number) == ticker else None
