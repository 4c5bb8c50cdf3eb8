"""One connection to the exchange, made again whenever it breaks, with its record of what was heard and missed.

Nothing that happens on one connection takes others along. Kept out: which markets it follows (connections), and what
frames mean (router).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, field

import structlog

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.capture import Capture
from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, ExchangeUnavailable, Reason
from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.core.units import MILLISECOND, SECOND
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.bucket import Limit, TokenBucket
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.signing import Signer
from kalshi_platform.exchange.socket import PING_US, Socket, SocketOptions, open_socket
from kalshi_platform.exchange.staleness import Hours
from kalshi_platform.gatherer.coverage import Coverage
from kalshi_platform.gatherer.router import Router
from kalshi_platform.service.lifecycle import leaves
from kalshi_platform.service.metrics import GathererMetrics

SWEEP_SECONDS = 0.25

_WITHOUT_ROWS = (Channel.LIFECYCLE, Channel.MULTIVARIATE_LIFECYCLE)
"""Channels whose messages change what is followed: full queues are no reason not to hear them."""

_log = structlog.get_logger()


def handshakes(per_second: float) -> TokenBucket:
    """Lets so many connections a second be made, so that an outage does not end in a storm."""
    return TokenBucket(Limit(rate=per_second, capacity=max(2.0, per_second), cost=1))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every connection of a gatherer shares.

    `let_in` is set once the exchange has accepted a handshake: then key, address and clock were right.
    """

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
    handshakes: TokenBucket = field(default_factory=lambda: handshakes(20))
    let_in: asyncio.Event = field(default_factory=asyncio.Event)


class Connection:
    """One WebSocket, made again whenever it breaks.

    Args:
        name: Role and number, for logs and records.
        channel: What it listens to.
        around: What all connections share.

    Attributes:
        router: What takes its frames; None while there is no socket.
        is_blocked: Whether it has stopped reading because the writers are behind.
    """

    def __init__(self, name: str, channel: Channel, around: Surroundings) -> None:
        self.name = name
        self.channel = channel
        self.role = channel.name.lower()
        self._around = around
        for counter in (around.metrics.frames, around.metrics.crashes):
            counter.labels(self.role)  # 0, not absent: alerts on what becomes of it need a beginning
        for reason in Reason:
            around.metrics.rejected.labels(reason.value)
        self._coverage = Coverage(around.gatherer_id, name, around.sink.add)
        self._tickers: dict[str, None] = {}
        self._has_work = asyncio.Event()
        self._session: Session | None = None
        self._socket: Socket | None = None
        self._opened_us = 0
        self.router: Router | None = None
        self.is_blocked = False
        if channel is not Channel.ORDERBOOK:
            self._has_work.set()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to listen to."""
        return self._has_work.is_set()

    def add_markets(self, tickers: Sequence[str]) -> None:
        """Follow these order books too."""
        self._tickers.update(dict.fromkeys(tickers))
        self._has_work.set()
        if self._session is not None:
            self._session.add_markets(tickers)

    def delete_markets(self, tickers: Sequence[str], *, live_on: bool = False) -> None:
        """Follow these order books no more, or no more here where they live on."""
        for ticker in tickers:
            self._tickers.pop(ticker, None)
        if self._session is not None and self.router is not None:
            self._session.delete_markets(tickers)
            self.router.retire(tickers, self._around.now_us(), live_on=live_on)

    def request_snapshots(self, tickers: Sequence[str]) -> None:
        """Ask for fresh books of these markets, where a subscription serves them."""
        if self._session is not None:
            self._session.request_snapshots(tickers)

    def book(self, ticker: str) -> OrderBook | None:
        """A market's book; None where it is unknown or in doubt."""
        return None if self.router is None else self.router.book(ticker)

    def take_crowded_out(self) -> Sequence[str]:
        """Markets that the exchange would not have here; each is handed out once."""
        if self.router is None or not self.router.crowded_out:
            return ()
        crowded, self.router.crowded_out = self.router.crowded_out, []
        for ticker in crowded:
            self._tickers.pop(ticker, None)
        return crowded

    def stopped(self) -> None:
        """The gatherer stops: what was heard so far is written down, and no claim made for frames that lie unread.

        Nor for what is on its way; of a quiet connection, that is what is younger than messages usually come late.
        """
        now_us, last_us = self._around.now_us(), self._coverage.last_us
        alive_us = now_us if self._socket is None else self._socket.alive_us
        lag_ms = 0 if self.router is None else self.router.lag_ms(now_us // MILLISECOND)
        quiet_us = now_us - max(lag_ms, self._around.settle_ms) * MILLISECOND
        if now_us - alive_us > PING_US + SECOND:  # a ping stayed away: the network may be gone since the last
            quiet_us = min(quiet_us, alive_us)
        self._coverage.stopped(last_us if self.is_blocked else max(last_us, quiet_us))

    async def run(self) -> None:
        """Listen until cancelled, whatever happens to the socket.

        Raises:
            ExchangeRefused: Where the exchange has let in no connection yet; later refusals are told and borne, for
                a gateway in trouble refuses keys that are right, and what is open goes on.
            ConfigurationError: Where a setting makes it impossible.
        """
        await self._has_work.wait()
        waits, waited = self._around.retry_waits(), 0.0
        while True:
            try:
                await self._connect()
            except Exception as error:
                self._explain(error)
            if self.router is not None and self.router.heard_data and self._seconds_open() > waited:
                waits = self._around.retry_waits()
            self._coverage.disconnected(self._around.now_us())
            self.router = self._session = self._socket = None
            self.is_blocked = False
            self._around.metrics.reconnects.labels(self.role).inc()
            waited = next(waits)
            with self._in_state("waiting"):
                await asyncio.sleep(waited)

    def _seconds_open(self) -> float:
        """How long the last socket lived; one that falls at once, be it after data, is waited for ever longer."""
        return (self._around.now_us() - self._opened_us) / SECOND

    def _explain(self, error: Exception) -> None:
        """Say why a socket ended.

        Raises:
            ExchangeRefused: Where the next would end the same way.
            ConfigurationError: Likewise.
        """
        causes = leaves(error)
        final = ConfigurationError if self._around.let_in.is_set() else ConfigurationError | ExchangeRefused
        for cause in causes:
            if isinstance(cause, final):
                raise cause
        refusal = next((cause for cause in causes if isinstance(cause, ExchangeRefused)), None)
        if refusal is not None:
            _log.error("connection refused, trying again", connection=self.name, error=str(refusal))
            return
        if all(isinstance(cause, ExchangeUnavailable) for cause in causes):
            _log.warning("connection lost", connection=self.name, error=str(causes[0]))
            return
        self._around.metrics.crashes.labels(self.role).inc()
        _log.error("connection crashed and is made anew; please report this", connection=self.name, exc_info=error)

    async def _connect(self) -> None:
        around = self._around
        async with AsyncExitStack() as stack:
            with self._in_state("connecting"):
                await around.handshakes.take(1)
                opening = open_socket(around.url, around.signer, around.now_us, around.socket_options)
                socket = await stack.enter_async_context(opening)
            around.let_in.set()
            with self._in_state("open"):
                await self._listen(socket)

    def _in_state(self, state: str) -> AbstractContextManager[None]:
        return self._around.metrics.connections.labels(self.role, state).track_inprogress()

    async def _listen(self, socket: Socket) -> None:
        around, self._socket = self._around, socket
        self._opened_us = around.now_us()
        session = self._session = Session([self.channel], self._tickers)
        capture = Capture(around.gatherer_id, around.checkpoint_ms)
        router = self.router = Router(
            self._coverage, session, capture, around.sink, around.metrics, around.on_lifecycle
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(socket, session, router))
            tasks.create_task(self._care(socket, session, router))

    async def _receive(self, socket: Socket, session: Session, router: Router) -> None:
        sink, frames = self._around.sink, self._around.metrics.frames.labels(self.role)
        await _send(socket, session)
        async for messages in socket:
            frames.inc(len(messages))
            router.feed(messages)
            await _send(socket, session)
            if not sink.has_room and self.channel not in _WITHOUT_ROWS:
                self.is_blocked = True
                await sink.room()
                now_us = self._around.now_us()
                session.stood_still(now_us)
                router.stood_still(messages[-1][1], now_us)
                self.is_blocked = False

    async def _care(self, socket: Socket, session: Session, router: Router) -> None:
        while True:
            socket.check_alive()
            now_us = self._around.now_us()
            if not self.is_blocked:  # else messages from before a boundary may still be unread
                settled_ms = now_us // MILLISECOND - self._around.settle_ms
                router.sweep(settled_ms, now_us, self._around.hours().since(now_us))
            await _send(socket, session)
            await asyncio.sleep(SWEEP_SECONDS)


async def _send(socket: Socket, session: Session) -> None:
    for command in session.take_commands():
        await socket.send(command)
