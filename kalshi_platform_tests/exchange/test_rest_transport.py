"""One request and all that may become of it, against a server that says what it is told to."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from aiohttp import web

from kalshi_platform.core.errors import ExchangeRefused, ExchangeUnavailable
from kalshi_platform.exchange.bucket import Limit, TokenBucket
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.errors import NotFound, RateLimited, UnexpectedAnswer
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.transport import patience

API = "/trade-api/v2"
Answer = Callable[[web.Request], web.Response]


class Server:
    """Answers each request with the next of its answers, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note what was asked, and answer."""
        self.asked.append(request.path_qs)
        return (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])(request)


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[tuple[Server, RestClient]]:
    """A server with these answers and an unsigned client with three attempts."""
    server = Server(*answers)
    application = web.Application()
    application.router.add_route("GET", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}{API}"
        waits = patience(attempts=3, first=0.001)
        async with RestClient(server.url, waits=waits, bucket=TokenBucket(Limit(1e6, 1e6))) as client:
            yield server, client
    finally:
        await runner.cleanup()


def says(status: int, text: str = "{}") -> Answer:
    """An answer."""
    return lambda _: web.Response(status=status, text=text, content_type="application/json")


def leads_to(location: str, status: int = 301) -> Answer:
    """A redirect."""
    return lambda _: web.Response(status=status, headers={"Location": location})


UP = '{"exchange_active":true,"trading_active":true,"news":[1.10]}'
DOWN = '{"exchange_active":false,"trading_active":false,"exchange_estimated_resume_time":"2026-11-26T10:00:00Z"}'
EMPTY = '{"markets":[]}'


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
async def test_what_is_retryable_is_tried_again(status: int) -> None:
    """A moment later the same request succeeds; the error's body may be anything."""
    async with serving(says(status, "<html>"), says(status, '{"error":"too many requests"}'), says(200, UP)) as (
        server,
        client,
    ):
        assert (await client.status()).exchange_active
        assert len(server.asked) == 3


async def test_patience_ends() -> None:
    """After the last wait the last error is raised."""
    async with serving(says(429, '{"error":"too many requests"}')) as (server, client):
        with pytest.raises(RateLimited, match="GET /exchange/status answered 429: too many requests"):
            await client.status()
        assert len(server.asked) == 3


@pytest.mark.parametrize(("status", "kind"), [(400, ExchangeRefused), (401, ExchangeRefused), (404, NotFound)])
async def test_what_is_refused_is_not_asked_again(status: int, kind: type[Exception]) -> None:
    """One request, one error."""
    async with serving(says(status, '{"error":{"code":"x"}}')) as (server, client):
        with pytest.raises(kind):
            await client.status()
        assert len(server.asked) == 1


async def test_a_closed_exchange_says_so_with_503() -> None:
    """The status answers with its own body under 503; other paths do not."""
    async with serving(says(503, DOWN)) as (server, client):
        status = await client.status()
        assert (status.exchange_active, status.exchange_estimated_resume_time) == (False, "2026-11-26T10:00:00Z")
        assert len(server.asked) == 1
        with pytest.raises(ExchangeUnavailable):
            await client.schedule()


async def test_unknown_fields_are_kept_exactly() -> None:
    """What no record names is in `extra`, numbers as Decimal."""
    async with serving(says(200, UP)) as (_, client):
        assert str((await client.status()).extra) == "{'news': [Decimal('1.10')]}"


@pytest.mark.parametrize("body", ["", "[]", '"x"', '{"markets":7}', '{"markets":[{"ticker":1}]}', '{"cursor":""}'])
async def test_a_success_that_is_none(body: str) -> None:
    """A body of another shape is an error, not an empty list, and not asked for again."""
    async with serving(says(200, body)) as (server, client):
        with pytest.raises(UnexpectedAnswer, match="unexpected body"):
            _ = [market async for market in client.markets()]
        assert len(server.asked) == 1


async def test_a_redirect_at_home_is_followed_with_its_filters() -> None:
    """A path without its slash; filters are repeated where the redirect forgets them."""
    async with serving(leads_to(f"{API}/markets2"), says(200, EMPTY)) as (server, client):
        assert [one async for one in client.markets(MarketFilters(tickers=("A", "B")))] == []
        assert server.asked == [f"{API}/markets?tickers=A%2CB&limit=1000", f"{API}/markets2?tickers=A%2CB&limit=1000"]


@pytest.mark.parametrize("location", ["http://localhost:1/trade-api/v2/markets", "https://127.0.0.1/x", "/elsewhere"])
async def test_a_redirect_elsewhere_is_not_followed(location: str) -> None:
    """A signature goes nowhere but to the exchange's API."""
    async with serving(leads_to(location)) as (server, client):
        with pytest.raises(ExchangeRefused, match="not followed"):
            _ = [one async for one in client.markets()]
        assert len(server.asked) == 1


async def test_answers_that_no_client_can_read_pass() -> None:
    """Broken compression, or a redirect that is no address: a gateway's trouble, and no reason for a crash."""
    async with serving(
        lambda _: web.Response(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
        leads_to("http://nowhere:port/"),
        says(200, UP),
    ) as (server, client):
        assert (await client.status()).exchange_active
        assert len(server.asked) == 3


async def test_redirects_in_a_circle_end() -> None:
    """Three are enough."""
    async with serving(leads_to(f"{API}/markets")) as (server, client):
        with pytest.raises(ExchangeRefused, match="again and again"):
            _ = [one async for one in client.markets()]
        assert len(server.asked) == 3


async def test_nobody_at_home() -> None:
    """A refused connection is worth another try, and says what was asked."""
    waits = patience(attempts=2, first=0.001)
    async with RestClient(f"http://127.0.0.1:1{API}", waits=waits) as client:
        with pytest.raises(ExchangeUnavailable, match=r"GET /exchange/status at 127\.0\.0\.1:1: "):
            await client.status()


@pytest.mark.parametrize(("ahead", "age"), [(0, 0), (-40, 0), (40, 0), (0, 15)])
async def test_the_clocks_are_compared(ahead: int, age: int) -> None:
    """Every answer says what time it is there; one out of a cache says how old it is."""
    said = formatdate(time.time() - ahead - age, usegmt=True)
    headers = {"Date": said, "Age": str(age)} if age else {"Date": said}
    async with serving(lambda _: web.Response(text=UP, headers=headers, content_type="application/json")) as (
        _,
        client,
    ):
        assert client.clock_ahead is None
        await client.status()
        assert client.clock_ahead == pytest.approx(ahead, abs=1.5)


async def test_an_answer_without_a_date_says_nothing_of_the_clock() -> None:
    """Nor does one with nonsense."""
    answer = web.Response(text=UP, headers={"Date": "soon"}, content_type="application/json")
    async with serving(lambda _: answer) as (_, client):
        await client.status()
        assert client.clock_ahead is None
