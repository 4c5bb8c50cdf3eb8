"""The WebSocket endpoint: the signed handshake, the connection cap, and a client's messages handed to its session.

Reading is aiohttp's; writing goes past it, see `frames`. What is answered is `session`'s business.
"""

import asyncio
from collections import Counter
from typing import Protocol, cast

from aiohttp import WSCloseCode, WSMsgType, web

from kalshi_platform.simulator.account import Connected, Disconnected, Gap
from kalshi_platform.simulator.auth import NO_SIGNATURE, RefusedError
from kalshi_platform.simulator.connection import Connection
from kalshi_platform.simulator.faults import FaultPlan
from kalshi_platform.simulator.frames import Deflater, close_frame, text_frame
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.mishaps import Mishap, Mishaps
from kalshi_platform.simulator.options import SimulatorOptions
from kalshi_platform.simulator.requests import TOO_MANY_REQUESTS, answer_bytes
from kalshi_platform.simulator.session import Limits, Markets, Session

PATH = "/trade-api/ws/v2"

KEY_ID = web.RequestKey("key_id", str)
"""Where `server` notes whose signature a request carries."""

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_FAREWELL_SECONDS = 0.3
_GOING_AWAY = close_frame(WSCloseCode.GOING_AWAY)


class Floor(Markets, Protocol):
    """What the endpoint needs of the exchange."""

    def note(self, fact: Mishap | Gap | Connected | Disconnected) -> None:
        """Tell the ledger of something that is no message."""


class WebSocketEndpoint:
    """Admits clients and reads what they send until they leave."""

    def __init__(self, options: SimulatorOptions, hub: Hub, markets: Floor) -> None:
        self._options = options
        self._hub = hub
        self._markets = markets
        self._connections: Counter[str] = Counter()
        self._admitted = 0
        self._open: dict[web.WebSocketResponse, Connection] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client from its upgrade to its end.

        Raises:
            RefusedError: the upgrade was not signed; a wrong signature was refused on the way here.
        """
        key_id = request.get(KEY_ID)
        if key_id is None:
            raise RefusedError(NO_SIGNATURE)
        if self._connections[key_id] >= self._options.connection_cap:
            return answer_bytes(TOO_MANY_REQUESTS, 429)
        self._connections[key_id] += 1
        try:
            return await self._serve(request, key_id)
        finally:
            self._connections[key_id] -= 1

    async def _serve(self, request: web.Request, key_id: str) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            compress=self._options.compression, max_msg_size=_MAX_MESSAGE_BYTES, timeout=_FAREWELL_SECONDS
        )
        await socket.prepare(request)
        agreed = socket.headers.get("Sec-WebSocket-Extensions", "")
        frame = Deflater(agreed).frame if "permessage-deflate" in agreed else text_frame
        transport = cast("asyncio.WriteTransport", request.transport)
        self._admitted += 1
        connection = Connection(transport, self._options.send_buffer_bytes, self._admitted, frame)
        limits = Limits(self._options.subscription_markets, self._options.commands_per_second)
        session = Session(connection, self._hub, self._markets, limits)
        self._markets.note(Connected(connection.number, key_id, _address(transport)))
        self._hub.admit(session, self._mishaps(connection))
        self._open[socket] = connection
        try:
            await self._read(socket, session)
        finally:
            del self._open[socket]
            self._hub.dismiss(session)
            self._markets.note(Disconnected(connection.number))
        return socket

    def _mishaps(self, connection: Connection) -> Mishaps | None:
        faults = self._options.faults
        return Mishaps(FaultPlan(faults, connection.number), connection, self._markets.note) if faults else None

    async def _read(self, socket: web.WebSocketResponse, session: Session) -> None:
        async for message in socket:
            if session.connection.backlog() > 2 * self._options.send_buffer_bytes:
                session.connection.abort()  # it asks and asks and never reads an answer
                return
            if message.type is WSMsgType.TEXT:
                session.handle(message.data)
            elif message.type is WSMsgType.BINARY:
                session.refuse_binary()

    def drop_all(self) -> None:
        """Tell everybody at once that the exchange goes away (1001); who connects again is welcome."""
        for connection in tuple(self._open.values()):
            connection.end_with(_GOING_AWAY, cut=False)

    async def close_all(self) -> None:
        """Say goodbye to everybody; who does not answer in time is cut off."""
        await asyncio.gather(*(self._close(socket, connection) for socket, connection in tuple(self._open.items())))

    @staticmethod
    async def _close(socket: web.WebSocketResponse, connection: Connection) -> None:
        try:
            async with asyncio.timeout(2 * _FAREWELL_SECONDS):
                await socket.close(code=WSCloseCode.GOING_AWAY, message=b"going away")
        except TimeoutError:
            connection.abort()


def _address(transport: asyncio.WriteTransport) -> str:
    peer = transport.get_extra_info("peername") or ("", 0)
    return f"{peer[0]}:{peer[1]}"
