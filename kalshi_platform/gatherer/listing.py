"""Which markets there are and which of them to follow: pages of REST, lifecycle messages and the clock as one picture.

Pure: facts and times go in, changes come out. A message outweighs a page that was asked for before it came, or soon
after, since REST may lag. Opening and closing send no message (kalshi-pitfalls.md 32): the clock does both. Kept out:
REST itself, connections.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from kalshi_platform.core.messages import LifecycleBody
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.rest.objects import Market
from kalshi_platform.gatherer.listed_market import GONE, STATES, ListedMarket, State, contracts, grid, seconds
from kalshi_platform.gatherer.timetable import Timetable

REST_LAG_US = 20 * SECOND
"""REST may show the state of so long ago: 15 s from a cache (kalshi-pitfalls.md 43), and some reserve."""

OPENING_LEAD_S = 3_600
"""A market is followed from so long before its opening; before that nothing can happen to it."""

CLOSING_LINGER_S = 900
"""A closed market is followed for so much longer: it may be opened again, and what empties its book is on the way."""

CLOSING_GRACE_S = 60
"""For so long after a closing REST may still call the market active; later it is believed."""

REST_BLIND_US = 600 * SECOND
"""`created` may come before REST knows the market (kalshi-pitfalls.md 33): for so long its absence means nothing."""

_MESSAGES_KEPT_US = 900 * SECOND


class Changes(NamedTuple):
    """What follows.

    Attributes:
        follow: Markets to follow, the most active first.
        leave: Markets that are over.
        restructured: Markets that trade on another grid.
        displaced: Markets to leave although they go on, because busier ones need their room.
    """

    follow: Sequence[str] = ()
    leave: Sequence[str] = ()
    restructured: Sequence[str] = ()
    displaced: Sequence[str] = ()


class Listing:
    """Every market that is followed or will be."""

    def __init__(self) -> None:
        self._markets: dict[str, ListedMarket] = {}
        self._heard: dict[str, int] = {}
        self._homeless: set[str] = set()
        self._timetable = Timetable()
        self._walk = 0
        self._walk_began_us = 0

    def __len__(self) -> int:
        return len(self._markets)

    def get(self, ticker: str) -> ListedMarket | None:
        """A market, if it is known."""
        return self._markets.get(ticker)

    def activity(self, ticker: str) -> int:
        """Contracts traded in 24 hours, as REST said last; 0 for strangers."""
        market = self._markets.get(ticker)
        return market.volume if market else 0

    def counts(self) -> dict[State, int]:
        """Known markets by state."""
        found = dict.fromkeys(State, 0)
        for market in self._markets.values():
            found[market.state] += 1
        return found

    def share(self, shards: Set[int]) -> float:
        """How much of what is followed is traded on these shards of the exchange, 0 to 1, by volume."""
        whole = part = 0
        for market in self._markets.values():
            if market.is_followed:
                weight = market.volume + 1
                whole += weight
                part += weight if market.shard in shards else 0
        return part / whole if whole else 0.0

    def followed(self) -> list[str]:
        """Markets that connections have, the most active first; those within a factor of two in no order.

        Sorting a million exactly would hold up the stream for a second.
        """
        classes: dict[int, list[str]] = {}
        for ticker, market in self._markets.items():
            if market.is_followed:
                classes.setdefault(market.volume.bit_length(), []).append(ticker)
        return [ticker for size in sorted(classes, reverse=True) for ticker in classes[size]]

    def begin_walk(self, now_us: int) -> None:
        """REST is asked for everything from now on."""
        self._walk += 1
        self._walk_began_us = now_us

    def take(self, page: Iterable[Market], asked_us: int, now_us: int) -> Changes:
        """Believe a page of REST, except of markets that were heard of since it was asked for.

        Args:
            page: Markets.
            asked_us: When the request was sent.
            now_us: The time.
        """
        touched: list[str] = []
        leave: list[str] = []
        restructured: list[str] = []
        for row in page:
            market = self._markets.get(row.ticker)
            if market is not None:
                market.walk = self._walk
            if self._heard.get(row.ticker, -REST_LAG_US) > asked_us - REST_LAG_US:
                continue
            if row.status in GONE:
                leave += self._forget(row.ticker)
            elif self._learn(row, market, now_us // SECOND):
                restructured.append(row.ticker)
            touched.append(row.ticker)
        changes = self._settled(touched, now_us // SECOND)
        return Changes(changes.follow, [*leave, *changes.leave], restructured)

    def hear(self, body: LifecycleBody, now_us: int) -> Changes:
        """Believe a lifecycle message.

        Args:
            body: What it says.
            now_us: The time.
        """
        ticker, now_s = body.market_ticker, now_us // SECOND
        if body.event_type in _UNHEARD:
            return Changes()
        market = self._markets.get(ticker)
        if body.event_type == "settled":
            self._heard[ticker] = now_us
            return Changes(leave=self._forget(ticker))
        if market is None and body.event_type not in _ARRIVALS:
            return Changes()
        self._heard[ticker] = now_us
        if market is None:
            market = self._markets[ticker] = ListedMarket(State.UNOPENED, walk=self._walk)
        is_restructured = self._apply(body, market, now_s)
        changes = self._settled([ticker], now_s)
        return Changes(changes.follow, changes.leave, [ticker] if is_restructured else ())

    def tick(self, now_us: int) -> Changes:
        """Let the clock open, close, follow and leave."""
        now_s = now_us // SECOND
        return self._settled(list(dict.fromkeys(self._timetable.due(now_s))), now_s)

    def end_walk(self, now_us: int) -> list[str]:
        """Known markets that the walk did not see and no message explains: REST is to be asked for them by name."""
        unseen = [
            ticker
            for ticker, market in self._markets.items()
            if market.walk != self._walk and not self._is_news(ticker, now_us)
        ]
        oldest = now_us - _MESSAGES_KEPT_US
        self._heard = {ticker: heard_us for ticker, heard_us in self._heard.items() if heard_us > oldest}
        return unseen

    def vanished(self, tickers: Iterable[str]) -> Changes:
        """REST knows these no more: archived, or a combo that nobody traded (kalshi-pitfalls.md 37)."""
        return Changes(leave=[one for ticker in tickers for one in self._forget(ticker)])

    def homeless(self, tickers: Iterable[str]) -> None:
        """No connection had room for these; `offers` names them again."""
        known = [ticker for ticker in tickers if ticker in self._markets]
        self._mark(known, is_followed=False)
        self._homeless.update(known)

    def offers(self) -> Changes:
        """All that has no room, the busiest first, and quiet markets to leave for the busy among them.

        A market is left for one that trades more than twice as much, no less, so that two do not take turns.
        """
        homeless, self._homeless = self._homeless, set()
        waiting = self._by_activity(ticker for ticker in homeless if ticker in self._markets)
        displaced = []
        for busy, quiet in zip(waiting, reversed(self.followed() if waiting else []), strict=False):
            if self.activity(busy) <= 2 * self.activity(quiet):
                break
            displaced.append(quiet)
        self._mark(waiting, is_followed=True)
        self._mark(displaced, is_followed=False)
        self._homeless.update(displaced)
        return Changes(waiting, displaced=displaced)

    def _mark(self, tickers: Iterable[str], *, is_followed: bool) -> None:
        for ticker in tickers:
            self._markets[ticker].is_followed = is_followed

    def _learn(self, row: Market, market: ListedMarket | None, now_s: int) -> bool:
        """Take over what REST says; true where a known market is on another price grid."""
        state = STATES.get(row.status, State.OPEN)
        open_s, close_s = seconds(row.open_time), seconds(row.close_time)
        if state in (State.OPEN, State.PAUSED) and 0 < close_s <= now_s:
            is_fresh = now_s < close_s + CLOSING_GRACE_S
            state, close_s = (State.CLOSED, close_s) if is_fresh else (state, 0)
        if market is None:
            market = self._markets[row.ticker] = ListedMarket(state, walk=self._walk)
        prices = grid(row.price_ranges) or market.grid
        if market.close_s and market.state is state is State.CLOSED:
            close_s = market.close_s  # which may be before the time it was listed for
        is_restructured = prices != market.grid != ""
        market.state, market.grid, market.volume = state, prices, contracts(row.volume_24h_fp)
        market.shard = row.exchange_index or 0
        self._plan(row.ticker, market, open_s, close_s)
        return is_restructured

    def _apply(self, body: LifecycleBody, market: ListedMarket, now_s: int) -> bool:
        """Take over what a message says; true where the market is on another price grid."""
        state = _HEARD_STATES.get(body.event_type)
        if state is not None:
            market.state = State.PAUSED if state is State.OPEN and body.is_deactivated else state
        open_s = market.open_s if body.open_ts is None else body.open_ts
        close_s = market.close_s if body.close_ts is None else body.close_ts
        if body.event_type == "activated" and close_s <= now_s:
            close_s = 0  # it opened again: the time it had is over
        if body.event_type == "close_date_updated" and market.state is State.CLOSED and close_s > now_s:
            market.state = State.PAUSED  # opened again by the message that follows
        self._plan(body.market_ticker, market, open_s, close_s)
        before, market.grid = market.grid, grid(body.price_ranges) if body.price_ranges else market.grid
        return market.grid != before != ""

    def _plan(self, ticker: str, market: ListedMarket, open_s: int, close_s: int) -> None:
        """Note when the clock is to look at the market."""
        if open_s != market.open_s and market.state is State.UNOPENED:
            self._timetable.at(open_s - OPENING_LEAD_S, ticker)
            self._timetable.at(open_s, ticker)
        if close_s != market.close_s and close_s:
            self._timetable.at(close_s, ticker)
        market.open_s, market.close_s = open_s, close_s

    def _settled(self, tickers: Iterable[str], now_s: int) -> Changes:
        """What is to be done about markets that something happened to, the clock included."""
        follow, leave = [], []
        for ticker in tickers:
            market = self._markets.get(ticker)
            if market is None:
                continue
            self._keep_time(ticker, market, now_s)
            is_wanted = self._is_wanted(market, now_s)
            if is_wanted and not market.is_followed and ticker not in self._homeless:
                market.is_followed = True
                follow.append(ticker)
            elif not is_wanted and market.state is State.CLOSED:
                leave += self._forget(ticker)
        return Changes(self._by_activity(follow), leave)

    def _keep_time(self, ticker: str, market: ListedMarket, now_s: int) -> None:
        """Open and close by the clock."""
        if market.state is State.UNOPENED and 0 < market.open_s <= now_s:
            market.state = State.OPEN
        if market.state is not State.CLOSED and 0 < market.close_s <= now_s:
            market.state = State.CLOSED
        if market.state is State.CLOSED:
            if not 0 < market.close_s <= now_s:
                market.close_s = now_s  # closed before its time
            self._timetable.at(market.close_s + CLOSING_LINGER_S, ticker)

    def _is_wanted(self, market: ListedMarket, now_s: int) -> bool:
        if market.state is State.UNOPENED:
            return not market.open_s or now_s >= market.open_s - OPENING_LEAD_S
        return market.state is not State.CLOSED or now_s < market.close_s + CLOSING_LINGER_S

    def _is_news(self, ticker: str, now_us: int) -> bool:
        """Whether a walk may have missed the market because something happened to it."""
        heard_us = self._heard.get(ticker)
        return heard_us is not None and heard_us > min(now_us - REST_BLIND_US, self._walk_began_us - REST_LAG_US)

    def _forget(self, ticker: str) -> list[str]:
        market = self._markets.pop(ticker, None)
        return [ticker] if market is not None and market.is_followed else []

    def _by_activity(self, tickers: Iterable[str]) -> list[str]:
        return sorted(tickers, key=lambda ticker: -self._markets[ticker].volume)


_ARRIVALS = frozenset({"created", "activated", "deactivated", "close_date_updated"})
_UNHEARD = frozenset({"metadata_updated"})
_HEARD_STATES: Mapping[str, State] = {
    "activated": State.OPEN, "deactivated": State.PAUSED, "determined": State.CLOSED,
}  # fmt: skip
