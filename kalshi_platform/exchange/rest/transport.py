"""One request over HTTPS: paid for, signed, redirected, tried again, decoded.

Here belongs what all endpoints share. Kept out: which endpoints there are.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, ExchangeUnavailable
from kalshi_platform.core.masking import masked
from kalshi_platform.exchange.bucket import TokenBucket, shared_bucket
from kalshi_platform.exchange.rest.errors import NotFound, RateLimited, UnexpectedAnswer, error_of
from kalshi_platform.exchange.rest.objects import AccountLimits, EndpointCosts
from kalshi_platform.exchange.rest.pages import Page, Pages, Walk
from kalshi_platform.exchange.rest.records import Record, decode, read_page, to_record, to_records
from kalshi_platform.exchange.signing import Signer

Value = str | int | bool | Sequence[str] | None
"""A query parameter; None is not sent, a sequence is sent once per element."""

Waits = Callable[[], Iterator[float]]
"""Makes the seconds to wait before each further attempt; when they end, the last error is raised."""

Kind = TypeVar("Kind", bound=Record)
Answer = TypeVar("Answer")

_MOST_REDIRECTS = 3
_HALF_SECOND = 0.5  # an answer's date is cut to the second
_STATUS_PATH = "/exchange/status"
_DOWN = frozenset({500, 503, 504})


def patience(attempts: int = 6, first: float = 0.25, longest: float = 8.0, random: Random | None = None) -> Waits:
    """Exponential waits with full jitter, one fewer than attempts."""
    dice = random or Random()  # noqa: S311 - spreads clients, guards nothing

    def waits() -> Iterator[float]:
        for attempt in range(attempts - 1):
            yield dice.uniform(0, min(longest, first * 2**attempt))

    return waits


class Transport:
    """Sends GETs to one exchange with one key; use it through `RestClient`.

    Args:
        base_url: Ends in `/trade-api/v2`.
        signer: None asks as anybody may.
        bucket: Where requests are paid for; the process's own for this host and key unless given.
        waits: Patience with what is retryable.
        sleep: Waits so many seconds.

    Raises:
        ConfigurationError: The address cannot be one.
    """

    def __init__(
        self,
        base_url: str,
        signer: Signer | None,
        bucket: TokenBucket | None,
        waits: Waits,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._base = address_of(base_url)
        self._client = httpx.AsyncClient(timeout=30, follow_redirects=False)
        self._signer = signer
        self.bucket = bucket or shared_bucket(self._base.netloc.decode(), signer.key_id if signer else "")
        self._waits = waits
        self._sleep = sleep
        self._feeding = asyncio.Lock()
        self.clock_ahead: float | None = None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def get(self, path: str, kind: type[Kind], key: str | None = None, **query: Value) -> Kind:
        """One object, which the body is or holds under a key."""
        raw = await self.get_raw(path, query)
        return read(path, lambda: to_record(raw if key is None else raw[key], kind))

    async def get_list(self, path: str, kind: type[Kind], key: str, **query: Value) -> list[Kind]:
        """A list that comes whole."""
        raw = await self.get_raw(path, query)
        return read(path, lambda: to_records(raw[key], kind))

    def walk(self, path: str, kind: type[Kind], key: str, walk: Walk, limit: int, **query: Value) -> Pages[Kind]:
        """A list that comes in pages; every page is asked for with the whole query."""
        return self.walk_with(path, kind, key, walk, query | {"limit": walk.limit or limit})

    def walk_with(self, path: str, kind: type[Kind], key: str, walk: Walk, query: Mapping[str, Value]) -> Pages[Kind]:
        """The same where the query has the size of a page already, under whatever name."""

        async def fetch(cursor: str | None) -> Page[Kind]:
            return await self._get(
                path, {**query, "cursor": cursor or None}, lambda body: Page(*read_page(body, key, kind))
            )

        return Pages(fetch, walk)

    async def get_raw(self, path: str, query: Mapping[str, Value]) -> Any:
        """A decoded body, whatever the attempts it takes.

        Raises:
            ExchangeUnavailable: Patience ran out.
            ExchangeRefused: The exchange will not answer this.
        """
        return await self._get(path, query, decode)

    async def _get(self, path: str, query: Mapping[str, Value], reader: Callable[[bytes], Answer]) -> Answer:
        await self._feed_bucket()
        return await self._attempts(path, query, reader)

    async def learn_limits(self) -> None:
        """Ask the exchange once what this key may spend and what requests cost, and hold the bucket to it."""
        granted = await self._attempt("/account/limits", {}, decode)
        costs = await self._attempt("/account/endpoint_costs", {}, decode)
        limits = read("/account/limits", lambda: to_record(granted, AccountLimits))
        self.bucket.learn_costs(read("/account/endpoint_costs", lambda: to_record(costs, EndpointCosts)))
        self.bucket.feed(float(limits.read.refill_rate), float(limits.read.bucket_capacity))

    async def _feed_bucket(self) -> None:
        """Learn the limits before the first signed request; while they cannot be had, the Basic tier's hold."""
        if self._signer is None or self.bucket.is_fed:
            return
        async with self._feeding:
            if self.bucket.is_fed:
                return
            try:
                await self.learn_limits()
            except NotFound:  # an exchange without accounts: the defaults hold for good
                self.bucket.is_fed = True
            except ExchangeUnavailable:  # the next request asks again; this one says itself how the exchange is
                return

    async def _attempts(self, path: str, query: Mapping[str, Value], reader: Callable[[bytes], Answer]) -> Answer:
        waits = self._waits()
        while True:
            try:
                return await self._attempt(path, query, reader)
            except UnexpectedAnswer:
                raise
            except ExchangeUnavailable as error:
                if isinstance(error, RateLimited):
                    self.bucket.drain()
                wait = next(waits, None)
                if wait is None:
                    raise
            await self._sleep(wait)

    async def _attempt(self, path: str, query: Mapping[str, Value], reader: Callable[[bytes], Answer]) -> Answer:
        response = await self._send(path, query)
        is_status_of_closed = path == _STATUS_PATH and response.status_code in _DOWN
        if is_status_of_closed and b'"exchange_active"' in response.content:
            return read(path, lambda: reader(response.content))
        if not response.is_success:
            raise error_of(path, response.status_code, response.content)
        return read(path, lambda: reader(response.content))

    async def _send(self, path: str, query: Mapping[str, Value]) -> httpx.Response:
        """Send once, and again where a redirect leads, each time signed for the path that is asked."""
        url = self._base.copy_with(raw_path=self._base.raw_path + quote(path).encode())
        if parameters := _parameters(query):
            url = url.copy_with(params=parameters)  # not in one step: raw_path wins over params there
        for _ in range(_MOST_REDIRECTS):
            await self.bucket.take(self.bucket.cost(path))
            try:
                response = await self._client.get(url, headers=self._headers(url))
            except httpx.RequestError as error:
                why = error or type(error).__name__
                raise ExchangeUnavailable(f"GET {path} at {url.netloc.decode()}: {why}") from error
            self._compare_clocks(response)
            if not response.has_redirect_location:
                return response
            url = self._redirected(url, response.headers["location"])
        raise ExchangeRefused(f"GET {path} is redirected again and again")

    def _compare_clocks(self, response: httpx.Response) -> None:
        """Note how far this machine's clock is ahead, to the second; an answer out of a cache is as old as it says."""
        try:
            said = parsedate_to_datetime(response.headers["date"]).timestamp() + float(response.headers.get("age", 0))
        except (KeyError, ValueError):
            return
        self.clock_ahead = time.time() - response.elapsed.total_seconds() / 2 - (said + _HALF_SECOND)

    def _redirected(self, url: httpx.URL, location: str) -> httpx.URL:
        """Where a redirect leads; a signature is never carried to another host, nor filters lost on the way."""
        target = url.join(location)
        home = (target.scheme, target.host, target.port) == (url.scheme, url.host, url.port)
        if not home or not target.path.startswith(f"{self._base.path}/"):
            raise ExchangeRefused(f"GET {url.path} is redirected to {target.copy_with(query=None)}: not followed")
        return target if target.query else target.copy_with(query=url.query or None)

    def _headers(self, url: httpx.URL) -> dict[str, str]:
        if self._signer is None:
            return {}
        return self._signer.headers("GET", url.raw_path.partition(b"?")[0].decode())


def address_of(text: str) -> httpx.URL:
    """An address that can be asked.

    Raises:
        ConfigurationError: For any other text.
    """
    try:
        address = httpx.URL(text.rstrip("/"))
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise ConfigurationError(
            f"{masked(text)} is no address of an exchange; KALSHI_REST_URL is https://…/trade-api/v2"
        )
    return address


def read(path: str, reading: Callable[[], Answer]) -> Answer:
    """Read a body.

    Raises:
        UnexpectedAnswer: It is not what the exchange documents.
    """
    try:
        return reading()
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswer(f"GET {path} answered with an unexpected body: {error!r}") from error


def _parameters(query: Mapping[str, Value]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if isinstance(value, bool):
            pairs.append((name, str(value).lower()))
        elif isinstance(value, str | int):
            pairs.append((name, str(value)))
        elif value is not None:
            pairs += [(name, one) for one in value]
    return pairs
