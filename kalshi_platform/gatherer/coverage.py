"""What one connection listened to, from when until when, and what it missed: completeness as rows.

A session is a market (or a whole channel) that was heard without a break; a hole is what was missed in between. Rows
are written when something begins, and once more when it ends, so that a crash leaves them open, not absent. Lives as
long as its connection, across sockets. Kept out: how holes are found (exchange.session) and healed (router).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from kalshi_platform.core.records import GapRow, SessionRow
from kalshi_platform.exchange.session import Channel

Add = Callable[[GapRow | SessionRow], None]


class Cause(StrEnum):
    """Why something was missed."""

    SEQUENCE = "sequence"
    DISCONNECTED = "disconnected"
    ENDED = "ended"
    SILENT = "silent"
    REJECTED = "rejected"


class Cure(StrEnum):
    """What made the stream whole again; what was missed stays missed, but for late frames."""

    SNAPSHOTS = "snapshots"
    RECONNECT = "reconnect"
    LATE_FRAMES = "late frames"
    UNHEALED = "unhealed"


class End(StrEnum):
    """Why nobody listens any more."""

    UNSUBSCRIBED = "unsubscribed"
    DISCONNECTED = "disconnected"
    ENDED = "ended"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Hole:
    """What was missed.

    Attributes:
        cause: Why.
        channel: On which channel.
        sid: On which subscription.
        ticker: In which market; empty for every market of the subscription.
        expected: The sequence number that was due, 0 where none was.
        seen: The one that came.
        markets: How many markets it touches.
    """

    cause: Cause
    channel: str
    sid: int
    ticker: str = ""
    expected: int = 0
    seen: int = 0
    markets: int = 0


class Coverage:
    """The record of one connection.

    Args:
        gatherer_id: Whose connection it is.
        connection: Its name.
        add: Takes rows.

    Attributes:
        last_us: When the last frame came, or was stamped by the exchange, whichever is earlier; 0 before the first.
        data_us: Likewise of the last frame that was no reply to a command.
        numbered_us: Likewise of the last data, or of the last reply that has a number or begins to count.
        broken_us: When the socket last broke; 0 where it never did.
    """

    def __init__(self, gatherer_id: str, connection: str, add: Add) -> None:
        self.connection = connection
        self._gatherer_id = gatherer_id
        self._add = add
        self._heard: dict[str, _Heard] = {}
        self._holes: dict[tuple[str, str], dict[tuple[object, ...], GapRow]] = {}
        """Open ones by channel and market, because books that are in doubt together become whole together."""
        self.last_us = 0
        self.data_us = 0
        self.numbered_us = 0
        self.broken_us = 0

    @property
    def has_holes(self) -> bool:
        """Whether there are holes behind which not everything is whole yet."""
        return bool(self._holes)

    def subscribed(self, channel: str, sid: int) -> None:
        """A subscription serves a channel from now on; what was heard before on another has ended."""
        self.ended(channel, End.ENDED)
        self._heard[channel] = _Heard(sid)

    def listening(self, channel: str, ticker: str, now_us: int) -> None:
        """A market of a subscription is heard from now on; an empty ticker is the whole channel."""
        heard = self._heard.get(channel)
        if heard is not None and ticker not in heard.since:
            heard.since[ticker] = now_us
            self._add(self._session(channel, heard.sid, ticker, now_us))

    def left(self, channel: str, tickers: Iterable[str], now_us: int) -> None:
        """These markets were given up on purpose."""
        for ticker in tickers:
            self._close(channel, ticker, now_us, End.UNSUBSCRIBED)

    def ended(self, channel: str, by: End, until_us: int | None = None) -> int:
        """A channel is not heard any more since the last frame, or since `until_us`; returns how many markets were."""
        heard = self._heard.get(channel)
        tickers = [] if heard is None else list(heard.since)
        for ticker in tickers:
            self._close(channel, ticker, self.last_us if until_us is None else until_us, by)
        return len(tickers)

    def missed(self, hole: Hole, now_us: int) -> GapRow | None:
        """Something was missed between the last frame and now; None where an open hole says so already.

        A market whose frames cannot be read has one hole until it is whole, not one for every frame. Of a subscription
        that fell silent the last data count, of a broken sequence its last number: the exchange answers commands all
        the same, and a reply without a number does not tell what was lost before it.
        """
        key = (hole.cause, hole.sid, hole.seen)
        rows = self._holes.setdefault((hole.channel, hole.ticker), {})
        if key in rows:
            return None
        last_us = {Cause.SILENT: self.data_us, Cause.SEQUENCE: self.numbered_us}.get(hole.cause, self.last_us)
        row = rows[key] = GapRow(
            now_us, self._gatherer_id, self.connection, hole.sid, hole.channel, hole.ticker, hole.cause,
            hole.expected, hole.seen, hole.markets, min(last_us or now_us, now_us),
        )  # fmt: skip
        self._add(row)
        return row

    def heal(
        self, cure_of: Callable[[GapRow], Cure | None], now_us: int, markets: Collection[str] | None = None
    ) -> None:
        """Close the record of the holes that are cured.

        A break of a stream without books that nothing can cure ends where it was seen: what came since was heard.

        Args:
            cure_of: Judges a hole; None while it is open.
            now_us: The time.
            markets: Look at the holes of these alone, besides those of whole subscriptions; None is every market.
        """
        named = self._holes if markets is None else [(one, ticker) for one in Channel for ticker in ("", *markets)]
        for scope in [one for one in named if one in self._holes]:
            rows = self._holes[scope]
            if scope[0] == Channel.ORDERBOOK and cure_of(next(iter(rows.values()))) is None:
                continue
            for key, row in list(rows.items()):
                cure = cure_of(row)
                if cure is not None:
                    del rows[key]
                    self._close_hole(row, cure, now_us)
            if not rows:
                del self._holes[scope]

    def disconnected(self, now_us: int) -> None:
        """The socket broke: whatever came after its last frame is missed."""
        for channel, heard in list(self._heard.items()):
            touched = self.ended(channel, End.DISCONNECTED)
            if touched:
                self.missed(Hole(Cause.DISCONNECTED, channel, heard.sid, markets=touched), now_us)
        self._heard.clear()
        self.broken_us = now_us

    def stopped(self, heard_us: int) -> None:
        """The gatherer stops of its own accord, having heard everything up to `heard_us`."""
        self.heal(lambda _: Cure.UNHEALED, heard_us)
        for channel in self._heard:
            self.ended(channel, End.STOPPED, heard_us)
        self._heard.clear()  # a book that still comes before the end opens nothing that nobody would close

    def _close_hole(self, row: GapRow, cure: Cure, now_us: int) -> None:
        is_past = row.cause in (Cause.SEQUENCE, Cause.REJECTED) and row.channel != Channel.ORDERBOOK
        until_us = row.detected_at if cure is Cure.UNHEALED and is_past else max(now_us, row.detected_at)
        self._add(row._replace(until_at=until_us, healed_by=cure))

    def _close(self, channel: str, ticker: str, until_us: int, by: End) -> None:
        heard = self._heard.get(channel)
        since = None if heard is None else heard.since.pop(ticker, None)
        if heard is not None and since is not None:
            row = self._session(channel, heard.sid, ticker, since)
            self._add(row._replace(ended_at=max(until_us, since), ended_by=by))

    def _session(self, channel: str, sid: int, ticker: str, since_us: int) -> SessionRow:
        return SessionRow(since_us, self._gatherer_id, self.connection, channel, ticker, sid)


@dataclass(slots=True)
class _Heard:
    """One subscription: since when each of its markets is heard."""

    sid: int
    since: dict[str, int] = field(default_factory=dict)
