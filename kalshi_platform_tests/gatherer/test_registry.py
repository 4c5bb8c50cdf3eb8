"""Which markets are followed, with the simulator's REST side."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kalshi_platform.core.messages import LifecycleBody, LifecycleFrame
from kalshi_platform.exchange.rest import RestClient
from kalshi_platform.exchange.signing import load_signer
from kalshi_platform.gatherer.registry import Registry
from kalshi_platform.simulator import running
from kalshi_platform_tests.gatherer.exchange_at_hand import KEY_ID, keys, options


class Followers:
    """Room for so many markets, and what came and went."""

    def __init__(self, room: int = 10**6) -> None:
        self.room = room
        self.followed: set[str] = set()
        self.left: list[str] = []

    def follow(self, tickers: Iterable[str]) -> Sequence[str]:
        """Take as many as fit."""
        homeless = []
        for ticker in tickers:
            if len(self.followed) < self.room:
                self.followed.add(ticker)
            else:
                homeless.append(ticker)
        return homeless

    def leave(self, tickers: Iterable[str]) -> None:
        """Let them go."""
        self.left.extend(tickers)
        self.followed.difference_update(tickers)


def _registry(rest: RestClient, followers: Followers) -> Registry:
    return Registry(rest, followers.follow, followers.leave, _no_waits, lambda: 7, include_multivariate=False)


async def test_every_open_market_is_followed_and_the_homeless_are_offered_again(tmp_path: Path) -> None:
    """A market without room is not forgotten: it comes when there is room."""
    _, public = keys(tmp_path)
    async with running(options(tmp_path, public, rate=0.0)) as simulator, RestClient(simulator.rest_url) as rest:
        followers = Followers(room=20)
        registry = _registry(rest, followers)
        await registry.walk()
        assert len(followers.followed) == 20
        followers.room = 100
        await registry.walk()
        assert followers.followed == set(simulator.exchange.catalogue.markets)


async def test_lifecycle_messages_come_between_walks(tmp_path: Path) -> None:
    """A new market is followed at once, a settled one left; one that never was is not left."""
    _, public = keys(tmp_path)
    async with running(options(tmp_path, public, rate=0.0)) as simulator, RestClient(simulator.rest_url) as rest:
        followers = Followers()
        registry = _registry(rest, followers)
        for event in ("created", "activated", "determined", "settled", "settled"):
            registry.on_lifecycle(
                LifecycleFrame(sid=1, seq=1, msg=LifecycleBody(market_ticker="NEW", event_type=event))
            )
        assert followers.followed == set()
        assert followers.left == ["NEW"]


async def test_a_market_that_settled_unheard_is_left_at_the_next_walk(tmp_path: Path) -> None:
    """Its message was lost with a connection; REST knows."""
    _, public = keys(tmp_path)
    lively = options(tmp_path, public, markets=40, rate=20_000.0, close_market_seconds=0.05, new_market_seconds=0.0)
    async with running(lively) as simulator, RestClient(simulator.rest_url) as rest:
        followers = Followers()
        registry = _registry(rest, followers)
        await registry.walk()
        while not followers.left:
            await registry.walk()
        assert not followers.followed & set(followers.left)


async def test_the_exchange_s_pause_is_known_after_a_walk(tmp_path: Path) -> None:
    """Silence counts from when trading went on."""
    private, public = keys(tmp_path)
    signer = load_signer(KEY_ID, private, lambda: time.time_ns() // 10**6)  # unsigned answers may be 15 s old
    quiet = options(tmp_path, public, rate=0.0)
    async with running(quiet) as simulator, RestClient(simulator.rest_url, signer) as rest:
        registry = _registry(rest, Followers())
        await registry.walk()
        assert registry.hours.is_active
        simulator.pause()
        await registry.walk()
        assert not registry.hours.is_active
        simulator.resume()
        await registry.walk()
        assert (registry.hours.is_active, registry.hours.active_since_us) == (True, 7)


def _no_waits() -> Iterator[float]:
    while True:
        yield 0.0
