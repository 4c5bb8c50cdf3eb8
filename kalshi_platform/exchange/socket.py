"""The asyncio shell around one WebSocket: sign, connect, receive, send. Small enough to read in one breath.

Over picows: it takes a frame off the wire at a sixth of the CPU of `websockets` (benchmarks/socket_receive.py). Kept
out: what frames mean (session, core) and how long to wait before connecting again (the gatherer).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from socket import SO_RCVBUF, SOL_SOCKET
from urllib.parse import urlsplit

import picows
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, ExchangeUnavailable, PlatformError
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.inflate import EXTENSION, HEADER, Inflater
from kalshi_platform.exchange.signing import Signer

PING_US = 10 * SECOND
"""The exchange pings this often (kalshi-protocol.md §3.1)."""

MISSED_PINGS = 3
"""Pings that may stay away, with all else silent too, before the other side counts as dead."""

AT_ONCE = 64
"""Messages that are handed over together: commands go out and back-pressure is felt in between."""

_LARGEST_MESSAGE = 64 * 2**20  # kalshi-protocol.md §3.1
_RECEIVE_BUFFER = 2**19
"""What the system holds of a connection, and so the most that can come at once after reading was paused."""

_CLOSING_SECONDS = 2.0
_TOO_MANY = 429
_FINAL_STATUSES = frozenset({400, 401, 403, 404})
_TEXT, _BINARY, _CONTINUATION, _PING, _CLOSE = (
    WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION, WSMsgType.PING, WSMsgType.CLOSE,
)  # fmt: skip


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


class _Listener(WSListener):
    """Keeps messages with the time at which they came in, which is before anybody asks for them."""

    def __init__(self, now_us: Callable[[], int], options: SocketOptions) -> None:
        self.messages: deque[tuple[bytes, int]] = deque()
        self.alive_us = now_us()
        self.wakes = asyncio.Event()
        self.ending = ""
        self.transport: WSTransport | None = None
        self._now_us = now_us
        self._options = options
        self._parts: list[bytes] = []
        self._inflater: Inflater | None = None
        self._is_deflated = False
        self.is_paused = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self.transport = transport
        wire = transport.underlying_transport.get_extra_info("socket")
        wire.setsockopt(SOL_SOCKET, SO_RCVBUF, _RECEIVE_BUFFER)
        if EXTENSION in transport.response.headers.get(HEADER, ""):
            self._inflater = Inflater(_LARGEST_MESSAGE)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Something came: a message, a part of one, a ping, or the end."""
        self.alive_us = self._now_us()
        kind = frame.msg_type
        if kind is _TEXT and frame.fin and not frame.rsv1:
            self._take(frame.get_payload_as_bytes())
        elif kind in (_TEXT, _BINARY, _CONTINUATION):
            self._take_part(frame)
        elif kind is _PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind is _CLOSE:
            self.ending = f"code {_number(frame.get_close_code())} {frame.get_close_reason() or ''}".rstrip()
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """Nothing comes any more."""
        self.ending = self.ending or "cut without a word"
        self.wakes.set()

    def resume(self) -> None:
        """Read from the network again; that nothing was heard meanwhile is no silence of the other side."""
        assert self.transport is not None  # noqa: S101 - for the type checker: it was paused
        self.is_paused = False
        self.alive_us = self._now_us()
        self.transport.underlying_transport.resume_reading()

    def _take(self, message: bytes) -> None:
        self.messages.append((message, self.alive_us))
        waiting = len(self.messages)
        if waiting == 1:
            self.wakes.set()
        if waiting >= self._options.high and not self.is_paused and self.transport is not None:
            self.is_paused = True
            self.transport.underlying_transport.pause_reading()

    def _take_part(self, frame: WSFrame) -> None:
        """A part of a message, or one that is compressed.

        Raises:
            ValueError: Where the message grows too large, or cannot be inflated; picows ends the connection then.
        """
        if frame.msg_type is not _CONTINUATION:
            self._parts.clear()
            self._is_deflated = frame.rsv1
        self._parts.append(frame.get_payload_as_bytes())
        if sum(map(len, self._parts)) > _LARGEST_MESSAGE:
            raise ValueError(f"a message of more than {_LARGEST_MESSAGE} bytes")
        if frame.fin:
            message = b"".join(self._parts)
            self._parts.clear()
            self._take(self._inflater.inflate(message) if self._is_deflated and self._inflater else message)


class Socket:
    """An open WebSocket; iterate over it for sequences of `(frame, received_us)`.

    Args:
        listener: What takes its frames.
        transport: Where commands go.
        now_us: The clock, µs since 1970.
        low: Frames below which reading goes on.
    """

    def __init__(self, listener: _Listener, transport: WSTransport, now_us: Callable[[], int], low: int) -> None:
        self._listener = listener
        self._transport = transport
        self._now_us = now_us
        self._low = low

    @property
    def depth(self) -> int:
        """Messages that have come and wait to be taken; reading pauses above the high mark."""
        return len(self._listener.messages)

    @property
    def oldest_us(self) -> int | None:
        """When the first of these came (µs since 1970); None where none waits."""
        messages = self._listener.messages
        return messages[0][1] if messages else None

    @property
    def alive_us(self) -> int:
        """When the exchange was last heard, be it a ping."""
        return self._listener.alive_us

    def check_alive(self) -> None:
        """Look whether the exchange still speaks; it pings every ten seconds.

        Raises:
            ExchangeUnavailable: Where neither ping nor message came for three intervals, while there was room.
        """
        silent_us = self._now_us() - self._listener.alive_us
        if not self.depth and silent_us > MISSED_PINGS * PING_US:
            raise ExchangeUnavailable(f"neither a ping nor a message for {silent_us / SECOND:.0f} s")

    async def __aiter__(self) -> AsyncIterator[Sequence[tuple[bytes, int]]]:
        """Frames as bytes, each with the time of its receipt, as many at once as have come and at most `AT_ONCE`.

        Raises:
            ExchangeUnavailable: When the connection closes, once everything that had come is taken.
        """
        listener, messages, low = self._listener, self._listener.messages, self._low
        while True:
            while messages:
                taken = [messages.popleft() for _ in range(min(len(messages), AT_ONCE))]
                if listener.is_paused and len(messages) <= low:
                    listener.resume()
                yield taken
            if listener.ending and self._transport.is_disconnected:
                raise ExchangeUnavailable(f"the connection closed: {listener.ending}")
            listener.wakes.clear()
            await listener.wakes.wait()

    async def send(self, command: bytes) -> None:
        """Send one command.

        Raises:
            ExchangeUnavailable: When the connection is closed.
        """
        if self._transport.is_disconnected or self._listener.ending:
            raise ExchangeUnavailable(f"the connection closed: {self._listener.ending}")
        self._transport.send(_TEXT, command)


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
    if options.deflate:
        headers = {**headers, HEADER: EXTENSION}
    listener = _Listener(now_us, options)
    try:
        async with asyncio.timeout(options.open_timeout):
            transport, _ = await picows.ws_connect(
                lambda: listener,
                url,
                extra_headers=headers,
                max_frame_size=_LARGEST_MESSAGE,
                max_redirects=0,
                websocket_handshake_timeout=options.open_timeout,
                enable_auto_pong=False,  # pings are signs of life, and are answered by the listener
            )
    except (OSError, picows.WSError) as error:
        raise classify(error, url) from error
    try:
        yield Socket(listener, transport, now_us, options.low)
    finally:
        await _close(listener, transport)


async def _close(listener: _Listener, transport: WSTransport) -> None:
    """Say good-bye, and wait a moment for the answer."""
    if not transport.is_disconnected:
        transport.send_close(WSCloseCode.OK)
        listener.messages.clear()
        if listener.is_paused:
            listener.resume()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await transport.wait_disconnected()
    transport.disconnect(graceful=False)


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
    if isinstance(error, picows.WSInvalidURL):
        return ConfigurationError(f"KALSHI_WS_URL is no WebSocket address: {url}")
    if isinstance(error, picows.WSHandshakeError) and error.response is not None:
        status = int(error.response.status)
        if status != 101:
            return _by_status(status)
    return ExchangeUnavailable(f"cannot connect to {url}: {error or type(error).__name__}")


def _by_status(status: int) -> PlatformError:
    if status in _FINAL_STATUSES:
        return ExchangeRefused(
            f"the exchange refused the handshake with {status}: check the key id, the private key, that both belong "
            "to this environment, and that this machine's clock is right within 30 s"
        )
    if status == _TOO_MANY:
        return ExchangeUnavailable("the exchange refuses the connection with 429: too many connections for this key")
    return ExchangeUnavailable(f"the exchange answered the handshake with {status}")


def _number(code: WSCloseCode | int) -> int:
    return code.value if isinstance(code, WSCloseCode) else code
