"""The asyncio shell around one WebSocket: sign, connect, receive, send. Small enough to read in one breath.

Kept out: what frames mean (session, core) and how long to wait before connecting again (the gatherer).
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.frames import DATA_OPCODES, Frame

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, ExchangeUnavailable, PlatformError
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.signing import Signer

PING_US = 10 * SECOND
"""The exchange pings this often (kalshi-protocol.md §3.1)."""

MISSED_PINGS = 3
"""Pings that may stay away, with all else silent too, before the other side counts as dead."""

_LARGEST_MESSAGE = 64 * 2**20  # kalshi-protocol.md §3.1
_TOO_MANY = 429
_FINAL_STATUSES = frozenset({400, 401, 403, 404})


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """How a connection is made.

    Attributes:
        high: Frames waiting for the consumer above which nothing is read from the network.
        low: Frames below which reading goes on.
        deflate: Whether to offer permessage-deflate; it saves bandwidth, costs time for every frame.
        open_timeout: Seconds for the handshake.
    """

    high: int = 1024
    low: int = 256
    deflate: bool = False
    open_timeout: float = 10.0


class _Listening(ClientConnection):
    """Notes when each message and each ping came in, which is before anybody asks for it."""

    now_us: Callable[[], int]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.arrivals: deque[int] = deque()
        self.alive_us = 0

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame):
            self.alive_us = self.now_us()
            if event.fin and event.opcode in DATA_OPCODES:
                self.arrivals.append(self.alive_us)
        super().process_event(event)


class Socket:
    """An open WebSocket; iterate over it for `(frame, received_us)`.

    Args:
        connection: The open connection.
        now_us: The clock, µs since 1970.
    """

    def __init__(self, connection: _Listening, now_us: Callable[[], int]) -> None:
        self._connection = connection
        self._now_us = now_us

    @property
    def depth(self) -> int:
        """Messages that have come and wait to be taken; reading pauses above the high mark."""
        return len(self._connection.arrivals)

    def check_alive(self) -> None:
        """Look whether the exchange still speaks; it pings every ten seconds.

        Raises:
            ExchangeUnavailable: Where neither ping nor message came for three intervals, while there was room.
        """
        silent_us = self._now_us() - self._connection.alive_us
        if not self.depth and silent_us > MISSED_PINGS * PING_US:
            raise ExchangeUnavailable(f"neither a ping nor a message for {silent_us / SECOND:.0f} s")

    async def __aiter__(self) -> AsyncIterator[tuple[bytes, int]]:
        """Frames as bytes, each with the time of its receipt.

        Raises:
            ExchangeUnavailable: When the connection closes.
        """
        try:
            while True:
                raw = await self._connection.recv(decode=False)
                yield raw, self._connection.arrivals.popleft()
        except ConnectionClosed as closed:
            raise classify(closed) from closed

    async def send(self, command: bytes) -> None:
        """Send one command.

        Raises:
            ExchangeUnavailable: When the connection is closed.
        """
        try:
            await self._connection.send(command, text=True)
        except ConnectionClosed as closed:
            raise classify(closed) from closed


@asynccontextmanager
async def open_socket(
    url: str, signer: Signer | None, now_us: Callable[[], int], options: SocketOptions | None = None
) -> AsyncIterator[Socket]:
    """A connection, signed anew each time, closed on leaving.

    Raises:
        ExchangeRefused: Credentials, clock or address are wrong; trying again would not help.
        ExchangeUnavailable: The network or the exchange fails just now.
        ConfigurationError: The address is none.
    """
    options = options or SocketOptions()
    headers = {} if signer is None else signer.headers("GET", urlsplit(url).path)
    kind = type("Listening", (_Listening,), {"now_us": staticmethod(now_us)})
    try:
        connection = await connect(
            url,
            additional_headers=headers,
            create_connection=kind,
            max_size=_LARGEST_MESSAGE,
            max_queue=(options.high, options.low),
            compression="deflate" if options.deflate else None,
            open_timeout=options.open_timeout,
            ping_interval=None,  # the exchange pings
        )
    except (OSError, WebSocketException) as error:
        raise classify(error, url) from error
    assert isinstance(connection, _Listening)  # noqa: S101 - for the type checker: `kind` made it
    connection.alive_us = now_us()
    try:
        yield Socket(connection, now_us)
    finally:
        await connection.close()


def classify(error: Exception, url: str = "") -> PlatformError:
    """What a failure means: worth another attempt, or a person must act.

    | failure | verdict |
    |---|---|
    | no WebSocket address | configuration |
    | handshake answered 400, 401, 403, 404 | refused: key, environment, clock or path; the same again (pitfall 29) |
    | handshake answered 429 | unavailable: too many connections for this key, others may go |
    | handshake answered 5xx, a redirect, or anything else | unavailable |
    | no connection, time-out, TLS, half a handshake | unavailable |
    | closed, with whatever code: 1000, 1001, 1006 (cut), 1008, 1009, 1011, 1012 … | unavailable: connect anew |

    No close code is final: the exchange documents none, and sends bad credentials away at the handshake already.
    """
    if isinstance(error, InvalidURI):
        return ConfigurationError(f"KALSHI_WS_URL is no WebSocket address: {url}")
    if isinstance(error, InvalidStatus):
        return _by_status(error.response.status_code)
    if isinstance(error, ConnectionClosed):
        return ExchangeUnavailable(f"the connection closed: {error}")
    if isinstance(error, InvalidMessage | InvalidHandshake | OSError | TimeoutError):
        return ExchangeUnavailable(f"cannot connect to {url}: {error}")
    return ExchangeUnavailable(f"the connection failed: {error}")


def _by_status(status: int) -> PlatformError:
    if status in _FINAL_STATUSES:
        return ExchangeRefused(
            f"the exchange refused the handshake with {status}: check the key id, the private key, that both belong "
            "to this environment, and that this machine's clock is right within 30 s"
        )
    if status == _TOO_MANY:
        return ExchangeUnavailable("the exchange refuses the connection with 429: too many connections for this key")
    return ExchangeUnavailable(f"the exchange answered the handshake with {status}")
