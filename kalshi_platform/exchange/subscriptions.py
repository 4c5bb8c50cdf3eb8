"""What can be subscribed, which frames each subscription sends, and what is known of one.

Kept out: what happens to it (session).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

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
