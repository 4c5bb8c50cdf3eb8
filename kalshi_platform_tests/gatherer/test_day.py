"""Twenty-four hours of the exchange in a clock of our own: what is followed when, and that no pause raises an alarm."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import repeat
from zlib import crc32

import pytest
from aiohttp import web

from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.core.units import MILLISECOND
from kalshi_platform.exchange.bucket import Limit, TokenBucket
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.session import Channel
from kalshi_platform.gatherer.registry import Followers, Registry
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.simulator import HandClock, SimulatorOptions
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.market import Market, Status
from kalshi_platform.simulator.pauses import plan_maintenance
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform.simulator.rest.routes import PREFIX, Rest
from kalshi_platform_tests.gatherer.direct_line import Counted, Line

WEDNESDAY_NOON = 1_795_021_200_000  # 2026-11-18 12:00 in New York; the weekly pause lies 15 hours ahead
HOUR = 3_600_000
STEP_SECONDS = 10
LATE_MARKETS = range(0, 60, 6)
"""Founders that are listed at the start and open hours later, without a message."""

OPTIONS = SimulatorOptions(
    markets=60, rate=0.6, seed=7, market_life_hours=20.0, new_market_seconds=1200.0, close_market_seconds=2400.0,
    change_market_seconds=600.0, silent_share=0.5, rest_delay_seconds=40.0, rest=RestOptions(cache_seconds=0),
)  # fmt: skip


class Day:
    """An exchange and a gatherer's decisions, moved on by hand.

    Args:
        clock: The time of both.
    """

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.hub = Hub(clock.now_ms)
        self.exchange = Exchange(OPTIONS, self.hub, Ledger(None))
        self.exchange.open(clock.now_ms())
        self.rest = Rest(self.exchange, OPTIONS.rest, clock.now_ms)
        self.sink, self.metrics = Counted(), GathererMetrics()
        self.seen: Counter[str] = Counter()
        self.followed: set[str] = set()
        self._owed = 0.0
        channels = (Channel.LIFECYCLE, Channel.TRADE, Channel.TICKER, Channel.ORDERBOOK, Channel.ORDERBOOK)
        self.lines = [
            Line(f"{channel}-{n}", channel, self.hub, self.exchange, self.sink, self.metrics, self._hear)
            for n, channel in enumerate(channels)
        ]
        self.books = [line for line in self.lines if line.channel is Channel.ORDERBOOK]
        self.registry: Registry | None = None
        plan_maintenance(self.exchange.timetable, self, clock.now_ms())
        for place in LATE_MARKETS:
            self._list_late(self.exchange.catalogue.touch(place), (2 + place // 6) * HOUR)

    @property
    def now_us(self) -> int:
        """The time."""
        return self.clock.now_ms() * MILLISECOND

    # the exchange

    def pause(self, resumes_ms: int, *, drops_sockets: bool) -> None:
        """Nothing trades for a while; the weekly pause closes every connection as well."""
        self.exchange.is_paused, self.rest.state.trading_active = True, False
        self.rest.state.resumes_ms = resumes_ms
        self.seen["pauses"] += 1
        if drops_sockets:
            for line in self.lines:
                line.drop(self.now_us)

    def resume(self) -> None:
        """Trade again."""
        self.exchange.is_paused, self.rest.state.trading_active = False, True
        self.rest.state.resumes_ms = 0

    def step(self, *, is_silent: bool = False) -> None:
        """Let a few seconds pass: traffic, frames, the clock's openings and closings, care."""
        started_ms = self.clock.now_ms()
        self.clock.advance(STEP_SECONDS)
        if not (self.exchange.is_paused or is_silent):
            self._owed += OPTIONS.rate * STEP_SECONDS
            budget = self._owed
            while self._owed > 0:
                self._owed -= self.exchange.step(
                    started_ms + 1 + int((STEP_SECONDS * 1000 - 1) * (1 - self._owed / budget))
                )
        self.exchange.keep_time(self.clock.now_ms())
        self._carry()
        assert self.registry is not None
        self.registry.turn()
        since = self.registry.hours.since(self.now_us)
        for line in self.lines:
            line.router.sweep(self.clock.now_ms() - 5000, self.now_us, since)
        self._carry()

    def _carry(self) -> None:
        self.hub.look_at_clock()
        self.hub.flush()
        for line in self.lines:
            line.exchange_frames(self.now_us)

    def _list_late(self, market: Market, after_ms: int) -> None:
        market.status, market.open_ms = Status.INITIALIZED, self.clock.now_ms() + after_ms
        market.close_ms = max(market.close_ms, market.open_ms + HOUR)

        def open_silently(now_ms: int) -> None:
            market.status, market.updated_ms = Status.ACTIVE, now_ms
            self.exchange.admit(market)
            assert market.ticker in self.followed, "it was not followed when it opened"
            self.seen["opened by the clock"] += 1

        self.exchange.timetable.at(market.open_ms, open_silently)

    # the gatherer

    def follow(self, tickers: Iterable[str]) -> Sequence[str]:
        """Follow more."""
        for ticker in tickers:
            assert ticker not in self.followed
            self.followed.add(ticker)
            self._home(ticker).follow([ticker])
        return ()

    def leave(self, tickers: Iterable[str]) -> None:
        """Follow less."""
        for ticker in tickers:
            self.followed.remove(ticker)
            self._home(ticker).leave([ticker], self.now_us)
            self.seen["left"] += 1

    def renew(self, tickers: Sequence[str]) -> None:
        """Ask for books whose prices have another grid."""
        for ticker in tickers:
            self.seen["restructured"] += 1
            self._home(ticker).session.request_snapshots([ticker])

    def _home(self, ticker: str) -> Line:
        return self.books[crc32(ticker.encode()) % len(self.books)]

    def _hear(self, frame: LifecycleFrame | MultivariateLifecycleFrame) -> None:
        self.seen[frame.msg.event_type] += 1
        assert self.registry is not None
        self.registry.on_lifecycle(frame)

    # what must hold

    def check(self) -> None:
        """What trades is followed, what settled is not, and the exchange's subscriptions say the same."""
        now_ms = self.clock.now_ms()
        markets = self.exchange.catalogue.markets
        trading = {ticker for ticker, one in markets.items() if one.status in (Status.ACTIVE, Status.INACTIVE)}
        settled = {
            ticker
            for ticker, one in markets.items()
            if one.status is Status.FINALIZED and one.settled_ms < now_ms - STEP_SECONDS * 1000
        }
        assert trading <= self.followed
        assert not settled & self.followed
        assert set().union(*(line.subscribed() for line in self.books)) == self.followed
        for ticker in trading:
            live, theirs = self._home(ticker).book(ticker), markets[ticker].book
            assert live is not None, ticker
            for ours, side in ((live.yes, "yes"), (live.no, "no")):
                assert ours == {price * 100: size for price, size in theirs.ladder(side)}  # type: ignore[arg-type]

    def resubscriptions(self) -> int:
        """Subscriptions that were made anew on connections that lived: alarms."""
        return sum(line.commands.count("subscribe") - line.connects for line in self.lines)


@asynccontextmanager
async def a_day() -> AsyncIterator[Day]:
    """An exchange with REST behind HTTP, and a registry that asks it."""
    day = Day(HandClock(WEDNESDAY_NOON))
    application = web.Application()
    application.add_routes(day.rest.routes())
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    plenty = TokenBucket(Limit(rate=1e6, capacity=1e6))
    try:
        async with RestClient(f"http://{host}:{port}{PREFIX}", bucket=plenty) as client:
            followers = Followers(day.follow, day.leave, day.leave, day.renew)
            day.registry = Registry(
                client, followers, day.metrics, lambda: repeat(0.0), lambda: day.now_us, include_multivariate=False
            )
            await day.registry.look()
            await day.registry.walk()
            yield day
    finally:
        await runner.cleanup()


async def live(day: Day, hours: float, *, is_silent: bool = False) -> None:
    """Let hours pass, with a look at the exchange every two minutes and a walk every five."""
    assert day.registry is not None
    for number in range(1, round(hours * 3600 / STEP_SECONDS) + 1):
        day.step(is_silent=is_silent)
        if number % 12 == 0:
            await day.registry.look()
        if number % 30 == 0:
            await day.registry.walk()
            day._carry()
            day.check()


@pytest.mark.slow
async def test_a_day_of_the_exchange() -> None:
    """Openings and closings by the clock, settlements, grids that change, the weekly pause and one nobody planned.

    Every subscription lasts as long as its market trades, no silence of a pause is taken for a dead subscription, and
    no book is ever wrong. At the end a silence that nothing explains is an alarm, so that the test can fail.
    """
    async with a_day() as day:
        await live(day, 3)
        day.pause(day.clock.now_ms() + HOUR // 2, drops_sockets=False)
        await day.registry.look()  # type: ignore[union-attr]
        await live(day, 0.5)
        day.resume()
        await live(day, 11)
        assert not day.exchange.is_paused
        await live(day, 1.5)
        assert day.exchange.is_paused, "Thursday, four in the morning in New York"
        assert all(line.connects == 2 for line in day.lines)
        await live(day, 8)
        assert day.clock.now_ms() == WEDNESDAY_NOON + 24 * HOUR
        assert day.resubscriptions() == 0, "a pause was taken for a dead subscription"
        assert day.seen["pauses"] == 2
        assert day.seen["opened by the clock"] == len(LATE_MARKETS)
        assert min(day.seen[one] for one in ("created", "activated", "settled", "left", "restructured")) >= 10
        assert {one.cause for one in day.sink.gaps} == {"disconnected"}, "and nothing else was missed"
        assert day.sink.rejected == []
        await live(day, 1, is_silent=True)
        assert day.resubscriptions() > 0, "a real silence must be an alarm"
