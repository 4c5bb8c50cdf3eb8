"""The REST client: every endpoint that a data platform needs, typed, paid for, patient.

Here belongs how the parts are put together; the endpoints are in `rest_exchange`, `rest_catalogue`, `rest_lookups`,
`rest_markets` and `rest_candles`, both sides of the historical cutoff at once in `rest_range`. Kept out: storage of
what comes back.
"""

from types import TracebackType
from typing import Self

from kalshi_platform.exchange.bucket import TokenBucket
from kalshi_platform.exchange.rest_candles import CandleEndpoints
from kalshi_platform.exchange.rest_catalogue import CatalogueEndpoints
from kalshi_platform.exchange.rest_exchange import ExchangeEndpoints
from kalshi_platform.exchange.rest_lookups import LookupEndpoints
from kalshi_platform.exchange.rest_markets import MarketEndpoints
from kalshi_platform.exchange.rest_range import RangeEndpoints
from kalshi_platform.exchange.rest_transport import Transport, Waits, patience
from kalshi_platform.exchange.signing import Signer


class RestClient(
    ExchangeEndpoints, CatalogueEndpoints, LookupEndpoints, MarketEndpoints, CandleEndpoints, RangeEndpoints
):
    """The exchange over HTTPS; use as an async context manager.

    Args:
        base_url: Ends in `/trade-api/v2`.
        signer: None asks as anybody may; such answers come from a cache up to 15 s old (kalshi-pitfalls.md 43).
        bucket: Where requests are paid for. Unless given, everything in the process that asks this host with this key
            shares one, which learns from the exchange what the key may spend; without a signer it holds the Basic tier.
        waits: Makes the waits between attempts at what is retryable; some ten seconds in all unless given.
    """

    def __init__(
        self,
        base_url: str,
        signer: Signer | None = None,
        *,
        bucket: TokenBucket | None = None,
        waits: Waits | None = None,
    ) -> None:
        self._transport = Transport(base_url, signer, bucket, waits or patience())
        self._endpoints = self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    @property
    def bucket(self) -> TokenBucket:
        """Where this client's requests are paid for."""
        return self._transport.bucket

    @property
    def clock_ahead(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the exchange's, to the second; None before any answer."""
        return self._transport.clock_ahead
