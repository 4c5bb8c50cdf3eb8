"""The REST client: typed answers, whole walks over pages.

Here belong the endpoints of kalshi-protocol.md §2.3 that the platform uses. Kept out: storage of what comes back.
"""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from kalshi_platform.core.errors import ExchangeRefused, ExchangeUnavailable
from kalshi_platform.exchange.signing import Signer

_PAGE = 1000
_TOO_MANY = 429
_SERVER_ERRORS = range(500, 600)


class ExchangeStatus(msgspec.Struct, frozen=True):
    """Whether the exchange is up and trades, and when it means to be back."""

    exchange_active: bool
    trading_active: bool
    exchange_estimated_resume_time: str | None = None


class Market(msgspec.Struct, frozen=True):
    """One market, as far as the platform needs it."""

    ticker: str
    event_ticker: str
    status: str
    open_time: str | None = None
    close_time: str | None = None
    volume_24h_fp: str | None = None


class _MarketPage(msgspec.Struct, frozen=True):
    markets: list[Market]
    cursor: str | None = None  # the last page may omit the key (kalshi-pitfalls.md 40)


Answer = TypeVar("Answer")


class RestClient:
    """The exchange over HTTPS; use as an async context manager.

    Args:
        base_url: Ends in `/trade-api/v2`.
        signer: None asks as anybody may; such answers come from a cache up to 15 s old (kalshi-pitfalls.md 43).
    """

    def __init__(self, base_url: str, signer: Signer | None = None) -> None:
        self._client = httpx.AsyncClient(base_url=base_url.rstrip("/"), timeout=30)
        self._path = urlsplit(base_url).path.rstrip("/")
        self._signer = signer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def status(self) -> ExchangeStatus:
        """The exchange's own word on whether it is open; it answers this even with 503."""
        return await self._get("/exchange/status", {}, ExchangeStatus, unavailable_is_answer=True)

    async def markets(self, *, include_multivariate: bool = False, **filters: str) -> AsyncIterator[Market]:
        """Every market that the filters match, page by page; filters are repeated on each page."""
        query: dict[str, str | int] = {"limit": _PAGE, **filters}
        if not include_multivariate:
            query["mve_filter"] = "exclude"  # combos dominate the listing (kalshi-pitfalls.md 34)
        while True:
            page = await self._get("/markets", query, _MarketPage)
            for market in page.markets:
                yield market
            if not page.cursor:
                return
            query["cursor"] = page.cursor

    async def _get(
        self,
        path: str,
        query: Mapping[str, str | int],
        kind: type[Answer],
        *,
        unavailable_is_answer: bool = False,
    ) -> Answer:
        headers = {} if self._signer is None else self._signer.headers("GET", self._path + path)
        try:
            response = await self._client.get(path, params=dict(query), headers=headers)
        except httpx.TransportError as error:
            raise ExchangeUnavailable(f"GET {path}: {error or type(error).__name__}") from error
        code = response.status_code
        if code == _TOO_MANY or (code in _SERVER_ERRORS and not unavailable_is_answer):
            raise ExchangeUnavailable(f"GET {path} answered {code}")
        if not response.is_success and code not in _SERVER_ERRORS:
            raise ExchangeRefused(f"GET {path} answered {code}: {response.text[:200]}")
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.DecodeError as error:
            raise ExchangeUnavailable(f"GET {path} answered {code} with an unexpected body: {error}") from error
