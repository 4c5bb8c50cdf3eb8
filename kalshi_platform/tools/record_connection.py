"""One connection of a recording: made again whenever it breaks, its subscriptions kept alive as the gatherer's are.

Nothing is decoded but to follow the session. Kept out: which connection follows which market (record), files (tape).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import structlog

from kalshi_platform.core.errors import ExchangeUnavailable, FrameRejected
from kalshi_platform.core.messages import Frame, decode, envelope
from kalshi_platform.exchange.bucket import TokenBucket
from kalshi_platform.exchange.codes import MARKET_LIMIT
from kalshi_platform.exchange.events import Event, Gap, Heard, Late, Refused, Unanswered
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.signing import Signer
from kalshi_platform.exchange.socket import Socket, open_socket
from kalshi_platform.service.lifecycle import leaves
from kalshi_platform.service.retry import backoff
from kalshi_platform.tools.tape import Tape

CARE_SECONDS = 0.1

_log = structlog.get_logger()


@dataclass(slots=True)
class RecordReport:
    """What was recorded so far; `connections` are all that were made, `open` those that are open now."""

    frames: int = 0
    bytes: int = 0
    gaps: int = 0
    connections: int = 0
    open: int = 0
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the connections of a recording share.

    Attributes:
        url: The exchange's WebSocket.
        signer: What signs handshakes.
        tape: Where frames go.
        report: What was recorded.
        handshakes: Lets so many connections a second be made.
        now_us: The clock, µs since 1970.
        look_at: Told of each frame; says whether it is wanted.
    """

    url: str
    signer: Signer | None
    tape: Tape
    report: RecordReport
    handshakes: TokenBucket
    now_us: Callable[[], int]
    look_at: Callable[[Frame], bool]


class RecordedConnection:
    """One place for order books, or for what is heard of every market, or both.

    Args:
        channels: What to listen to.
        around: What all connections share.
        on_crowded: Told of markets that the exchange will not have on this connection.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        around: Surroundings,
        on_crowded: Callable[["RecordedConnection", Sequence[str]], None],
    ) -> None:
        self._channels = list(channels)
        self._around = around
        self._on_crowded = on_crowded
        self._tickers: dict[str, None] = {}
        self._session: Session | None = None
        self._socket: Socket | None = None
        self._number = 0
        self._has_heard = False

    @property
    def heard_until_us(self) -> int:
        """Nothing that was received before that (µs since 1970) is still to come from here."""
        oldest_us = None if self._socket is None else self._socket.oldest_us
        return self._around.now_us() if oldest_us is None else oldest_us

    def follow(self, tickers: Iterable[str]) -> None:
        """Follow more order books."""
        added = list(tickers)
        self._tickers.update(dict.fromkeys(added))
        if self._session is not None:
            self._session.add_markets(added)

    def leave(self, tickers: Iterable[str]) -> None:
        """Follow these no more."""
        left = list(tickers)
        for ticker in left:
            self._tickers.pop(ticker, None)
        if self._session is not None:
            self._session.delete_markets(left)

    async def run(self) -> None:
        """Record until cancelled.

        Raises:
            ExchangeRefused: Another attempt would be refused as well.
            ConfigurationError: A setting makes it impossible.
        """
        waits = backoff(Random())  # noqa: S311 - spreads clients, guards nothing
        while True:
            self._has_heard = False
            try:
                await self._record()
            except ExchangeUnavailable as error:
                _log.warning("connection lost", error=str(error))
            except ExceptionGroup as group:
                causes = leaves(group)
                if not all(isinstance(cause, ExchangeUnavailable) for cause in causes):
                    raise next(one for one in causes if not isinstance(one, ExchangeUnavailable)) from group
                _log.warning("connection lost", error=str(causes[0]))
            if self._has_heard:
                waits = backoff(Random())  # noqa: S311 - as above
            await asyncio.sleep(next(waits))

    async def _record(self) -> None:
        around = self._around
        await around.handshakes.take(1)
        async with open_socket(around.url, around.signer, around.now_us) as socket:
            around.report.connections += 1
            around.report.open += 1
            self._number = around.tape.opened(around.now_us(), [str(one) for one in self._channels])
            session = self._session = Session(self._channels, self._tickers)
            self._socket = socket
            why = "stopped"
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._receive(socket, session))
                    tasks.create_task(self._care(socket, session))
            except ExceptionGroup as group:
                why = str(leaves(group)[0])
                raise
            finally:
                self._session = self._socket = None
                around.report.open -= 1
                around.tape.closed(self._number, around.now_us(), why)

    async def _receive(self, socket: Socket, session: Session) -> None:
        await _send(socket, session)
        async for messages in socket:
            for raw, received_us in messages:
                self._take(raw, received_us, session)
            await _send(socket, session)
            await self._around.tape.room(lambda: self.heard_until_us)

    def _take(self, raw: bytes, received_us: int, session: Session) -> None:
        is_wanted = True
        try:
            frame = decode(raw)
        except FrameRejected:
            events = session.receive_rejected(envelope(raw), received_us)
        else:
            events = session.receive(frame, received_us)
            is_wanted = self._around.look_at(frame)
        if is_wanted:
            self._around.tape.write(self._number, raw, received_us)
        self._note(events)

    async def _care(self, socket: Socket, session: Session) -> None:
        while True:
            socket.check_alive()
            self._note(session.tick(self._around.now_us()))
            await _send(socket, session)
            await asyncio.sleep(CARE_SECONDS)

    def _note(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Heard() | Late():
                    self._has_heard = True
                case Gap(channel, sid, found):
                    self._around.report.gaps += 1
                    _log.warning(
                        "something was missed", channel=channel, sid=sid, expected=found.expected, seen=found.seen
                    )
                case Refused(code, text, tickers) if tickers:
                    _log.warning("the exchange will not have these here", code=code, text=text, markets=len(tickers))
                    if code == MARKET_LIMIT:
                        self.leave(tickers)
                        self._on_crowded(self, tickers)
                case Unanswered(name, attempt, is_hopeless) if is_hopeless:
                    raise ExchangeUnavailable(f"the exchange did not answer {name}, sent {attempt} times")


async def _send(socket: Socket, session: Session) -> None:
    for command in session.take_commands():
        await socket.send(command)
