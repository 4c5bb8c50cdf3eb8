"""What every REST request passes before its handler: chosen failures, its key's bucket, the cache for anybody.

Anonymous answers come from a cache up to 15 s old (protocol §1), signed ones are fresh and billed.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from aiohttp import web

from kalshi_platform.simulator.limits import Limits
from kalshi_platform.simulator.requests import TOO_MANY_REQUESTS, answer, answer_bytes
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform.simulator.websocket import KEY_ID

Handler = Callable[[web.Request], Awaitable[web.Response]]

_MOST_CACHED_BYTES = 32 * 1024 * 1024


class Gate:
    """Stands before all handlers."""

    def __init__(self, options: RestOptions, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.failures = dict(options.failures)
        """Number of a request → the status it gets; more may be put in while the exchange runs."""
        self.requests = 0
        """Requests that came, refused ones included."""
        self.limits = Limits(options)
        self._cache = Cache(round(options.cache_seconds * 1000))

    def before(self, path: str, handler: Handler) -> Handler:
        """A handler behind the gate; the path as in the routes."""

        async def gated(request: web.Request) -> web.Response:
            self.requests += 1
            if (failure := self.failures.get(self.requests)) is not None:
                return _failure(failure)
            key_id = request.get(KEY_ID)
            if key_id is None:
                return await self._cached(request, handler)
            if not self.limits.take(key_id, path, self._clock()):
                return answer_bytes(TOO_MANY_REQUESTS, 429)
            return await handler(request)

        return gated

    async def _cached(self, request: web.Request, handler: Handler) -> web.Response:
        now_ms = self._clock()
        body = self._cache.get(request.path_qs, now_ms)
        if body is None:
            response = await handler(request)
            if response.status != 200 or not isinstance(response.body, bytes):
                return response
            body = response.body
            self._cache.put(request.path_qs, body, now_ms)
        response = answer_bytes(body, 200)
        response.headers["Cache-Control"] = f"public, max-age={self._cache.age_ms // 1000}"
        return response


class Cache:
    """Recent answers by path and query, as many as fit."""

    def __init__(self, age_ms: int) -> None:
        self.age_ms = age_ms
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    def get(self, name: str, now_ms: int) -> bytes | None:
        """An answer that is young enough."""
        kept_ms, body = self._kept.get(name, (now_ms - self.age_ms, b""))
        return body if now_ms - kept_ms < self.age_ms else None

    def put(self, name: str, body: bytes, now_ms: int) -> None:
        """Keep an answer; the oldest make room."""
        if not self.age_ms:
            return
        self._bytes += len(body) - len(self._kept.pop(name, (0, b""))[1])
        self._kept[name] = (now_ms, body)
        while self._bytes > _MOST_CACHED_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1][1])


def _failure(status: int) -> web.Response:
    if status == 429:
        return answer_bytes(TOO_MANY_REQUESTS, status)
    word = "service_unavailable" if status == 503 else "internal_server_error"
    return answer({"error": {"code": word, "message": word.replace("_", " ")}}, status)
