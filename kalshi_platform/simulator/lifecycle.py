"""How markets come, change and go, and what is said about it (protocol §3.5); trading is `exchange`'s business.

Every change of a book but the emptying at a close is published as ordinary deltas, so books stay exact throughout.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Protocol

from kalshi_platform.simulator import invention, wire
from kalshi_platform.simulator.agenda import Action, Agenda, Timetable
from kalshi_platform.simulator.book import Side
from kalshi_platform.simulator.catalogue import Catalogue
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.market import FeeChange, Market, Status
from kalshi_platform.simulator.options import SimulatorOptions
from kalshi_platform.simulator.order_flow import Delta
from kalshi_platform.simulator.prices import STRUCTURES, PriceStructure

_DETERMINE_SECONDS = 1.0
_SETTLE_SECONDS = 2.0
_OPEN_SECONDS = 0.5
_PAUSE_SECONDS = 1.0
_HOUR_MS = 3_600_000
_STRIKE_STEP = 0.25
_EVENTS_AT_ONCE = 200
_TRADED = (Status.ACTIVE, Status.INACTIVE)

Later = Callable[[float, Action], None]
"""Does something so many seconds later."""


class Floor(Protocol):
    """The trading that a life goes through."""

    def admit(self, market: Market) -> None:
        """Let a market trade."""

    def pick(self) -> Market | None:
        """Some market that trades."""

    def retire(self) -> Market | None:
        """Some market that trades no more; None if it is the last."""

    def touch(self, member: Market | int) -> Market:
        """The market, or the founder at this place, because something happens to it."""

    def change(self, market: Market, deltas: Iterable[Delta], ts_ms: int) -> None:
        """Change a book and say so."""

    def quote(self, market: Market, ts_ms: int) -> int:
        """Say the best prices if they changed."""


class Lifecycle:
    """The comings and goings."""

    def __init__(
        self,
        options: SimulatorOptions,
        random: Random,
        catalogue: Catalogue,
        hub: Hub,
        ledger: Ledger,
        agenda: Agenda,
        timetable: Timetable,
        floor: Floor,
    ) -> None:
        self._options = options
        self._random = random
        self._catalogue = catalogue
        self._hub = hub
        self._ledger = ledger
        self._agenda = agenda
        self._timetable = timetable
        self._floor = floor
        self._changes: tuple[Callable[[Market, int], None], ...] = (
            self._deactivate,
            self._move_close,
            self._restructure,
            self._rename,
            self._change_fee,
        )

    def plan(self) -> None:
        """Plan everything that the options ask for."""
        self._agenda.plan(self._options.new_market_seconds, self._list_market)
        self._agenda.plan(self._options.close_market_seconds, self._close_market)
        self._agenda.plan(self._options.new_combo_seconds, self._list_combo)
        self._agenda.plan(self._options.change_market_seconds, self._change_market)
        self._timetable.at(self._catalogue.first_closing_ms, self._plan_closings)

    def _plan_closings(self, ts_ms: int) -> None:
        """Look up when the founders close, which for a million of them takes a moment: not before the first does."""
        closings = deque(self._catalogue.founding_closings())
        self._close_founders(closings, ts_ms)

    def _close_founders(self, closings: deque[tuple[int, int]], ts_ms: int) -> None:
        """Close what is due, a portion each millisecond, and come back for the rest."""
        for _ in range(_EVENTS_AT_ONCE):
            if not closings or closings[0][0] > ts_ms:
                break
            _, number = closings.popleft()
            for place in self._catalogue.places_of_event(number):
                self._close_by_clock(self._floor.touch(place), ts_ms)
        if closings:
            self._timetable.at(max(closings[0][0], ts_ms + 1), lambda later: self._close_founders(closings, later))

    def _close_by_clock(self, market: Market, ts_ms: int) -> None:
        """Close a market whose time has come, unless it closed before or closes later than it was listed for."""
        if market.close_ms > ts_ms:
            self._timetable.at(market.close_ms, lambda later: self._close_by_clock(market, later))
        elif market.status in _TRADED:
            market.outcome = invention.outcome(self._options.seed, market.ticker)
            self._close(market, ts_ms, lambda seconds, action: self._timetable.at(ts_ms + int(seconds * 1000), action))

    def _expire(self, market: Market) -> None:
        self._timetable.at(market.close_ms, lambda later: self._close_by_clock(market, later))

    def _say(self, market: Market, text: str) -> None:
        self._hub.lifecycle(wire.LIFECYCLE_KINDS[market.listing.is_combo], text, of_combo=market.listing.is_combo)

    def _list_market(self, ts_ms: int) -> None:
        market, event = self._catalogue.compose_market(ts_ms)
        if event:
            self._hub.lifecycle(b"event_lifecycle", wire.event_created(event), of_combo=False)
        is_silent = self._random.random() < self._options.silent_share
        if is_silent:
            market.open_ms = ts_ms + int(_OPEN_SECONDS * 1000)
        self._say(market, wire.created(market, self._catalogue.event_of(market)))
        if self._options.rest_delay_seconds:
            self._agenda.once(self._options.rest_delay_seconds, lambda _: self._catalogue.publish(market))
        else:
            self._catalogue.publish(market)
        if is_silent:
            self._agenda.once(_OPEN_SECONDS, lambda later: self._open_silently(market, later))
        else:
            self._open(market, ts_ms)

    def _list_combo(self, ts_ms: int) -> None:
        market, event = self._catalogue.list_combo(ts_ms)
        self._hub.lifecycle(b"event_lifecycle", wire.event_created(event), of_combo=True)
        self._say(market, wire.created(market, event))
        self._open(market, ts_ms)

    def found_combo(self, ts_ms: int) -> Market:
        """List and open a combo without a word: it was there before anybody listened."""
        market, _ = self._catalogue.list_combo(ts_ms)
        market.open(ts_ms)
        self._expire(market)
        return market

    def _open(self, market: Market, ts_ms: int) -> None:
        market.open(ts_ms)
        self._floor.admit(market)
        self._expire(market)
        self._say(market, wire.activated(market.ticker))

    def _open_silently(self, market: Market, ts_ms: int) -> None:
        """Nothing says that the opening time has come, and the book starts empty."""
        market.status, market.open_ms, market.updated_ms = Status.ACTIVE, ts_ms, ts_ms
        self._floor.admit(market)
        self._expire(market)

    def _close_market(self, ts_ms: int) -> None:
        """Close some market before its time. The last one stays open."""
        market = self._floor.retire()
        if market is not None and market.status in _TRADED:
            market.close_ms = ts_ms
            self._close(market, ts_ms, self._agenda.once)

    def _close(self, market: Market, ts_ms: int, after: Later) -> None:
        """Take no more orders: no message says so, but the book is sent once more, empty."""
        market.status, market.updated_ms = Status.CLOSED, ts_ms
        market.book.clear()
        self._ledger.book(ts_ms, market.ticker, market.book)
        self._hub.snapshot(market)
        self._floor.quote(market, ts_ms)
        after(_DETERMINE_SECONDS, lambda later: self._determine(market, later, after))

    def _determine(self, market: Market, ts_ms: int, after: Later) -> None:
        market.status, market.updated_ms = Status.DETERMINED, ts_ms
        market.result = market.outcome or ("yes" if self._random.random() < 0.5 else "no")
        self._say(market, wire.determined(market, ts_ms))
        after(_SETTLE_SECONDS - _DETERMINE_SECONDS, lambda later: self._settle(market, later))

    def _settle(self, market: Market, ts_ms: int) -> None:
        market.status, market.updated_ms, market.settled_ms = Status.FINALIZED, ts_ms, ts_ms
        self._say(market, wire.settled(market))

    def _change_market(self, ts_ms: int) -> None:
        """One of the rarer things in a market's life."""
        market = self._floor.pick()
        if market is not None and market.status is Status.ACTIVE:
            market.updated_ms = ts_ms
            self._changes[int(self._random.random() * len(self._changes))](market, ts_ms)

    def _deactivate(self, market: Market, _: int) -> None:
        market.status = Status.INACTIVE
        self._say(market, wire.activated(market.ticker, is_deactivated=True))
        self._agenda.once(_PAUSE_SECONDS, lambda later: self._reactivate(market, later))

    def _reactivate(self, market: Market, ts_ms: int) -> None:
        """Every resting order was cancelled when a paused market trades again."""
        if market.status is not Status.INACTIVE:
            return
        wiped = [Delta(side, price, -size) for side in _SIDES for price, size in market.book.ladder(side)]
        self._floor.change(market, wiped, ts_ms)
        market.status, market.updated_ms = Status.ACTIVE, ts_ms
        self._say(market, wire.activated(market.ticker))

    def _move_close(self, market: Market, _: int) -> None:
        market.close_ms += _HOUR_MS
        self._say(market, wire.close_date_updated(market))

    def _restructure(self, market: Market, ts_ms: int) -> None:
        """Another grid: orders that do not stand on it move to the next price below, by ordinary deltas."""
        others = [one for one in STRUCTURES if one is not market.structure]
        market.structure = others[int(self._random.random() * len(others))]
        self._say(market, wire.restructured(market))
        self._floor.change(market, list(_moves(market, market.structure)), ts_ms)

    def _rename(self, market: Market, _: int) -> None:
        """The strike moves, and what the market is called with it."""
        listing = market.listing
        if not listing.is_combo:
            strike = listing.strike + _STRIKE_STEP
            market.listing = replace(listing, strike=strike, yes_sub_title=f"Above {strike}")
            self._say(market, wire.metadata_updated(market))

    def _change_fee(self, market: Market, ts_ms: int) -> None:
        if market.listing.is_combo:
            return
        change = FeeChange(self._catalogue.event_of(market), "quadratic", 0.5, ts_ms)
        self._catalogue.fee_changes.append(change)
        self._hub.lifecycle(b"event_fee_update", wire.fee_updated(change), of_combo=False)


_SIDES: tuple[Side, ...] = ("yes", "no")


def _moves(market: Market, structure: PriceStructure) -> Iterable[Delta]:
    """Take each order off the prices that are none any more, and put it down below, if there is a price below."""
    for side in _SIDES:
        for price, size in market.book.ladder(side):
            if price not in structure.index:
                yield Delta(side, price, -size)
                lower = max((one for one in structure.prices if one < price), default=0)
                if lower:
                    yield Delta(side, lower, size)
