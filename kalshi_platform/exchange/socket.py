"""The asyncio shell around one WebSocket: sign, connect, receive, send. Small enough to read in one breath.

Kept out: what frames mean (session, core) and whether to connect again (the gatherer asks `retry`).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, ExchangeUnavailable
from kalshi_platform.exchange.signing import Signer

_LARGEST_MESSAGE = 64 * 2**20  # kalshi-protocol.md §3.1
_QUEUE_MARKS = (1024, 256)  # frames held while the consumer is busy: stop reading above, go on below
_TOO_MANY = 429
_SERVER_ERRORS = range(500, 600)


class Socket:
    """An open WebSocket; iterate over it for `(frame, received_us)`.

    Args:
        connection: The open connection.
        now_us: The clock, µs since 1970.
    """

    def __init__(self, connection: ClientConnection, now_us: Callable[[], int]) -> None:
        self._connection = connection
        self._now_us = now_us

    async def __aiter__(self) -> AsyncIterator[tuple[bytes, int]]:
        """Frames as bytes, each with the time of its receipt.

        Raises:
            ExchangeUnavailable: When the connection closes.
        """
        try:
            while True:
                yield await self._connection.recv(decode=False), self._now_us()
        except ConnectionClosed as closed:
            raise ExchangeUnavailable(f"the connection closed: {closed}") from closed

    async def send(self, command: bytes) -> None:
        """Send one command.

        Raises:
            ExchangeUnavailable: When the connection is closed.
        """
        try:
            await self._connection.send(command, text=True)
        except ConnectionClosed as closed:
            raise ExchangeUnavailable(f"the connection closed: {closed}") from closed


@asynccontextmanager
async def open_socket(url: str, signer: Signer | None, now_us: Callable[[], int]) -> AsyncIterator[Socket]:
    """A signed connection, closed on leaving.

    Raises:
        ExchangeRefused: Credentials, clock or address are wrong; trying again would not help.
        ExchangeUnavailable: The network or the exchange fails just now.
    """
    headers = {} if signer is None else signer.headers("GET", urlsplit(url).path)
    try:
        connection = await connect(
            url, additional_headers=headers, max_size=_LARGEST_MESSAGE, max_queue=_QUEUE_MARKS, compression=None
        )
    except InvalidURI as error:
        raise ConfigurationError(f"KALSHI_WS_URL is no WebSocket address: {url}") from error
    except InvalidStatus as error:
        raise _refusal(error.response.status_code) from error
    except (OSError, TimeoutError, InvalidHandshake) as error:
        raise ExchangeUnavailable(f"cannot connect to {url}: {error}") from error
    try:
        yield Socket(connection, now_us)
    finally:
        await connection.close()


def _refusal(status: int) -> ExchangeRefused | ExchangeUnavailable:
    if status == _TOO_MANY:
        return ExchangeUnavailable("the exchange refuses the connection with 429: too many connections for this key")
    if status in _SERVER_ERRORS:
        return ExchangeUnavailable(f"the exchange answered the handshake with {status}")
    return ExchangeRefused(
        f"the exchange refused the handshake with {status}: check the key id, the private key, that both belong to "
        "this environment, and that this machine's clock is right within 30 s"
    )
