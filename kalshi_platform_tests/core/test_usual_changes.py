"""The short way of a change through capture is the long one, only shorter."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.messages import DeltaFrame, decode

T0 = 1_795_219_200_000
NOW = (T0 + 10_000) * 1000

_DELTA = st.fixed_dictionaries(
    {
        "market_ticker": st.sampled_from(["KXA", "KXB", "KXNEW", ""]),
        "price_dollars": st.sampled_from(["0.10", "0.20", "0.9900", "1.01", "x"]),
        "delta_fp": st.sampled_from(["1.00", "-1.00", "-2.50", "0.00", "0.001"]),
        "side": st.sampled_from(["yes", "no", "maybe"]),
        "ts_ms": st.sampled_from([T0, T0, T0 + 1, T0 + 2, T0 + 1000, T0 + 2001, T0 - 5, 5, T0 + 10**9, None]),
    }
)
_SNAPSHOT = st.fixed_dictionaries(
    {
        "market_ticker": st.sampled_from(["KXA", "KXB"]),
        "yes_dollars_fp": st.lists(st.just(["0.10", "3.00"]), max_size=1),
        "no_dollars_fp": st.lists(st.just(["0.20", "2.00"]), max_size=1),
    }
)
_STEPS = st.lists(
    st.tuples(st.just("orderbook_delta"), _DELTA)
    | st.tuples(st.just("orderbook_delta"), _DELTA)
    | st.tuples(st.just("orderbook_snapshot"), _SNAPSHOT)
    | st.tuples(st.sampled_from(["retire", "await", "checkpoints", "distrust"]), st.none()),
    max_size=40,
)


def _step(capture: Capture, kind: str, seq: int, body: dict[str, Any] | None, *, is_short: bool) -> Any:
    """What one step gives: rows, or why there are none."""
    if kind == "retire":
        return capture.retire("KXB")
    if kind == "await":
        return capture.await_late(may_come=seq % 2 == 0)
    if kind == "checkpoints":
        return capture.checkpoints(T0 + 1500, NOW)
    if kind == "distrust":
        return capture.distrust("KXA")
    frame = decode(json.dumps({"type": kind, "sid": 1, "seq": seq, "sending_ts_ms": T0, "msg": body}))
    try:
        rows = capture.usual_changes([(frame, b"", NOW)]) if is_short and isinstance(frame, DeltaFrame) else []
        return rows or list(capture.record(frame, NOW))
    except FrameRejected as rejection:
        return str(rejection)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(steps=_STEPS)
def test_both_ways_give_the_same(steps: list[tuple[str, Any]]) -> None:
    """Rows, books, counts and refusals, step by step."""
    long, short = Capture("g", 1000), Capture("g", 1000)
    opening = [
        ("orderbook_snapshot", {"market_ticker": name, "yes_dollars_fp": [["0.10", "5.00"]]}) for name in ("KXA", "KXB")
    ]
    for seq, (kind, body) in enumerate([*opening, *steps], 1):
        assert _step(long, kind, seq, body, is_short=False) == _step(short, kind, seq, body, is_short=True)
        assert long.counts == short.counts
        assert long.untrusted == short.untrusted
        for name in ("KXA", "KXB", "KXNEW"):
            ours, theirs = long.book(name), short.book(name)
            assert (ours and (dict(ours.yes), dict(ours.no))) == (theirs and (dict(theirs.yes), dict(theirs.no)))


def test_an_ordinary_change_takes_the_short_way() -> None:
    """Else nothing was gained."""
    capture = Capture("g", 3_600_000)
    assert _step(capture, "orderbook_snapshot", 1, {"market_ticker": "KXA"}, is_short=True)
    body = {"market_ticker": "KXA", "price_dollars": "0.10", "delta_fp": "1.00", "side": "yes", "ts_ms": T0 + 1}
    frame = decode(json.dumps({"type": "orderbook_delta", "sid": 1, "seq": 2, "msg": body}))
    assert isinstance(frame, DeltaFrame)
    assert len(capture.usual_changes([(frame, b"", NOW)] * 3)) == 3
