"""What stands before every REST handler: limits, the cache, chosen failures; and what the account is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from kalshi_platform.simulator import Simulator, running
from kalshi_platform.simulator.limits import KeyBucket
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.rest.gate import Cache
from kalshi_platform.simulator.rest.options import RestOptions

PREFIX = "/trade-api/v2"


@asynccontextmanager
async def asking(options: Any) -> AsyncIterator[tuple[Simulator, Callable[..., Any]]]:
    """An exchange and a way to get status and body."""
    async with running(options) as simulator, aiohttp.ClientSession() as http:

        async def get(path: str, signer: Any = None) -> tuple[int, Any, Any]:
            headers = signer.headers(PREFIX + path) if signer else {}
            async with http.get(simulator.rest_url + path, headers=headers) as response:
                return response.status, await response.json(), response.headers

        yield simulator, get


def test_a_bucket_refills_and_refuses() -> None:
    """Continuous refill up to its capacity; a refusal costs nothing and is counted."""
    bucket = KeyBucket(rate=100, capacity=30, now_ms=0)
    assert [bucket.take(10, 0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(10, 99)
    assert bucket.take(10, 100)
    assert [bucket.take(15, 10_000) for _ in range(3)] == [True, True, False]
    assert (bucket.granted, bucket.refused, bucket.lowest) == (6, 3, 0.0)
    assert not bucket.take(10, 9_000), "a clock that was set back refills nothing"


def test_options_that_cannot_be() -> None:
    """The text names the field."""
    with pytest.raises(ValueError, match="tier must be one of basic"):
        RestOptions(tier="gold")
    with pytest.raises(ValueError, match="cache_seconds must not be negative"):
        RestOptions(cache_seconds=-1)


async def test_too_many_requests(options: Any, signer: Any, signers: Any) -> None:
    """Beyond the tier's bucket 429 with a text as error and no word on when; other keys are not concerned."""
    rest = RestOptions(default_cost=200, endpoint_costs={"/markets/{ticker}": 1})
    async with asking(options(rest=rest)) as (simulator, get):
        answers = [await get("/series", signer) for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        _, body, headers = answers[-1]
        assert body == {"error": "too many requests"}
        assert not any("retry" in name.lower() or "ratelimit" in name.lower() for name in headers)
        assert (await get("/series"))[0] == (await get("/series", signers["rsa"]))[0] == 200
        ticker = next(iter(simulator.exchange.catalogue.markets))
        assert (await get(f"/markets/{ticker}", signer))[0] == 200, "this costs one token"
        measured = simulator.rest.gate.limits.buckets[signer.key_id]
        assert (measured.granted, measured.refused) == (3, 1)


async def test_the_account_is_told(options: Any, signer: Any) -> None:
    """Limits of the tier for who signs, 401 for others; costs for everybody."""
    rest = RestOptions(tier="premier", endpoint_costs={"/series": 3})
    async with asking(options(rest=rest)) as (_, get):
        assert (await get("/account/limits"))[0] == 401
        _, limits, _ = await get("/account/limits", signer)
        assert limits["read"] == {"refill_rate": 1200, "bucket_capacity": 1200}
        assert (await get("/account/endpoint_costs"))[1] == {
            "default_cost": 10,
            "endpoint_costs": [{"method": "GET", "path": "/trade-api/v2/series", "cost": 3}],
        }


async def test_anybody_gets_what_was_true_a_moment_ago(options: Any, signer: Any) -> None:
    """An anonymous answer may be 15 s old, a signed one is not."""
    async with asking(options()) as (simulator, get):
        market = simulator.exchange.catalogue.touch(3)
        path = f"/markets/{market.ticker}"
        _, before, headers = await get(path)
        assert headers["Cache-Control"] == "public, max-age=15"
        market.status = Status.INACTIVE
        assert (await get(path))[1] == before
        _, now, headers = await get(path, signer)
        assert now["market"]["status"] == "inactive"
        assert "Cache-Control" not in headers
        assert (await get("/markets/KXNOBODY"))[0] == 404


def test_the_cache_has_a_bound() -> None:
    """Old answers make room and grow stale."""
    cache = Cache(age_ms=1000)
    megabyte = bytes(2**20)
    for number in range(40):
        cache.put(str(number), megabyte, now_ms=number)
    assert cache.get("0", 40) is None
    assert cache.get("39", 40) == megabyte
    assert cache.get("39", 39 + 1000) is None


async def test_chosen_failures(options: Any) -> None:
    """Counted from the first request on; more may be added while it runs."""
    async with asking(options(rest=RestOptions(failures={2: 503, 3: 429}))) as (simulator, get):
        assert [(await get("/series"))[0] for _ in range(4)] == [200, 503, 429, 200]
        simulator.rest.gate.failures[5] = 500
        assert [(await get("/series"))[0] for _ in range(2)] == [500, 200]


async def test_a_last_page_without_cursor(options: Any) -> None:
    """If so chosen, the key is missing on the last page and there on the others."""
    async with asking(options(rest=RestOptions(omit_last_cursor=True))) as (_, get):
        assert "cursor" in (await get("/markets?limit=5"))[1]
        assert "cursor" not in (await get("/markets?limit=500"))[1]
