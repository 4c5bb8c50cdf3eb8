"""Which markets are followed, with the simulator's REST side over real HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.core.errors import ExchangeRefused, ExchangeUnavailable
from kalshi_platform.core.messages import LifecycleBody, LifecycleFrame
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.transport import patience
from kalshi_platform.exchange.signing import load_signer
from kalshi_platform.gatherer.registry import STATUS_SECONDS, Followers, Registry
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.simulator import Simulator, running
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.prices import STRUCTURES
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.gatherer.exchange_at_hand import KEY_ID, keys, options
from kalshi_platform_tests.waiting import until


@dataclass
class Room:
    """Room for so many markets, and what came, went and was renewed."""

    room: int = 10**6
    followed: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    on_follow: Callable[[Sequence[str]], None] = lambda _: None

    def follow(self, tickers: Iterable[str]) -> Sequence[str]:
        """Take as many as fit."""
        named = list(tickers)
        fitting = named[: max(0, self.room - len(self.followed))]
        self.followed.update(fitting)
        self.on_follow(named)
        return named[len(fitting) :]

    def leave(self, tickers: Iterable[str]) -> None:
        """Let them go."""
        named = list(tickers)
        self.left += named
        self.followed.difference_update(named)

    @property
    def followers(self) -> Followers:
        """As the registry wants them."""
        return Followers(self.follow, self.leave, self.leave, self.renewed.extend)


@dataclass
class Scene:
    """An exchange, a registry that asks it, and who follows."""

    simulator: Simulator
    registry: Registry
    room: Room
    metrics: GathererMetrics

    def hear(self, ticker: str, event: str, **more: Any) -> None:
        """A lifecycle message comes."""
        body = LifecycleBody(market_ticker=ticker, event_type=event, **more)
        self.registry.on_lifecycle(LifecycleFrame(sid=1, seq=1, msg=body))


@asynccontextmanager
async def scene(
    folder: Path, room: Room | None = None, *, combos: bool = False, reconcile: float = 300.0, **changes: Any
) -> AsyncIterator[Scene]:
    """A quiet exchange, and a signed registry without patience."""
    private, public = keys(folder)
    signer = load_signer(KEY_ID, private, lambda: time.time_ns() // 10**6)
    chosen = options(folder, public, **({"rate": 0.0, "rest": RestOptions(tier="prestige")} | changes))
    metrics, homes = GathererMetrics(), room or Room()
    async with (
        running(chosen) as simulator,
        RestClient(simulator.rest_url, signer, waits=patience(attempts=2, first=0.01)) as rest,
    ):
        registry = Registry(
            rest, homes.followers, metrics, _no_waits, lambda: time.time_ns() // 1000,
            include_multivariate=combos, reconcile_seconds=reconcile,
        )  # fmt: skip
        yield Scene(simulator, registry, homes, metrics)


@asynccontextmanager
async def running_registry(one: Scene) -> AsyncIterator[None]:
    """The registry at work while the block runs."""
    work = asyncio.create_task(one.registry.run())
    try:
        yield
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


async def test_every_open_market_is_followed_and_the_homeless_are_offered_again(tmp_path: Path) -> None:
    """A market without room is not forgotten: it comes when there is room. The metrics know what is listed."""
    async with scene(tmp_path, Room(room=20)) as one:
        await one.registry.walk()
        assert len(one.room.followed) == 20
        one.room.room = 100
        await one.registry.walk()
        assert one.room.followed == set(one.simulator.exchange.catalogue.markets)
        assert one.metrics.registry.get_sample_value("kalshi_gatherer_markets_listed", {"state": "open"}) == 30
        assert one.metrics.registry.get_sample_value("kalshi_gatherer_markets_listed_timestamp_seconds") > 1.7e9


async def test_lifecycle_messages_come_between_walks(tmp_path: Path) -> None:
    """A new market is followed at once, a settled one left; one that never was is not left."""
    async with scene(tmp_path) as one:
        now_s = int(time.time())
        for event in ("created", "activated", "determined", "settled", "settled"):
            one.hear("NEW", event, open_ts=now_s, close_ts=now_s + 3600)
            assert one.room.followed == ({"NEW"} if event != "settled" else set())
        assert one.room.left == ["NEW"]


async def test_messages_during_a_walk_outweigh_its_pages(tmp_path: Path) -> None:
    """Heard after the first page: a market of the last page settled, another came that REST does not show."""
    room = Room()
    async with scene(tmp_path, room, markets=2500) as one:
        last = list(one.simulator.exchange.catalogue.markets)[-1]

        def interrupt(_: Sequence[str]) -> None:
            room.on_follow = lambda _: None
            one.hear(last, "settled", settled_ts=int(time.time()))
            one.hear("NEW", "created", open_ts=int(time.time()), close_ts=int(time.time()) + 3600)

        room.on_follow = interrupt
        await one.registry.walk()
        assert room.followed == set(one.simulator.exchange.catalogue.markets) - {last} | {"NEW"}


@pytest.mark.slow
async def test_a_market_that_settled_unheard_is_left_at_the_next_walk(tmp_path: Path) -> None:
    """Its message was lost with a connection; REST knows."""
    lively: dict[str, Any] = {"markets": 40, "rate": 20_000.0, "close_market_seconds": 0.05, "new_market_seconds": 0.0}
    async with scene(tmp_path, **lively) as one:
        await one.registry.walk()
        async with asyncio.timeout(30):
            while not one.room.left:
                await one.registry.walk()
        statuses = {one.simulator.exchange.catalogue.markets[ticker].status for ticker in one.room.left}
        assert statuses == {Status.FINALIZED}


async def test_a_market_that_moved_to_the_archive_is_left(tmp_path: Path) -> None:
    """REST's live side does not know it any more, not even by name."""
    async with scene(tmp_path) as one:
        await one.registry.walk()
        market = one.simulator.exchange.catalogue.touch(3)
        market.status, market.settled_ms = Status.FINALIZED, 1
        one.simulator.rest.state.cutoff_ms = 2
        await one.registry.walk()
        assert one.room.left == [market.ticker]


async def test_a_list_that_lacks_most_markets_is_not_believed(tmp_path: Path) -> None:
    """An exchange that seems to have lost everything has rather lost its mind."""
    async with scene(tmp_path, markets=1500) as one:
        await one.registry.walk()
        catalogue = one.simulator.exchange.catalogue
        for place in range(1200):
            market = catalogue.touch(place)
            market.status, market.settled_ms = Status.FINALIZED, 1
        one.simulator.rest.state.cutoff_ms = 2
        await one.registry.walk()
        assert one.room.left == []
        assert len(one.room.followed) == 1500


async def test_combos_by_choice(tmp_path: Path) -> None:
    """They dominate the list, so they come only when asked for."""
    for wanted in (False, True):
        folder = tmp_path / str(wanted)
        folder.mkdir()
        async with scene(folder, combos=wanted) as one:
            combo, _ = one.simulator.exchange.catalogue.list_combo(int(time.time() * 1000))
            combo.status = Status.ACTIVE
            await one.registry.walk()
            assert (combo.ticker in one.room.followed) is wanted


async def test_the_busiest_get_what_room_there_is(tmp_path: Path) -> None:
    """Volume of 24 hours decides, wherever in the list a market stands."""
    async with scene(tmp_path, Room(room=5)) as one:
        busy = [one.simulator.exchange.catalogue.touch(place) for place in (29, 17, 11, 8, 2)]
        for rank, market in enumerate(busy):
            market.volume = 100_000 * (rank + 1)
        await one.registry.walk()
        assert one.room.followed == {market.ticker for market in busy}
        busy[0].volume, newcomer = 0, one.simulator.exchange.catalogue.touch(20)
        newcomer.volume = 900_000
        await one.registry.walk()
        assert one.room.followed == {market.ticker for market in busy[1:]} | {newcomer.ticker}


async def test_a_change_of_the_price_grid_asks_for_the_book_anew(tmp_path: Path) -> None:
    """Whether REST tells or a message; orders moved to other prices."""
    async with scene(tmp_path) as one:
        await one.registry.walk()
        market = one.simulator.exchange.catalogue.touch(3)
        other = next(grid for grid in STRUCTURES if grid is not market.structure)
        market.structure = other
        await one.registry.walk()
        assert one.room.renewed == [market.ticker]
        second = one.simulator.exchange.catalogue.touch(4)
        other = next(grid for grid in STRUCTURES if grid is not second.structure)
        one.hear(
            second.ticker, "price_level_structure_updated",
            price_level_structure=other.name, price_ranges=other.ranges(),
        )  # fmt: skip
        assert one.room.renewed == [market.ticker, second.ticker]


async def test_a_walk_goes_on_through_outages(tmp_path: Path) -> None:
    """It breaks off in the middle, longer than a request is patient, and goes on from there."""
    rest = RestOptions(tier="prestige", failures={5: 503, 6: 503, 7: 503, 8: 503, 9: 503})
    async with scene(tmp_path, markets=4200, rest=rest) as one:
        await one.registry.walk()
        assert one.room.followed == set(one.simulator.exchange.catalogue.markets)
        assert one.simulator.rest.gate.requests == 2 + 7 + 5, "limits and costs; unopened, five pages, paused; failures"


async def test_a_closed_exchange_is_waited_for(tmp_path: Path) -> None:
    """It says when it means to be back: nothing is listed before, and everything as soon as it is."""
    async with scene(tmp_path) as one:
        state = one.simulator.rest.state
        state.exchange_active, state.trading_active = False, False
        state.resumes_ms = int(time.time() * 1000) + 700
        async with running_registry(one):
            await until(lambda: not one.registry.hours.is_active)
            asked = one.simulator.rest.gate.requests
            assert one.metrics.registry.get_sample_value("kalshi_gatherer_exchange_active") == 0
            state.exchange_active, state.trading_active = True, True
            await until(lambda: len(one.room.followed) == 30, seconds=10)
            assert one.registry.hours.is_active
            assert one.simulator.rest.gate.requests - asked <= 2 + 4, "limits, costs; status once more, three lists"


async def test_an_exchange_that_does_not_say_is_tried(tmp_path: Path) -> None:
    """Its status is broken, perhaps for ever; its markets are not."""
    async with scene(tmp_path) as one:

        async def broken() -> Any:
            raise ExchangeUnavailable("GET /exchange/status answered with an unexpected body")

        one.registry._rest.status = broken  # type: ignore[method-assign]
        async with running_registry(one):
            await until(lambda: len(one.room.followed) == 30, seconds=10)


async def test_an_exchange_without_a_timetable_is_followed_all_the_same(tmp_path: Path) -> None:
    """Endpoints come and go (kalshi-protocol.md §2.3): that this one is refused says nothing of the markets."""
    async with scene(tmp_path) as one:

        async def gone() -> Any:
            raise ExchangeRefused("GET /exchange/schedule: not_found")

        one.registry._rest.schedule = gone  # type: ignore[method-assign]
        async with running_registry(one):
            await until(lambda: len(one.room.followed) == 30, seconds=10)
            assert one.registry.hours.is_active


async def test_how_long_to_wait_for_a_closed_exchange(tmp_path: Path) -> None:
    """Until it means to be back, if that is soon; overdue, it is asked more often; open, as ever."""
    async with scene(tmp_path, rest=RestOptions(tier="prestige", cache_seconds=0)) as one:
        state = one.simulator.rest.state
        assert await one.registry.look() == STATUS_SECONDS
        state.exchange_active = state.trading_active = False
        for ahead_ms, least, most in ((60_000, 15.0, 15.0), (6000, 4.0, 6.0), (-9000, 2.0, 2.0)):
            state.resumes_ms = int(time.time() * 1000) + ahead_ms
            assert least <= await one.registry.look() <= most


async def test_the_exchange_s_pause_is_known_at_once(tmp_path: Path) -> None:
    """Silence counts from when trading went on; the weekly pause comes from the exchange's own timetable."""
    async with scene(tmp_path) as one:
        await one.registry.look()
        assert one.registry.hours.is_active
        assert len(one.registry.hours.windows) in (1, 2), "last Thursday, perhaps the next"
        one.simulator.pause()
        await one.registry.look()
        assert not one.registry.hours.is_active
        before = time.time_ns() // 1000
        one.simulator.resume()
        await one.registry.look()
        assert one.registry.hours.is_active
        assert before <= one.registry.hours.active_since_us <= before + 10 * SECOND
        assert one.registry.hours.windows


async def test_a_shard_that_pauses_is_a_pause_only_where_most_is_traded(tmp_path: Path) -> None:
    """Combos pause, which nobody follows: silence is told as ever. The shard of nearly everything pauses: it is not."""
    async with scene(tmp_path, rest=RestOptions(tier="prestige", cache_seconds=0)) as one:
        closed = one.simulator.rest.state.closed_shards
        await one.registry.walk()
        for shards, is_active in (({1}, True), ({0, 1}, False), ({0}, False), (set(), True)):
            closed.clear()
            closed |= shards
            await one.registry.look()
            assert one.registry.hours.is_active is is_active


@pytest.mark.slow
async def test_the_clock_opens_and_closes_what_says_nothing(tmp_path: Path) -> None:
    """A market far from its opening is not followed yet; one that closed long ago is not any more."""
    async with scene(tmp_path) as one:
        later, closing = one.simulator.exchange.catalogue.touch(3), one.simulator.exchange.catalogue.touch(4)
        now_ms = int(time.time() * 1000)
        later.status, later.open_ms = Status.INITIALIZED, now_ms + 3_602_000
        closing.close_ms = now_ms - 898_000 + 1_000_000
        await one.registry.walk()
        assert later.ticker not in one.room.followed
        one.hear(closing.ticker, "close_date_updated", close_ts=now_ms // 1000 - 898)
        async with running_registry(one):
            await until(lambda: later.ticker in one.room.followed and closing.ticker in one.room.left, seconds=10)


async def test_a_refusal_ends_the_start_and_nothing_later(tmp_path: Path) -> None:
    """Wrong credentials at the start need a person; once markets are followed, capturing goes on."""
    async with scene(tmp_path, reconcile=0.05) as one:
        keys_known = one.simulator.rest.gate
        async with running_registry(one):
            await until(lambda: one.registry.has_walked)
            keys_known.failures |= dict.fromkeys(range(keys_known.requests + 1, keys_known.requests + 6), 401)
            refused = keys_known.requests + 6
            await until(lambda: keys_known.requests > refused)
        assert one.room.left == []
    (tmp_path / "first").mkdir()
    async with scene(tmp_path / "first", rest=RestOptions(tier="prestige", failures={7: 403})) as one:
        async with running_registry(one):  # in the middle of the first walk, which is begun again soon
            await until(lambda: one.registry.has_walked, seconds=10)
        assert len(one.room.followed) == 30
    (tmp_path / "other").mkdir()
    async with scene(tmp_path / "other", rest=RestOptions(failures=dict.fromkeys(range(1, 50), 403))) as one:
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(one.registry.run(), 20)
        assert caught.group_contains(ExchangeRefused)


def _no_waits() -> Iterator[float]:
    while True:
        yield 0.01
