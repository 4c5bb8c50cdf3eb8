"""The matching engine's outside: what happens to which market, in order, told to the ledger, the tape and the hub.

What is not announced for a time comes from the seed and from how much has happened so far, never from the clock, so one
seed gives one sequence. When things happen is `pulse`'s business.
"""

from collections.abc import Iterable
from random import Random
from uuid import UUID

from kalshi_platform.simulator import wire
from kalshi_platform.simulator.activity import Activity
from kalshi_platform.simulator.agenda import Agenda
from kalshi_platform.simulator.catalogue import Catalogue
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.lifecycle import Lifecycle
from kalshi_platform.simulator.market import Market, Status
from kalshi_platform.simulator.options import SimulatorOptions
from kalshi_platform.simulator.order_flow import Delta, OrderFlow, Trade
from kalshi_platform.simulator.venue import Venue

EVENTS_PER_BURST = 2.27
"""Deltas, trades and the ticker of an average burst; turns a rate of events into a pace of bursts."""

_OPENS_INTEREST = 0.6
_GONE = (Status.CLOSED, Status.DETERMINED, Status.FINALIZED)


class Exchange(Venue):
    """The markets and all that happens to them."""

    def __init__(self, options: SimulatorOptions, hub: Hub, ledger: Ledger) -> None:
        life_ms = round(options.market_life_hours * 3_600_000)
        catalogue = Catalogue(options.seed, options.markets, hub.sending_ms, life_ms)
        super().__init__(catalogue, hub, ledger, options.recent_trades)
        self._options = options
        self._random = Random(options.seed)  # noqa: S311 - repeatable traffic, nothing secret
        self._flow = OrderFlow(self._random, options.trading)
        self._activity: Activity[Market | int] = Activity(self._random, options.activity_skew)
        """Who may trade: founders by their place, until they are touched for the first time, and latecomers."""
        self._agenda = Agenda(options.rate / EVENTS_PER_BURST)
        self._lifecycle = Lifecycle(
            options, self._random, self.catalogue, hub, ledger, self._agenda, self.timetable, self
        )

    def open(self, now_ms: int) -> None:
        """Open the first markets and plan when others come and go."""
        self.now_ms = now_ms
        for place in range(min(self._options.markets, self._options.busy_markets)):
            self._activity.join(place, place)
        for _ in range(self._options.combos):
            self._activity.join(self._lifecycle.found_combo(now_ms))
        self._lifecycle.plan()

    @property
    def spread(self) -> float:
        """Among how many markets the traffic is shared, as far as it matters."""
        return self._activity.spread

    def step(self, ts_ms: int) -> int:
        """Let one market live through one moment.

        Returns:
            How many deltas, trades and tickers that were.
        """
        self.keep_time(ts_ms)
        for due in self._agenda.next_burst():
            due(ts_ms)
        market = self.pick()
        if market is None or market.status is not Status.ACTIVE:
            return 1  # a moment in which nothing may happen
        facts = self._flow.burst(market.book, market.structure)
        for fact in facts:
            if isinstance(fact, Delta):
                self._publish_delta(market, fact, ts_ms)
            else:
                self._publish_trade(market, fact, ts_ms)
        return len(facts) + self.quote(market, ts_ms)

    def _publish_delta(self, market: Market, fact: Delta, ts_ms: int) -> None:
        self._ledger.delta(ts_ms, market.ticker, fact, self._hub.delta(market.listing, fact, ts_ms))

    def _publish_trade(self, market: Market, fact: Trade, ts_ms: int) -> None:
        market.trade(fact.yes_price, fact.size, opens_interest=self._random.random() < _OPENS_INTEREST)
        trade_id = str(UUID(int=self._random.getrandbits(128), version=4))
        self.tape.append(trade_id, market.ticker, ts_ms, fact)
        handed = self._hub.trade(market.ticker, trade_id, fact, ts_ms)
        self._ledger.trade(ts_ms, trade_id, market.ticker, fact, handed)

    def quote(self, market: Market, ts_ms: int) -> int:
        """Send a ticker if anything in it changed, at most one per market and millisecond.

        Two tickers of one millisecond could be equal again in content, and nothing would tell them apart; a change
        that is held back shows in the market's next ticker.
        """
        quote = market.quote()
        if quote == market.published or ts_ms == market.last_ticker_ms:
            return 0
        market.published = quote
        market.last_ticker_ms = ts_ms
        self._ledger.ticker(ts_ms, market.ticker, quote, self._hub.ticker(market.listing, quote, ts_ms))
        return 1

    def last_ticker(self, market: Market) -> str | None:
        """The last ticker message of a market; the first one is made, and told to the ledger, when it is asked for."""
        place = self.catalogue.markets.place(market.ticker)
        is_founder = place is not None and place < self.catalogue.founding_markets
        market = self.touch(place if is_founder and place is not None else market)
        if not market.last_ticker_ms:
            market.published, market.last_ticker_ms = market.quote(), self.now_ms
            handed = self._hub.ticker(market.listing, market.published, self.now_ms)
            self._ledger.ticker(self.now_ms, market.ticker, market.published, handed)
        quote = market.published or market.quote()
        return wire.ticker(market.listing, quote, market.last_ticker_ms)

    def touch(self, member: Market | int) -> Market:
        """A market to which something happens; a founder, named by its place, is kept from now on."""
        market = self.catalogue.touch(member) if isinstance(member, int) else member
        if market.published is None:
            market.published = market.quote()
        if not market.is_introduced:
            self.introduce(market)
            market.is_introduced = True
        return market

    def admit(self, market: Market) -> None:
        """Let a market trade."""
        self._activity.join(self.touch(market))

    def pick(self) -> Market | None:
        """Some market that trades, the busy ones more often; None when all have closed."""
        try:
            return self.touch(self._activity.pick(self._is_gone))
        except IndexError:
            return None

    def retire(self) -> Market | None:
        """Some market that trades no more; None if it is the last."""
        return self.touch(self._activity.retire_any()) if len(self._activity) > 1 else None

    def _is_gone(self, member: Market | int) -> bool:
        """Whether a market was closed by the clock, which does not tell the lottery."""
        market = self.catalogue.kept(member) if isinstance(member, int) else member
        return market is not None and market.status in _GONE

    def change(self, market: Market, deltas: Iterable[Delta], ts_ms: int) -> None:
        """Change a book and say so."""
        for delta in deltas:
            market.book.apply(*delta)
            self._publish_delta(market, delta, ts_ms)
        self.quote(market, ts_ms)
