"""Who listens to what: connections by role, markets spread over them, each connection kept alive.

A market's order book is on the connection that a stable hash of its ticker picks, so that a restart changes nothing.
A crash of one connection never takes the others along. Kept out: what frames mean.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import structlog

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.errors import ExchangeUnavailable
from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.core.units import MILLISECOND
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.signing import Signer
from kalshi_platform.exchange.socket import Socket, SocketOptions, open_socket
from kalshi_platform.exchange.staleness import Hours
from kalshi_platform.gatherer.router import Router
from kalshi_platform.service.metrics import GathererMetrics

SWEEP_SECONDS = 0.25

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every connection of a gatherer shares."""

    url: str
    signer: Signer
    sink: Sink
    metrics: GathererMetrics
    gatherer_id: str
    checkpoint_ms: int
    settle_ms: int
    now_us: Callable[[], int]
    retry_waits: Callable[[], Iterator[float]]
    on_lifecycle: Callable[[LifecycleFrame | MultivariateLifecycleFrame], None]
    hours: Callable[[], Hours] = Hours
    socket_options: SocketOptions = field(default_factory=SocketOptions)


class Connection:
    """One WebSocket, made again whenever it breaks.

    Args:
        name: Role and number, for logs and records.
        channel: What it listens to.
        around: What all connections share.
    """

    def __init__(self, name: str, channel: Channel, around: Surroundings) -> None:
        self.name = name
        self.channel = channel
        self.role = channel.name.lower()
        self._around = around
        self._tickers: set[str] = set()
        self._has_work = asyncio.Event()
        self._session: Session | None = None
        self.router: Router | None = None
        self.is_blocked = False
        self.waiting = 0
        if channel is not Channel.ORDERBOOK:
            self._has_work.set()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to listen to."""
        return self._has_work.is_set()

    @property
    def markets(self) -> int:
        """Markets whose books this connection follows."""
        return len(self._tickers)

    def add_markets(self, tickers: Sequence[str]) -> None:
        """Follow these order books too."""
        self._tickers.update(tickers)
        self._has_work.set()
        if self._session is not None:
            self._session.add_markets(tickers)

    def delete_markets(self, tickers: Sequence[str]) -> None:
        """Follow these order books no more."""
        self._tickers.difference_update(tickers)
        if self._session is not None and self.router is not None:
            self._session.delete_markets(tickers)
            self.router.retire(tickers)

    async def run(self) -> None:
        """Listen until cancelled.

        Raises:
            ExchangeRefused: Where another attempt would be refused as well.
        """
        await self._has_work.wait()
        waits = self._around.retry_waits()
        while True:
            try:
                around = self._around
                async with open_socket(around.url, around.signer, around.now_us, around.socket_options) as socket:
                    await self._listen(socket)
            except* ExchangeUnavailable as errors:
                _log.warning("connection lost", connection=self.name, error=str(errors.exceptions[0]))
            if self.router is not None and self.router.heard_data:
                waits = self._around.retry_waits()
            self.router = self._session = None
            self.is_blocked = False
            self._around.metrics.reconnects.labels(self.role).inc()
            await asyncio.sleep(next(waits))

    async def _listen(self, socket: Socket) -> None:
        around = self._around
        session = self._session = Session([self.channel], self._tickers)
        capture = Capture(around.gatherer_id, around.checkpoint_ms)
        router = self.router = Router(self.name, session, capture, around.sink, around.metrics, around.on_lifecycle)
        with around.metrics.connections.labels(self.role).track_inprogress():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(socket, session, router))
                tasks.create_task(self._care(socket, session, router))

    async def _receive(self, socket: Socket, session: Session, router: Router) -> None:
        frames = self._around.metrics.frames.labels(self.role)
        await _send(socket, session)
        async for raw, received_us in socket:
            frames.inc()
            router.feed(raw, received_us)
            await _send(socket, session)
            self.is_blocked = True
            await self._around.sink.room()
            self.is_blocked = False

    async def _care(self, socket: Socket, session: Session, router: Router) -> None:
        while True:
            socket.check_alive()
            self.waiting = socket.depth
            now_us = self._around.now_us()
            if not self.is_blocked:  # else messages from before a boundary may still be unread
                settled_ms = now_us // MILLISECOND - self._around.settle_ms
                router.sweep(settled_ms, now_us, self._around.hours().since(now_us))
            await _send(socket, session)
            await asyncio.sleep(SWEEP_SECONDS)


async def _send(socket: Socket, session: Session) -> None:
    for command in session.take_commands():
        await socket.send(command)


class ConnectionManager:
    """All connections of a gatherer.

    Args:
        counts: Connections for each channel.
        most_markets: Order books on one connection at the most.
        around: What they share.
    """

    def __init__(self, counts: Mapping[Channel, int], most_markets: int, around: Surroundings) -> None:
        self._around = around
        self._most_markets = most_markets
        self.connections = [
            Connection(f"{channel.name.lower()}-{number}", channel, around)
            for channel, count in counts.items()
            for number in range(1, count + 1)
        ]
        self._books = [one for one in self.connections if one.channel is Channel.ORDERBOOK]
        self._home: dict[str, Connection] = {}

    async def run(self) -> None:
        """Keep every connection alive until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for connection in self.connections:
                tasks.create_task(connection.run())

    def follow(self, tickers: Iterable[str]) -> Sequence[str]:
        """Follow more order books; returns those that no connection has room for."""
        shares: dict[Connection, list[str]] = {}
        homeless: list[str] = []
        for ticker in tickers:
            home = self._choose(ticker, shares)
            if home is None:
                homeless.append(ticker)
                continue
            self._home[ticker] = home
            shares.setdefault(home, []).append(ticker)
        for connection, share in shares.items():
            connection.add_markets(share)
        if homeless:
            self._around.metrics.homeless.inc(len(homeless))
            _log.error("no connection has room, raise KALSHI_ORDERBOOK_CONNECTIONS", markets=len(homeless))
        self._count_markets()
        return homeless

    def leave(self, tickers: Iterable[str]) -> None:
        """Follow these order books no more."""
        for ticker in tickers:
            home = self._home.pop(ticker, None)
            if home is not None:
                home.delete_markets([ticker])
        self._count_markets()

    def swept_ms(self) -> int | None:
        """Exchange time (ms) up to which every open connection has emitted its checkpoints; None where none has."""
        return min((one.router.swept_ms for one in self._books if one.router is not None), default=None) or None

    def lag_ms(self, now_ms: int) -> int | None:
        """How far the slowest connection is behind the exchange; None while one has stopped reading."""
        if any(one.is_blocked for one in self.connections):
            return None
        return max((one.router.lag_ms(now_ms) for one in self.connections if one.router is not None), default=0)

    def _choose(self, ticker: str, shares: Mapping[Connection, Sequence[str]]) -> Connection | None:
        """The connection that the ticker's hash picks, or the next one with room."""
        first = int.from_bytes(blake2b(ticker.encode(), digest_size=8).digest(), "big") % len(self._books)
        for step in range(len(self._books)):
            one = self._books[(first + step) % len(self._books)]
            if one.markets + len(shares.get(one, ())) < self._most_markets:
                return one
        return None

    def _count_markets(self) -> None:
        self._around.metrics.markets.set(sum(one.markets for one in self._books))
