"""The token bucket on a clock of its own."""

import asyncio

import pytest

from kalshi_platform.exchange.bucket import Limit, TokenBucket, shared_bucket
from kalshi_platform.exchange.rest.objects import EndpointCost, EndpointCosts


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


def bucket(clock: Clock, rate: float = 100.0, capacity: float = 200.0) -> TokenBucket:
    """A bucket on this clock."""
    return TokenBucket(Limit(rate, capacity), clock, clock.sleep)


async def test_a_burst_is_free_and_then_the_rate_holds(clock: Clock) -> None:
    """A fifth of the capacity stays unused; after that each ten tokens take a tenth of a second."""
    one = bucket(clock)
    for _ in range(16):
        await one.take(10)
    assert clock.now == 1000.0
    for _ in range(50):
        await one.take(10)
    assert clock.now == pytest.approx(1005.0)


async def test_idle_time_never_saves_more_than_the_capacity(clock: Clock) -> None:
    """An hour of silence buys one burst."""
    one = bucket(clock)
    clock.now += 3600
    for _ in range(26):
        await one.take(10)
    assert clock.now == pytest.approx(4601.0)


async def test_who_asks_first_goes_first() -> None:
    """Tasks that wait together are let go in the order of asking, one by one."""
    order: list[int] = []
    one = TokenBucket(Limit(2000.0, 12.5))

    async def ask(number: int) -> None:
        await one.take(10)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(ask(number))
    assert order == list(range(8))


async def test_a_cancelled_wait_gives_its_tokens_back() -> None:
    """Whoever comes next does not wait for somebody who left."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.Event().wait()

    one = TokenBucket(Limit(10.0, 12.5), lambda: 0.0, sleep)
    await one.take(10)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await one.take(20)
    assert slept == [2.0, 2.0]


async def test_what_the_exchange_says_counts(clock: Clock) -> None:
    """New limits hold from now on and spent tokens stay spent; a refusal empties the bucket."""
    one = bucket(clock)
    await one.take(160)
    one.feed(1000.0, 2000.0)
    assert one.is_fed
    await one.take(100)
    assert clock.now == pytest.approx(1000.1)
    clock.now += 60
    one.drain()
    await one.take(500)
    assert clock.now == pytest.approx(1060.6)


def test_costs_are_found_by_path(clock: Clock) -> None:
    """Names in braces stand for one segment; only reads count; everything else costs the default."""
    one = bucket(clock)
    exceptions = [("GET", "/trade-api/v2/markets/{ticker}", 3), ("GET", "/series", 4), ("POST", "/markets", 9)]
    costs = tuple(EndpointCost(method=method, path=path, cost=cost) for method, path, cost in exceptions)
    one.learn_costs(EndpointCosts(default_cost=7, endpoint_costs=costs))
    asked = {path: one.cost(path) for path in ("/markets/KX-1.5", "/markets/KX/orderbook", "/markets", "/series")}
    assert asked == {"/markets/KX-1.5": 3, "/markets/KX/orderbook": 7, "/markets": 7, "/series": 4}


def test_a_key_at_a_host_has_one_bucket() -> None:
    """Everything in the process shares it, and nothing else does."""
    assert shared_bucket("a.test:1", "key") is shared_bucket("a.test:1", "key")
    assert shared_bucket("a.test:1", "key") is not shared_bucket("a.test:1", "")
    assert shared_bucket("a.test:1", "key") is not shared_bucket("a.test:2", "key")
