"""Twenty-four hours of the exchange over real sockets, in a loop that skips idle time: what is followed when, by whom.

The simulator and the gatherer's registry, connections and poller are those of production; only time is not waited for.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import cast

import pytest

from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.core.records import BookDifferenceRow, GapRow, Row, SessionRow
from kalshi_platform.core.units import MILLISECOND
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.bucket import Limit, TokenBucket
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.session import Channel
from kalshi_platform.exchange.signing import load_signer
from kalshi_platform.gatherer import connection, registry
from kalshi_platform.gatherer.connection import Surroundings
from kalshi_platform.gatherer.connections import ConnectionManager
from kalshi_platform.gatherer.registry import Followers, Registry
from kalshi_platform.gatherer.snapshot_poller import SnapshotPoller
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.service.retry import backoff
from kalshi_platform.simulator import Simulator, SimulatorOptions, running
from kalshi_platform.simulator.account import Ended, Subscribed
from kalshi_platform.simulator.market import Market, Status
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform.simulator.subscriptions import Channel as ExchangeChannel
from kalshi_platform.simulator.subscriptions import Subscription
from kalshi_platform_tests.gatherer.exchange_at_hand import KEY_ID, keys, now_us
from kalshi_platform_tests.gatherer.hasty_loop import LoopClock, run_hastily

WEDNESDAY_NOON = 1_795_021_200_000  # 2026-11-18 12:00 in New York; the weekly pause lies 15 hours ahead
HOUR = 3600
LATE_MARKETS = range(0, 60, 6)
"""Founders that are listed at the start and open hours later, without a message."""

SLOWEST_SECONDS = 15
"""A change of the list is answered by subscriptions and books within so long."""

COUNTS = {Channel.LIFECYCLE: 1, Channel.TRADE: 1, Channel.TICKER: 1, Channel.ORDERBOOK: 2}
"""Connections."""

OPTIONS = {
    "markets": 60, "rate": 0.6, "seed": 7, "market_life_hours": 20.0, "new_market_seconds": 1200.0,
    "close_market_seconds": 2400.0, "change_market_seconds": 600.0, "silent_share": 0.5, "rest_delay_seconds": 40.0,
    "rest": RestOptions(cache_seconds=0), "maintenance": True, "tick_ms": 2000,
}  # fmt: skip


class Rows:
    """A sink with room for everything, which keeps what is told of listening."""

    has_room = True

    def __init__(self) -> None:
        self.gaps: dict[tuple[object, ...], GapRow] = {}
        self.sessions: dict[tuple[object, ...], SessionRow] = {}
        self.differences: list[BookDifferenceRow] = []

    def add(self, row: Row) -> None:
        """One row; a later version replaces the earlier one."""
        if isinstance(row, GapRow):
            self.gaps[row[:10]] = row
        elif isinstance(row, SessionRow):
            self.sessions[row[:5]] = row
        elif isinstance(row, BookDifferenceRow):
            self.differences.append(row)

    def add_changes(self, rows: Sequence[Row]) -> None:
        """Changes in a row."""

    def reject(self, raw: bytes, rejection: FrameRejected, connection: str, received_us: int) -> bool:
        """Healthy streams have no frames to reject."""
        raise AssertionError((connection, rejection, raw))

    async def room(self) -> None:
        """There is."""


class Day:
    """A gatherer at an exchange.

    Args:
        simulator: The exchange.
        rest: How it is asked.
        private: The key's file.
        clock: The time of both.
    """

    def __init__(self, simulator: Simulator, rest: RestClient, private: Path, clock: LoopClock) -> None:
        self.simulator, self.clock = simulator, clock
        self.rows, self.metrics = Rows(), GathererMetrics()
        self.seen: Counter[str] = Counter()
        self.is_watched = True
        self.subscribed: list[Subscribed] = []
        simulator.hub.tell = self._note
        self.manager = ConnectionManager(COUNTS, 7500, self._surroundings(private))
        followers = Followers(self.manager.follow, self._leave, self.manager.displace, self._renew)
        self.registry = Registry(rest, followers, self.metrics, _waits, clock.now_us, include_multivariate=False)
        self.poller = SnapshotPoller(
            rest, self.registry.listing.followed, self.manager, self.rows.add, self.metrics, "g", clock.now_us,
            interval_seconds=900.0, quiet_seconds=5.0,
        )  # fmt: skip

    def _surroundings(self, private: Path) -> Surroundings:
        return Surroundings(
            url=self.simulator.ws_url, signer=load_signer(KEY_ID, private, lambda: now_us() // MILLISECOND),
            sink=cast("Sink", self.rows), metrics=self.metrics, gatherer_id="g", checkpoint_ms=HOUR * 1000,
            settle_ms=5000, now_us=self.clock.now_us, retry_waits=_waits, on_lifecycle=self._hear,
            hours=lambda: self.registry.hours, handshakes=TokenBucket(Limit(20, 20, 1), self.clock.seconds),
        )  # fmt: skip

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Everything runs while the block does."""
        async with asyncio.TaskGroup() as tasks:
            working = [
                tasks.create_task(work)
                for work in (self.registry.run(), self.manager.run(), self.poller.run(), self._look())
            ]
            await self.agree()
            yield
            for one in working:
                one.cancel()

    # what happens

    def list_late(self, market: Market, after_seconds: int) -> None:
        """Let a market open later, when no message says so."""
        market.status, market.open_ms = Status.INITIALIZED, self.clock.now_ms() + after_seconds * 1000
        market.close_ms = max(market.close_ms, market.open_ms + HOUR * 1000)

        def open_silently(now_ms: int) -> None:
            market.status, market.updated_ms = Status.ACTIVE, now_ms
            self.simulator.exchange.admit(market)  # type: ignore[attr-defined]
            assert market.ticker in self.listened(), "it was not subscribed when it opened"
            self.seen["opened by the clock"] += 1

        self.simulator.exchange.timetable.at(market.open_ms, open_silently)

    def _note(self, fact: Subscribed | Ended) -> None:
        if isinstance(fact, Subscribed):
            self.subscribed.append(fact)

    def _leave(self, tickers: Iterable[str]) -> None:
        named = list(tickers)
        self.seen["left"] += len(named)
        self.manager.leave(named)

    def _renew(self, tickers: Sequence[str]) -> None:
        self.seen["restructured"] += len(tickers)
        self.manager.request_snapshots(tickers)

    def _hear(self, frame: LifecycleFrame | MultivariateLifecycleFrame) -> None:
        self.seen[frame.msg.event_type] += 1
        self.registry.on_lifecycle(frame)

    # what must hold

    async def _look(self) -> None:
        """Every five minutes both sides must be of one mind."""
        while True:
            await asyncio.sleep(300.0)
            if self.is_watched:
                await self.agree()

    async def agree(self) -> None:
        """Wait until what trades is subscribed with the right book and what settled is not; no longer than allowed."""
        deadline = self.clock.seconds() + SLOWEST_SECONDS
        while (found := self._disagreement()) is not None:
            assert self.clock.seconds() < deadline, found
            await asyncio.sleep(0.5)
        self.seen["agreed"] += 1

    def _disagreement(self) -> object:
        markets = self.simulator.exchange.catalogue.markets
        trading = {ticker for ticker, one in markets.items() if one.status in (Status.ACTIVE, Status.INACTIVE)}
        settled = {ticker for ticker, one in markets.items() if one.status is Status.FINALIZED}
        followed = set(self.manager.followed())
        if trading - followed or settled & followed or self.listened() != followed:
            return trading - followed, settled & followed, self.listened() ^ followed
        wrong = {ticker for ticker in trading if not self._has_book(ticker, markets[ticker])}
        return wrong or None

    def _has_book(self, ticker: str, market: Market) -> bool:
        live = self.manager.live_book(ticker)
        theirs = [{price * 100: size for price, size in market.book.ladder(side)} for side in ("yes", "no")]
        return live is not None and [live.yes, live.no] == theirs

    def order_books(self) -> list[Subscription]:
        """Subscriptions of order books, as the exchange has them."""
        return [one for one in self.simulator.hub._owners if one.channel is ExchangeChannel.ORDERBOOK]

    def listened(self) -> set[str]:
        """Markets whose order books the exchange believes to be subscribed."""
        return {ticker for one in self.order_books() for ticker in one.tickers}

    def resubscriptions(self) -> int:
        """Subscriptions that were made anew on connections that lived: alarms."""
        return len(self.subscribed) - len({one.connection for one in self.subscribed})

    def causes(self) -> Counter[str]:
        """Why something was missed, and how often."""
        return Counter(one.cause for one in self.rows.gaps.values())

    def check_ends(self) -> None:
        """Whoever settled was heard until then and not for long after."""
        last = {one.ticker: one for one in sorted(self.rows.sessions.values()) if one.channel == Channel.ORDERBOOK}
        gone = [one for one in self.simulator.exchange.catalogue.markets.values() if one.status is Status.FINALIZED]
        for market in gone:
            ended, settled_us = last[market.ticker].ended_at, market.settled_ms * MILLISECOND
            assert last[market.ticker].ended_by == "unsubscribed"
            assert ended is not None
            assert settled_us <= ended <= settled_us + SLOWEST_SECONDS * 1_000_000, market.ticker
        assert len(gone) >= 20


@asynccontextmanager
async def a_day(folder: Path, **changes: object) -> AsyncIterator[Day]:
    """An exchange and a gatherer at it, since noon."""
    private, public = keys(folder)
    clock = LoopClock(WEDNESDAY_NOON)
    chosen = SimulatorOptions(keys={KEY_ID: public}, **(OPTIONS | changes))  # type: ignore[arg-type]
    signer = load_signer(KEY_ID, private, lambda: now_us() // MILLISECOND)
    async with (
        running(chosen, clock) as simulator,
        RestClient(simulator.rest_url, signer, bucket=TokenBucket(clock=clock.seconds)) as rest,
    ):
        day = Day(simulator, rest, private, clock)
        for place in LATE_MARKETS:
            day.list_late(simulator.exchange.catalogue.touch(place), (2 + place // 6) * HOUR)
        async with day.at_work():
            yield day


def _waits() -> Iterator[float]:
    return backoff(Random(7))  # noqa: S311 - spreads reconnects, guards nothing


@pytest.fixture(autouse=True)
def _at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What production does several times a second or a minute is done less often: here hardly anything happens."""
    monkeypatch.setattr(connection, "SWEEP_SECONDS", 5.0)
    monkeypatch.setattr(registry, "STATUS_SECONDS", 60.0)


@pytest.mark.slow
def test_a_day_of_the_exchange(tmp_path: Path) -> None:
    """Openings and closings by the clock, settlements, grids that change, the weekly pause and one nobody planned.

    Every subscription lasts as long as its market trades, no silence of a pause is taken for a dead subscription, and
    no book is ever wrong. At the end a silence that nothing explains is an alarm, so that the test can fail.
    """
    run_hastily(_a_day_of_the_exchange(tmp_path))


async def _a_day_of_the_exchange(folder: Path) -> None:
    async with a_day(folder) as day:
        exchange = day.simulator.exchange
        await asyncio.sleep(3 * HOUR)
        day.simulator.pause(day.clock.now_ms() + HOUR * 500)
        await asyncio.sleep(HOUR / 2)
        day.simulator.resume()
        await asyncio.sleep(12.25 * HOUR)
        assert exchange.is_paused, "Thursday, four in the morning in New York"
        assert len({one.connection for one in day.subscribed}) == 10, "the pause began with closing every socket"
        await asyncio.sleep(8.25 * HOUR)
        assert day.clock.now_ms() == pytest.approx(WEDNESDAY_NOON + 24 * HOUR * 1000, abs=60_000)
        assert day.resubscriptions() == 0, "a pause was taken for a dead subscription"
        assert day.causes() == {"disconnected": 5}, "and nothing else was missed"
        assert all(gap.healed_by == "reconnect" for gap in day.rows.gaps.values())
        assert day.seen["opened by the clock"] == len(LATE_MARKETS)
        assert min(day.seen[one] for one in ("created", "activated", "settled", "left", "restructured")) >= 10
        assert day.seen["agreed"] > 280
        day.check_ends()
        counted = day.metrics.registry.get_sample_value
        assert counted("kalshi_gatherer_book_comparisons_total", {"result": "equal"}) > 1000
        assert day.rows.differences == []
        exchange.is_paused = True  # and does not say so
        await asyncio.sleep(HOUR)
        assert day.resubscriptions() > 0, "a real silence must be an alarm"
        assert day.causes()["silent"] > 0


@pytest.mark.slow
def test_a_subscription_that_dies_while_only_combos_pause_is_found(tmp_path: Path) -> None:
    """One shard's pause explains no silence of the others: the exchange sends on, but not on this one."""
    run_hastily(_a_subscription_that_dies(tmp_path))


async def _a_subscription_that_dies(folder: Path) -> None:
    async with a_day(folder) as day:
        await asyncio.sleep(HOUR)
        day.simulator.rest.state.closed_shards = {1}
        await asyncio.sleep(HOUR / 4)
        assert day.resubscriptions() == 0
        day.is_watched = False
        dead = day.order_books()[0]
        day.simulator.hub.audience(dead).leave_all(dead)
        await asyncio.sleep(HOUR / 2)
        assert day.resubscriptions() == 1
        assert day.causes() == {"silent": 1}
        await day.agree()
