"""The exchange's frames, typed: one decode per frame.

Shapes are those of kalshi-protocol.md §3.3 and §3.5 (official AsyncAPI text of September 2026 and live captures).
Prices and sizes stay strings here; `records` turns them into integers. Unknown fields are ignored, enums stay open.
Kept out: what a frame means for a book or a subscription.
"""

import re
from typing import Annotated, Any

import msgspec

from kalshi_platform.core.errors import FrameRejected, Reason

Number = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
"""A subscription's id or a place in its sequence: from 1 (kalshi-protocol.md §3.6), and what a bigint holds."""

Whole = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""Whole dollars or milliseconds; signed, and what a bigint holds."""

Level = tuple[str, str]
"""Price in dollars and contracts at that price, both as sent."""


class _Frame(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """What every frame may carry on top."""


class SnapshotBody(msgspec.Struct, frozen=True, gc=False):
    """A whole book; the key of an empty side is absent."""

    market_ticker: str
    yes_dollars_fp: tuple[Level, ...] = ()
    no_dollars_fp: tuple[Level, ...] = ()


class DeltaBody(msgspec.Struct, frozen=True, gc=False):
    """A signed change of one level. `ts_ms` came in April 2026; before, only `ts` was sent."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: str
    ts_ms: int | None = None
    ts: str | None = None


class TradeBody(msgspec.Struct, frozen=True, gc=False):
    """A trade; `ts` counts seconds. `taker_side` is deprecated and may vanish."""

    trade_id: str
    market_ticker: str
    yes_price_dollars: str
    count_fp: str
    taker_outcome_side: str | None = None
    taker_book_side: str | None = None
    taker_side: str | None = None
    is_block_trade: bool = False
    ts_ms: int | None = None
    ts: int | None = None


class TickerBody(msgspec.Struct, frozen=True, gc=False):
    """Best prices and totals; `ts` counts seconds."""

    market_ticker: str
    price_dollars: str | None = None
    yes_bid_dollars: str | None = None
    yes_ask_dollars: str | None = None
    yes_bid_size_fp: str | None = None
    yes_ask_size_fp: str | None = None
    last_trade_size_fp: str | None = None
    volume_fp: str | None = None
    open_interest_fp: str | None = None
    dollar_volume: Whole | None = None
    dollar_open_interest: Whole | None = None
    ts_ms: int | None = None
    ts: int | None = None


class LifecycleBody(msgspec.Struct, frozen=True, gc=False):
    """A change in a market's life; which other keys come depends on `event_type`."""

    market_ticker: str
    event_type: str
    open_ts: int | None = None
    close_ts: int | None = None
    result: str | None = None
    settlement_value: str | None = None
    determination_ts: int | None = None
    settled_ts: int | None = None
    is_deactivated: bool | None = None
    price_level_structure: str | None = None
    price_ranges: list[dict[str, Any]] | None = None
    additional_metadata: dict[str, Any] | None = None


class SnapshotFrame(_Frame, frozen=True, tag="orderbook_snapshot"):
    """A whole book on a subscription; `id` only when it answers `get_snapshot`."""

    sid: Number
    seq: Number
    msg: SnapshotBody
    sending_ts_ms: Whole | None = None
    id: int | None = None


class DeltaFrame(_Frame, frozen=True, tag="orderbook_delta"):
    """One level's change on a subscription."""

    sid: Number
    seq: Number
    msg: DeltaBody
    sending_ts_ms: Whole | None = None


class TradeFrame(_Frame, frozen=True, tag="trade"):
    """One trade on a subscription."""

    sid: Number
    seq: Number
    msg: TradeBody
    sending_ts_ms: Whole | None = None


class TickerFrame(_Frame, frozen=True, tag="ticker"):
    """One ticker update; this channel has no `seq`."""

    sid: Number
    msg: TickerBody
    sending_ts_ms: Whole | None = None


class LifecycleFrame(_Frame, frozen=True, tag="market_lifecycle_v2"):
    """A market's life, combos excluded."""

    sid: Number
    seq: Number
    msg: LifecycleBody
    sending_ts_ms: Whole | None = None


class MultivariateLifecycleFrame(_Frame, frozen=True, tag="multivariate_market_lifecycle"):
    """A combo's life."""

    sid: Number
    seq: Number
    msg: LifecycleBody
    sending_ts_ms: Whole | None = None


class EventLifecycleFrame(_Frame, frozen=True, tag="event_lifecycle"):
    """A new event."""

    sid: Number
    seq: Number
    msg: dict[str, Any]
    sending_ts_ms: Whole | None = None


class EventFeeFrame(_Frame, frozen=True, tag="event_fee_update"):
    """An event's fees changed."""

    sid: Number
    seq: Number
    msg: dict[str, Any]
    sending_ts_ms: Whole | None = None


class SubscribedBody(msgspec.Struct, frozen=True, gc=False):
    """Which subscription now serves a channel."""

    channel: str
    sid: Number


class SubscribedFrame(_Frame, frozen=True, tag="subscribed"):
    """A new subscription; takes no `seq`, and its `sid` is nested."""

    msg: SubscribedBody
    id: int | None = None


class OkFrame(_Frame, frozen=True, tag="ok"):
    """An acknowledged command; takes a `seq` where it concerns a subscription."""

    id: int | None = None
    sid: Number | None = None
    seq: Number | None = None
    msg: Any = None


class UnsubscribedFrame(_Frame, frozen=True, tag="unsubscribed"):
    """A subscription has ended; takes a `seq`."""

    sid: Number
    id: int | None = None
    seq: Number | None = None


class ErrorBody(msgspec.Struct, frozen=True, gc=False):
    """An error code (kalshi-protocol.md §3.3) and its text."""

    code: int
    msg: str = ""


class ErrorFrame(_Frame, frozen=True, tag="error"):
    """A refused command, or with codes 10 and 25 the end of a subscription."""

    msg: ErrorBody
    id: int | None = None
    sid: Number | None = None
    seq: Number | None = None


Frame = (
    SnapshotFrame
    | DeltaFrame
    | TradeFrame
    | TickerFrame
    | LifecycleFrame
    | MultivariateLifecycleFrame
    | EventLifecycleFrame
    | EventFeeFrame
    | SubscribedFrame
    | OkFrame
    | UnsubscribedFrame
    | ErrorFrame
)
"""Every frame that the platform understands."""


class EnvelopeBody(msgspec.Struct, frozen=True, gc=False):
    """The one field of a body that still helps when the rest cannot be read."""

    market_ticker: str | None = None


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What can be saved of a rejected frame: its place in the sequence and its market."""

    type: str | None = None
    sid: Number | None = None
    seq: Number | None = None
    msg: EnvelopeBody | None = None


_frames: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)
_envelopes = msgspec.json.Decoder(Envelope)
_types = frozenset(
    str(msgspec.inspect.type_info(kind).tag)  # type: ignore[attr-defined]  # every member is a Struct
    for kind in Frame.__args__
)


_LEVELS = re.compile(rb'\[\s*\[\s*"?\d')
"""Pairs that begin with a number; other lists may come to a book without notice."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What undecodable bytes raise; the last where arrays or objects are nested a thousand deep."""


def decode(raw: bytes | str) -> Frame:
    """One text frame to its typed form.

    Raises:
        FrameRejected: With `not_json`, `not_an_object`, `unknown_type` or `wrong_shape`.
    """
    try:
        return _frames.decode(raw)
    except msgspec.ValidationError as error:
        raise _misfit(raw, error) from error
    except _UNREADABLE as error:
        raise FrameRejected(Reason.NOT_JSON, str(error)) from error


def check_levels(frame: Frame, raw: bytes) -> None:
    """A book that reads as empty is empty: its levels do not stand under names that came since.

    The exchange renamed them once, and every reader of the old keys saw empty books (kalshi-pitfalls.md 11).

    Raises:
        FrameRejected: With `unknown_type` where they do.
    """
    if not isinstance(frame, SnapshotFrame) or frame.msg.yes_dollars_fp or frame.msg.no_dollars_fp:
        return
    if _LEVELS.search(raw) is not None:
        raise FrameRejected(Reason.UNKNOWN_TYPE, "orderbook_snapshot with levels under unknown keys")


def envelope(raw: bytes | str) -> Envelope:
    """Sequence and market of a frame that `decode` refused; empty where even these are unreadable."""
    try:
        return _envelopes.decode(raw)
    except _UNREADABLE:
        return Envelope()


def _misfit(raw: bytes | str, error: msgspec.ValidationError) -> FrameRejected:
    """Why what began as JSON is no frame; the typed decoder may have stopped before a broken end."""
    try:
        value = msgspec.json.decode(raw)
    except _UNREADABLE as broken:
        return FrameRejected(Reason.NOT_JSON, str(broken))
    if not isinstance(value, dict):
        return FrameRejected(Reason.NOT_AN_OBJECT, f"a frame is a JSON object, not {type(value).__name__}")
    kind = value.get("type")
    if isinstance(kind, str) and kind not in _types:
        return FrameRejected(Reason.UNKNOWN_TYPE, f"type {kind[:100]!r}")
    return FrameRejected(Reason.WRONG_SHAPE, str(error))
