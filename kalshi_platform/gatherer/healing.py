"""When a hole counts as healed, and by what: whole books again, late frames, or a new connection.

Kept out: asking for what heals (session), and writing it down (coverage).
"""

from dataclasses import dataclass

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.records import GapRow
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.gatherer.coverage import Cause, Cure


@dataclass(frozen=True, slots=True)
class Healing:
    """Judges the holes of one connection by the state of its session and books."""

    session: Session
    capture: Capture

    def cure(self, now_us: int, broken_us: int, hole: GapRow) -> Cure | None:
        """What healed a hole; None while it is open.

        Args:
            now_us: The time.
            broken_us: When the socket last broke; the holes before it are healed by what came after.
            hole: One of the connection's holes.
        """
        is_older = hole.detected_at <= broken_us
        if hole.channel == Channel.ORDERBOOK:
            return self._cure_of_books(hole, is_older)
        if hole.cause in (Cause.SEQUENCE, Cause.REJECTED) and not is_older:
            return self._cure_of_stream(hole, now_us)
        return Cure.RECONNECT if self.session.serves(hole.channel) else None

    def _cure_of_books(self, hole: GapRow, is_older: bool) -> Cure | None:
        if hole.ticker:
            is_whole = self.capture.book(hole.ticker) is not None or hole.ticker not in self.session.tickers
        else:
            is_whole = self.session.has_all_books(self.capture.untrusted)
        if not is_whole:
            return None
        if is_older:
            return Cure.RECONNECT
        return Cure.LATE_FRAMES if self._came_late(hole) else Cure.SNAPSHOTS

    def _cure_of_stream(self, hole: GapRow, now_us: int) -> Cure | None:
        """What was missed of a channel without books comes late or never."""
        if self._came_late(hole):
            return Cure.LATE_FRAMES
        return None if self.session.awaits_late(now_us) else Cure.UNHEALED

    def _came_late(self, hole: GapRow) -> bool:
        return hole.cause == Cause.SEQUENCE and self.session.is_whole(hole.sid)
