"""Decoding frames."""

import msgspec
import pytest

from kalshi_platform.core.errors import FrameRejected, Reason
from kalshi_platform.core.messages import (
    DeltaFrame,
    ErrorFrame,
    LifecycleFrame,
    OkFrame,
    SnapshotFrame,
    SubscribedFrame,
    TickerFrame,
    TradeFrame,
    UnsubscribedFrame,
    decode,
    envelope,
)

_FRAMES = {
    b'{"type":"orderbook_snapshot","sid":1,"seq":1,"sending_ts_ms":1795219200123,"msg":{"market_ticker":"KXAAA",'
    b'"market_id":"","yes_dollars_fp":[["0.3100","12.00"]]}}': SnapshotFrame,
    b'{"type":"orderbook_delta","sid":1,"seq":3,"msg":{"market_ticker":"KXAAA","market_id":"x","price_dollars":"0.64",'
    b'"delta_fp":"-2.50","side":"no","ts":"2026-11-21T00:00:01.034Z","ts_ms":1795219201034,"new":[1]}}\n': DeltaFrame,
    b'{"type":"trade","sid":2,"seq":17,"msg":{"trade_id":"8b1d1111-0000-0000-0000-000000000000","market_ticker":"K",'
    b'"yes_price_dollars":"0.36","no_price_dollars":"0.64","count_fp":"2.50","taker_outcome_side":"yes","ts":1,'
    b'"ts_ms":1795219201034}}': TradeFrame,
    b'{"type":"ticker","sid":3,"msg":{"market_ticker":"K","price_dollars":"0.1",'
    b'"dollar_volume":-3,"time":"x"}}': TickerFrame,
    b'{"type":"market_lifecycle_v2","sid":3,"seq":8,"msg":{"market_ticker":"K",'
    b'"event_type":"brand_new"}}': LifecycleFrame,
    b'{"id":1,"type":"subscribed","msg":{"channel":"orderbook_delta","sid":1}}': SubscribedFrame,
    b'{"id":2,"type":"ok","sid":1,"seq":109,"msg":{"market_tickers":["A"]}}': OkFrame,
    b'{"id":9,"type":"ok","msg":[{"channel":"trade","sid":2}]}': OkFrame,
    b'{"id":4,"type":"unsubscribed","sid":1,"seq":871}': UnsubscribedFrame,
    b'{"id":5,"type":"error","msg":{"code":8,"msg":"Unknown channel name"}}': ErrorFrame,
}


@pytest.mark.parametrize(("raw", "kind"), _FRAMES.items())
def test_every_frame_of_the_protocol_decodes(raw: bytes, kind: type) -> None:
    """Known fields are typed, unknown ones ignored, enums open."""
    assert isinstance(decode(raw), kind)


def test_an_empty_side_has_no_key() -> None:
    """A missing key means an empty side (kalshi-pitfalls.md 12)."""
    frame = decode(b'{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"K"}}')
    assert isinstance(frame, SnapshotFrame)
    assert frame.msg.yes_dollars_fp == frame.msg.no_dollars_fp == ()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"type":"orderbook_delta","sid":1,"se', Reason.NOT_JSON),
        (b"", Reason.NOT_JSON),
        (b"\xff\xfe", Reason.NOT_JSON),
        (b'{"type":"trade","sid":"\xff"}', Reason.NOT_JSON),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b'{"type":"brand_new","sid":1}', Reason.UNKNOWN_TYPE),
        (b'{"sid":1}', Reason.WRONG_SHAPE),
        (b'{"type":7}', Reason.WRONG_SHAPE),
        (b'{"type":"orderbook_delta","sid":1,"seq":2,"msg":{}}', Reason.WRONG_SHAPE),
        (b'{"type":"ticker","sid":1,"msg":{"market_ticker":"K","price_dollars":0.5}}', Reason.WRONG_SHAPE),
    ],
)
def test_what_cannot_be_used_says_why(raw: bytes, reason: Reason) -> None:
    """Each rejection has its reason."""
    with pytest.raises(FrameRejected) as caught:
        decode(raw)
    assert caught.value.reason is reason


def test_a_rejected_frame_still_shows_its_place() -> None:
    """Sequence and market survive where the rest does not fit."""
    saved = envelope(b'{"type":"orderbook_delta","sid":1,"seq":2,"msg":{"market_ticker":"K"}}')
    assert (saved.type, saved.sid, saved.seq) == ("orderbook_delta", 1, 2)
    assert saved.msg is not None
    assert saved.msg.market_ticker == "K"
    assert envelope(b"half a fr").seq is None


def test_frames_are_facts() -> None:
    """Nobody edits a message."""
    frame = decode(b'{"id":1,"type":"subscribed","msg":{"channel":"trade","sid":1}}')
    with pytest.raises(AttributeError):
        frame.id = 2
    assert msgspec.structs.fields(frame)
