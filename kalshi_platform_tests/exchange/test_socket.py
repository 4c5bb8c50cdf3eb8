"""The socket against a real server on loopback: signing, heartbeat, back-pressure, and what a failure means."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, ExchangeUnavailable
from kalshi_platform.exchange.signing import Signer
from kalshi_platform.exchange.socket import MISSED_PINGS, PING_US, SocketOptions, open_socket
from kalshi_platform_tests.waiting import until

T0 = 1_795_219_200_000_000


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.us = T0

    def __call__(self) -> int:
        """The time."""
        return self.us


Answer = Callable[[ServerConnection, Request], Response | None]


@asynccontextmanager
async def exchange(
    talk: Callable[[ServerConnection], Awaitable[None]], answer: Answer | None = None, **options: object
) -> AsyncIterator[str]:
    """A WebSocket server; its address."""
    async with serve(talk, "127.0.0.1", 0, process_request=answer, ping_interval=None, **options) as server:  # type: ignore[arg-type]
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/trade-api/ws/v2"


async def _silent(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def test_each_handshake_is_signed_anew() -> None:
    """A signature lives as long as its time stamp."""
    stamps: list[str] = []

    def note(_: ServerConnection, request: Request) -> None:
        stamps.append(request.headers["KALSHI-ACCESS-TIMESTAMP"] + request.headers["KALSHI-ACCESS-SIGNATURE"])

    clock = Clock()
    signer = Signer("key", Ed25519PrivateKey.generate(), lambda: clock.us // 1000)
    async with exchange(_silent, note) as url:
        for _ in range(2):
            async with open_socket(url, signer, clock):
                clock.us += 1_000_000
    assert len(set(stamps)) == 2


@pytest.mark.parametrize("deflate", [False, True])
async def test_frames_carry_the_time_of_their_receipt(deflate: bool) -> None:
    """Not of when somebody asked for them; compression is offered only where it is wanted."""
    offered: list[bool] = []

    def note(_: ServerConnection, request: Request) -> None:
        offered.append("Sec-WebSocket-Extensions" in request.headers)

    async def talk(connection: ServerConnection) -> None:
        await connection.send("one")
        await connection.send(["two ", "halves"])
        await connection.wait_closed()

    clock = Clock()
    async with (
        exchange(talk, note) as url,
        open_socket(url, None, clock, SocketOptions(deflate=deflate)) as socket,
    ):
        await until(lambda: socket.depth == 2)
        clock.us += 5_000_000
        frames = aiter(socket)
        assert await anext(frames) == [(b"one", T0), (b"two halves", T0)]
        assert socket.depth == 0
    assert offered == [deflate]


async def test_reading_pauses_above_the_high_mark() -> None:
    """The queue is bounded: what does not fit stays with the exchange, and everything comes in the end."""
    count = 3000

    async def talk(connection: ServerConnection) -> None:
        for number in range(count):
            await connection.send(f"{number:06d}" * 1000)
        await connection.wait_closed()

    async with (
        exchange(talk) as url,
        open_socket(url, None, Clock(), SocketOptions(high=16, low=4)) as socket,
    ):
        await until(lambda: socket.depth >= 16)
        deepest, taken = 0, 0
        async for messages in socket:
            assert [int(raw[:6]) for raw, _ in messages] == list(range(taken, taken + len(messages)))
            taken += len(messages)
            deepest = max(deepest, len(messages) + socket.depth)
            if taken == count:
                break
    assert 16 <= deepest < 200


async def test_a_peer_that_neither_pings_nor_speaks_is_dead() -> None:
    """Three intervals of the server's heartbeat; one ping is life enough."""
    held: list[ServerConnection] = []

    async def talk(connection: ServerConnection) -> None:
        held.append(connection)
        await connection.wait_closed()

    clock = Clock()
    async with exchange(talk) as url, open_socket(url, None, clock) as socket:
        clock.us += MISSED_PINGS * PING_US
        socket.check_alive()
        pong = await held[0].ping(b"heartbeat")
        await pong
        clock.us += MISSED_PINGS * PING_US
        socket.check_alive()
        clock.us += 1
        with pytest.raises(ExchangeUnavailable, match="neither a ping nor a message for 30 s"):
            socket.check_alive()


async def test_our_own_pause_is_no_silence_of_theirs() -> None:
    """Nothing was read for longer than a peer may be silent: what it said meanwhile lies on the wire."""

    async def talk(connection: ServerConnection) -> None:
        for _ in range(16):
            await connection.send("frame")
        await connection.wait_closed()

    clock = Clock()
    async with (
        exchange(talk) as url,
        open_socket(url, None, clock, SocketOptions(high=16, low=4)) as socket,
    ):
        await until(lambda: socket.depth == 16)
        clock.us += 2 * MISSED_PINGS * PING_US
        assert len(await anext(aiter(socket))) == 16
        socket.check_alive()
        clock.us += MISSED_PINGS * PING_US + 1
        with pytest.raises(ExchangeUnavailable, match="neither a ping nor a message"):
            socket.check_alive()


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, ExchangeRefused), (401, ExchangeRefused), (403, ExchangeRefused), (404, ExchangeRefused),
        (429, ExchangeUnavailable), (500, ExchangeUnavailable), (503, ExchangeUnavailable),
        (418, ExchangeUnavailable),
    ],
)  # fmt: skip
async def test_what_an_answer_to_the_handshake_means(status: int, verdict: type[Exception]) -> None:
    """Credentials are final, the rest may pass."""

    def refuse(_: ServerConnection, __: Request) -> Response:
        return Response(status, HTTPStatus(status).phrase, Headers(), b"")

    async with exchange(_silent, refuse) as url:
        with pytest.raises(verdict, match=str(status)):
            async with open_socket(url, None, Clock()):
                pass


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1011, 1012])
async def test_every_close_is_worth_another_attempt(code: int) -> None:
    """Whatever its code; 1006 is a cut."""

    async def talk(connection: ServerConnection) -> None:
        if code == 1006:
            connection.transport.abort()
        else:
            await connection.close(code)

    async with exchange(talk) as url, open_socket(url, None, Clock()) as socket:
        with pytest.raises(ExchangeUnavailable, match="closed"):
            await anext(aiter(socket))
        with pytest.raises(ExchangeUnavailable, match="closed"):
            await socket.send(b"{}")


async def test_nobody_there_and_no_address() -> None:
    """A refused connection may pass, a wrong address will not."""
    async with exchange(_silent) as url:
        pass
    with pytest.raises(ExchangeUnavailable, match="cannot connect"):
        async with open_socket(url, None, Clock()):
            pass
    with pytest.raises(ConfigurationError, match="no WebSocket address"):
        async with open_socket("http://127.0.0.1/", None, Clock()):
            pass
