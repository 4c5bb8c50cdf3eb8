"""Frames of one market as the exchange sends them, for tests of capture."""

import json

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.messages import decode
from kalshi_platform.core.records import Row

T0 = 1_795_219_200_000  # a whole hour
NOW = (T0 + 10_000) * 1000


def frame(kind: str, seq: int, **msg: object) -> bytes:
    """A frame as the exchange sends it."""
    return json.dumps({"type": kind, "sid": 1, "seq": seq, "msg": {"market_ticker": "KXA", **msg}}).encode()


def delta(seq: int, ms: int, price: str = "0.50", change: str = "1.00", side: str = "yes", **msg: object) -> bytes:
    """An order book delta."""
    return frame("orderbook_delta", seq, ts_ms=ms, price_dollars=price, delta_fp=change, side=side, **msg)


def snapshot(seq: int, ms: int | None, ticker: str = "KXA", **sides: object) -> bytes:
    """A whole book, sent at `ms`; with None it does not say when."""
    body = {"type": "orderbook_snapshot", "sid": 1, "seq": seq, **({} if ms is None else {"sending_ts_ms": ms})}
    return json.dumps({**body, "msg": {"market_ticker": ticker, **sides}}).encode()


def record(capture: Capture, *frames: bytes) -> list[Row]:
    """All rows of some frames."""
    return [row for raw in frames for row in capture.record(decode(raw), NOW)]
