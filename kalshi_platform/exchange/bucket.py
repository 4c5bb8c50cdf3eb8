"""How fast one key may ask: a token bucket of our own that stays inside the exchange's (kalshi-protocol.md §2.2).

Everything in a process that asks with one key takes from one bucket: `shared_bucket`. Kept out: what a request is.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from kalshi_platform.exchange.rest.objects import EndpointCosts

_HEADROOM = 0.2
_API_PATH = "/trade-api/v2"


@dataclass(frozen=True, slots=True)
class Limit:
    """Tokens a second, most tokens at once, tokens per request; the default is the Basic tier's."""

    rate: float = 200.0
    capacity: float = 400.0
    cost: int = 10


class TokenBucket:
    """Hands out tokens in the order of asking; who comes too early sleeps.

    A fifth of the exchange's capacity stays unused: requests that overtake each other on the way must not find its
    bucket empty. A request takes its tokens before it sleeps, so that no two wait for the same ones.

    Args:
        limit: What the exchange grants; the default tier until `/account/limits` says otherwise.
        clock: Seconds, never set back.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        limit: Limit | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._limit = limit or Limit()
        self._clock = clock
        self._sleep = sleep
        self._usable = self._limit.capacity * (1 - _HEADROOM)
        self._level = self._usable
        self._looked = clock()
        self._costs: list[tuple[re.Pattern[str], int]] = []
        self.is_fed = False
        """Whether the exchange itself said what it grants."""

    @property
    def limit(self) -> Limit:
        """What the exchange grants, as far as it is known."""
        return self._limit

    def feed(self, rate: float, capacity: float) -> None:
        """Take over what `/account/limits` says; tokens spent so far stay spent."""
        self._refill()
        self._limit = Limit(rate, capacity, self._limit.cost)
        self._usable = capacity * (1 - _HEADROOM)
        self._level = min(self._level, self._usable)
        self.is_fed = True

    def learn_costs(self, costs: EndpointCosts) -> None:
        """Take over what `/account/endpoint_costs` says of reads."""
        self._limit = Limit(self._limit.rate, self._limit.capacity, costs.default_cost)
        self._costs = [(_pattern(one.path), one.cost) for one in costs.endpoint_costs if one.method.upper() == "GET"]

    def cost(self, path: str) -> int:
        """Tokens that one GET of a path takes; the path as below the API's root."""
        return next((cost for pattern, cost in self._costs if pattern.fullmatch(path)), self._limit.cost)

    async def take(self, tokens: float) -> None:
        """Come back when so many tokens may be spent; they are given back if the wait is cancelled."""
        self._refill()
        self._level -= tokens
        if self._level >= 0:
            return
        try:
            await self._sleep(-self._level / self._limit.rate)
        except asyncio.CancelledError:
            self._level += tokens
            raise

    def drain(self) -> None:
        """The exchange says that its bucket is empty, whoever emptied it."""
        self._refill()
        self._level = min(self._level, 0.0)

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._usable, self._level + (now - self._looked) * self._limit.rate)
        self._looked = now


_buckets: dict[tuple[str, str], TokenBucket] = {}  # state of the whole process: one bucket per host and key


def shared_bucket(host: str, key_id: str) -> TokenBucket:
    """The bucket of a key at a host, one for the whole process; anonymous requests share the empty key."""
    return _buckets.setdefault((host, key_id), TokenBucket())


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("".join(_pieces(re.split(r"(\{[^}]*\})", path.removeprefix(_API_PATH)))))


def _pieces(parts: Iterable[str]) -> Iterable[str]:
    return ("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
