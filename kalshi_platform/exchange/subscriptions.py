"""What can be subscribed, which frames each subscription sends, and what is known of those of one connection.

Kept out: what happens to them (session).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kalshi_platform.core.messages import (
    DeltaFrame,
    EventFeeFrame,
    EventLifecycleFrame,
    LifecycleFrame,
    MultivariateLifecycleFrame,
    SnapshotFrame,
    TickerFrame,
    TradeFrame,
)
from kalshi_platform.core.sequence import SequenceCounter
from kalshi_platform.core.units import SECOND
from kalshi_platform.core.usual_changes import Change
from kalshi_platform.exchange.staleness import Rhythm


class Channel(StrEnum):
    """Channels that the platform listens to."""

    ORDERBOOK = "orderbook_delta"
    TICKER = "ticker"
    TRADE = "trade"
    LIFECYCLE = "market_lifecycle_v2"
    MULTIVARIATE_LIFECYCLE = "multivariate_market_lifecycle"


DataFrame = (
    SnapshotFrame
    | DeltaFrame
    | TradeFrame
    | TickerFrame
    | LifecycleFrame
    | MultivariateLifecycleFrame
    | EventLifecycleFrame
    | EventFeeFrame
)
"""Frames with content; the others are replies."""

_LIFECYCLES = (Channel.LIFECYCLE, Channel.MULTIVARIATE_LIFECYCLE)
SERVED_BY: Mapping[type[DataFrame], tuple[Channel, ...]] = {
    SnapshotFrame: (Channel.ORDERBOOK,),
    DeltaFrame: (Channel.ORDERBOOK,),
    TradeFrame: (Channel.TRADE,),
    TickerFrame: (Channel.TICKER,),
    LifecycleFrame: (Channel.LIFECYCLE,),
    MultivariateLifecycleFrame: (Channel.MULTIVARIATE_LIFECYCLE,),
    EventLifecycleFrame: _LIFECYCLES,
    EventFeeFrame: _LIFECYCLES,
}
"""The channels whose subscriptions send a kind of frame."""

HOLE_US = 60 * SECOND
"""For so long after a gap late frames are expected to come."""

_DEAD_KEPT = 16
_FORGOTTEN_KEPT = 1024


@dataclass(slots=True)
class Subscription:
    """One sid: what it serves, where its count stands, how it sounds."""

    sid: int
    channel: Channel
    rhythm: Rhythm
    started_us: int
    sequence: SequenceCounter = field(default_factory=SequenceCounter)
    is_alive: bool = True
    is_leaving: bool = False
    gap_us: int | None = None


class Subscriptions:
    """Every subscription of one connection: the living, and the dead whose last frames may still come."""

    def __init__(self) -> None:
        self._by_sid: dict[int, Subscription] = {}
        self._forgotten: deque[int] = deque(maxlen=_FORGOTTEN_KEPT)

    def get(self, sid: int | None) -> Subscription | None:
        """The subscription of this id, dead or alive."""
        return None if sid is None else self._by_sid.get(sid)

    def next_changes(self, changes: Sequence[Change]) -> int:
        """How many changes, from the first on, are the next of one living order book subscription.

        Nothing is counted yet: `count` does, and for the others `Session.receive` will tell.
        """
        sid = changes[0][0].sid
        one = self._by_sid.get(sid)
        if one is None or not one.is_alive or one.channel is not Channel.ORDERBOOK:
            return 0
        due = one.sequence.expected
        for number, (frame, _, _) in enumerate(changes):
            if frame.seq != due + number or frame.sid != sid:
                return number
        return len(changes)

    def count(self, changes: Sequence[Change]) -> None:
        """These changes, which `next_changes` told to be the next, are taken."""
        last, _, received_us = changes[-1]
        one = self._by_sid[last.sid]
        one.sequence.advance(len(changes))
        one.rhythm.note(received_us, len(changes))

    def await_late(self, now_us: int) -> bool:
        """Whether frames that fill a hole may still come."""
        return any(
            one.gap_us is not None and now_us - one.gap_us < HOLE_US and one.sequence.has_holes
            for one in self._by_sid.values()
        )

    def living(self) -> list[Subscription]:
        """Those that serve."""
        return [one for one in self._by_sid.values() if one.is_alive]

    def serving(self, channel: Channel) -> Subscription | None:
        """The one that serves a channel: there is one at a time (kalshi-protocol.md §3.6, fact 2)."""
        return next((one for one in self._by_sid.values() if one.is_alive and one.channel is channel), None)

    @staticmethod
    def listed(entries: Sequence[object]) -> dict[int, Any]:
        """What the exchange says it serves: the channel of each sid; what names none is passed over."""
        named = [one for one in entries if isinstance(one, dict) and type(one.get("sid")) is int]
        return {one["sid"]: one.get("channel") for one in named}

    def start(self, sid: int, channel: Channel, now_us: int) -> Subscription:
        """A subscription serves from now on; one that was taken for dead goes on counting where it was."""
        known = self._by_sid.get(sid)
        sequence = SequenceCounter() if known is None else known.sequence
        one = self._by_sid[sid] = Subscription(sid, channel, Rhythm(now_us), now_us, sequence)
        return one

    def remember(self, sid: int, channel: Channel, now_us: int) -> Subscription:
        """A subscription that was over before it was heard of."""
        one = self._by_sid[sid] = Subscription(sid, channel, Rhythm(now_us), now_us, is_alive=False)
        self._forget_oldest()
        return one

    def bury(self, one: Subscription) -> None:
        """Keep a dead subscription's sequence, so that its last frames can still be placed."""
        one.is_alive = False
        self._forget_oldest()

    def is_forgotten(self, sid: int) -> bool:
        """Whether it is dead for so long that its frames can no longer be placed."""
        return sid in self._forgotten

    def _forget_oldest(self) -> None:
        dead = [sid for sid, one in self._by_sid.items() if not one.is_alive]
        for sid in dead[:-_DEAD_KEPT]:
            del self._by_sid[sid]
            self._forgotten.append(sid)
