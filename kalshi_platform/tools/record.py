"""`kalshi-platform record`: the live socket to disk, frame by frame as it came, each connection a tape of its own.

The session keeps the subscriptions alive as the gatherer's does; nothing is decoded but to follow it. Kept out: files
(tape), and what frames mean to books and rows.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import structlog

from kalshi_platform.core.errors import ConfigurationError, ExchangeUnavailable, FrameRejected
from kalshi_platform.core.messages import Frame, LifecycleFrame, decode, envelope
from kalshi_platform.exchange.events import Event, Gap, Heard, Late, Unanswered
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.signing import Signer
from kalshi_platform.exchange.socket import Socket, open_socket
from kalshi_platform.service.lifecycle import leaves
from kalshi_platform.service.retry import backoff
from kalshi_platform.tools.tape import Tape, TapeOptions

CARE_SECONDS = 0.1
_OPENING = frozenset({"created", "activated"})

_log = structlog.get_logger()


@dataclass(slots=True)
class RecordReport:
    """What was recorded so far."""

    frames: int = 0
    bytes: int = 0
    gaps: int = 0
    connections: int = 0
    files: list[Path] = field(default_factory=list)


class Recorder:
    """Records until it is told to stop, whatever happens to the socket.

    Args:
        url: The exchange's WebSocket.
        signer: What signs the handshake.
        folder: Where tapes go.
        channels: What to listen to.
        tickers: Markets whose books are followed.
        only: Whether frames of other markets are left out.
        follows_new: Whether markets that open meanwhile are followed too, combos excepted.
        options: When tapes are flushed and rotated.
        now_us: The clock, µs since 1970.
    """

    def __init__(
        self,
        url: str,
        signer: Signer | None,
        folder: Path,
        channels: Sequence[Channel],
        tickers: Iterable[str],
        *,
        only: bool = False,
        follows_new: bool = False,
        options: TapeOptions | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.report = RecordReport()
        self._url = url
        self._signer = signer
        self._folder = folder
        self._channels = list(channels)
        self._tickers = dict.fromkeys(tickers)
        self._only = only
        self._only_these = {"", *self._tickers}
        self._follows_new = follows_new
        self._options = options or TapeOptions()
        self._now_us = now_us
        self._has_heard = False

    async def run(self, stop: asyncio.Event) -> RecordReport:
        """Record until `stop` is set; everything that came is on disk then.

        Raises:
            ExchangeRefused: Another attempt would be refused as well.
            ConfigurationError: A setting makes it impossible.
            TapeError: The disk refuses.
        """
        stopping = asyncio.create_task(stop.wait())
        recording = asyncio.create_task(self._record())
        try:
            await asyncio.wait({stopping, recording}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            recording.cancel()
            with suppress(asyncio.CancelledError):
                await recording
        return self.report

    async def _record(self) -> None:
        waits = backoff(Random())  # noqa: S311 - spreads clients, guards nothing
        while True:
            self._has_heard = False
            try:
                async with open_socket(self._url, self._signer, self._now_us) as socket:
                    await self._listen(socket)
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

    async def _listen(self, socket: Socket) -> None:
        self.report.connections += 1
        session = Session(self._channels, self._tickers)
        before = self.report.bytes
        tape = Tape(self._folder, self._options, self._now_us(), [str(one) for one in self._channels], self._new_file)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(socket, session, tape))
                tasks.create_task(self._care(socket, session, tape, before))
        finally:
            tape.close(self._now_us())
            self.report.bytes = before + tape.bytes

    async def _receive(self, socket: Socket, session: Session, tape: Tape) -> None:
        await _send(socket, session)
        async for messages in socket:
            for raw, received_us in messages:
                self._take(raw, received_us, session, tape)
            await _send(socket, session)

    def _take(self, raw: bytes, received_us: int, session: Session, tape: Tape) -> None:
        is_wanted = True
        try:
            frame = decode(raw)
        except FrameRejected:
            events = session.receive_rejected(envelope(raw), received_us)
        else:
            events = session.receive(frame, received_us)
            is_wanted = not self._only or (_market_of(frame) or "") in self._only_these
            self._follow(frame, session)
        if is_wanted:
            tape.write(raw, received_us)
            self.report.frames += 1
        self._note(events)

    async def _care(self, socket: Socket, session: Session, tape: Tape, before: int) -> None:
        while True:
            socket.check_alive()
            now_us = self._now_us()
            tape.tick(now_us)
            self.report.bytes = before + tape.bytes
            self._note(session.tick(now_us))
            await _send(socket, session)
            await asyncio.sleep(CARE_SECONDS)

    def _follow(self, frame: Frame, session: Session) -> None:
        if not self._follows_new or not isinstance(frame, LifecycleFrame):  # combos are not followed: `open_markets`
            return
        ticker = frame.msg.market_ticker
        if frame.msg.event_type in _OPENING and ticker not in self._tickers:
            self._tickers[ticker] = None
            session.add_markets([ticker])

    def _note(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Heard() | Late():
                    self._has_heard = True
                case Gap(channel, sid, found):
                    self.report.gaps += 1
                    _log.warning(
                        "something was missed", channel=channel, sid=sid, expected=found.expected, seen=found.seen
                    )
                case Unanswered(name, attempt, is_hopeless) if is_hopeless:
                    raise ExchangeUnavailable(f"the exchange did not answer {name}, sent {attempt} times")

    def _new_file(self, path: Path) -> None:
        self.report.files.append(path)
        _log.info("recording", path=str(path))


def _market_of(frame: Frame) -> str | None:
    """The market that a frame is about; None where it is about none."""
    return getattr(getattr(frame, "msg", None), "market_ticker", None)


async def _send(socket: Socket, session: Session) -> None:
    for command in session.take_commands():
        await socket.send(command)


async def open_markets(rest: RestClient, series: Sequence[str]) -> list[str]:
    """The markets that are open now: of these series, or without combos all of them."""
    if not series:
        return [one.ticker async for one in rest.markets(MarketFilters(status="open", mve_filter="exclude"))]
    found = []
    for name in series:
        found += [one.ticker async for one in rest.markets(MarketFilters(status="open", series_ticker=name))]
    if not found:
        raise ConfigurationError(f"no market of series {', '.join(series)} is open: is the name right?")
    return found
