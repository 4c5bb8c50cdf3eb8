"""The platform's protocol and the exchange's, wired to each other without a socket: what a test's clock decides alone.

Both sides are the real ones; only the network between them is missing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.capture import Capture
from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.gatherer.coverage import Coverage
from kalshi_platform.gatherer.router import Router
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.simulator.connection import Connection
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.session import Session as ExchangeSession
from kalshi_platform.simulator.venue import Venue


class Line:
    """One connection: commands go over at once, frames lie here until they are taken.

    Args:
        name: Of the connection.
        channel: What it listens to.
        hub: The exchange's clients.
        exchange: The exchange.
        sink: Takes rows.
        metrics: Told of alarms.
        on_lifecycle: Told of markets' lives.
        gatherer_id: Whose connection it is.
    """

    def __init__(
        self,
        name: str,
        channel: Channel,
        hub: Hub,
        exchange: Venue,
        sink: Sink,
        metrics: GathererMetrics,
        on_lifecycle: Callable[[LifecycleFrame | MultivariateLifecycleFrame], None],
        gatherer_id: str = "g",
    ) -> None:
        self.channel = channel
        self.gatherer_id = gatherer_id
        self._hub, self._exchange, self._sink, self._metrics = hub, exchange, sink, metrics
        self._on_lifecycle = on_lifecycle
        self.coverage = Coverage(gatherer_id, name, sink.add)
        self._inbox = b""
        self.tickers: dict[str, None] = {}
        self._there: ExchangeSession | None = None
        self.connect()

    def connect(self) -> None:
        """Connect, with a protocol state of its own; what was there before is gone."""
        if self._there is not None:
            self._hub.dismiss(self._there)
        self._inbox = b""
        self._there = ExchangeSession(Connection(cast("Any", self), 2**30), self._hub, self._exchange)
        self._hub.admit(self._there)
        self.session = Session([self.channel], self.tickers)
        capture = Capture(self.gatherer_id)
        self.router = Router(self.coverage, self.session, capture, self._sink, self._metrics, self._on_lifecycle)

    def cut(self, now_us: int) -> None:
        """The socket breaks; the exchange does not know yet, and sends on."""
        self.coverage.disconnected(now_us)

    def follow(self, tickers: Sequence[str]) -> None:
        """Follow these order books too."""
        self.tickers.update(dict.fromkeys(tickers))
        self.session.add_markets(tickers)

    def exchange_frames(self, now_us: int) -> None:
        """Commands over, frames back, until both sides have said everything."""
        while True:
            for command in self.session.take_commands():
                assert self._there is not None
                self._there.handle(command.decode())
            frames = list(self.frames())
            self.router.feed([(frame, now_us) for frame in frames])
            if not frames and not self._inbox:
                return

    def book(self, ticker: str) -> OrderBook | None:
        """The live book."""
        return self.router.book(ticker)

    def frames(self) -> Iterator[bytes]:
        """The payloads of the text frames that lie here."""
        inbox, self._inbox = self._inbox, b""
        at = 0
        while at < len(inbox):
            size, at = inbox[at + 1], at + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(inbox[at : at + width], "big"), at + width
            yield inbox[at : at + size]
            at += size

    # what the exchange's side asks of a transport

    def write(self, data: bytes) -> None:
        """Frames come."""
        self._inbox += data

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_write_buffer_size(self) -> int:
        """Everything is taken."""
        return 0
