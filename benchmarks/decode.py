"""Decode of delta frames, typed, against `json.loads` of the same frames.

Run: python benchmarks/decode.py
"""

import json
import sys

from measure import arguments, ratio

from kalshi_platform.core.messages import decode

FRAMES = [
    json.dumps(
        {
            "type": "orderbook_delta", "sid": 1, "seq": seq, "sending_ts_ms": 1795219201040 + seq,
            "msg": {
                "market_ticker": f"KXBENCH-26DEC01-T{seq % 997}", "market_id": "5f0c84d8-9df7-4965-8be3-0a230f12c02e",
                "price_dollars": f"0.{seq % 9999 + 1:04d}", "delta_fp": f"{seq % 400 - 200}.50",
                "side": "yes" if seq % 2 else "no", "ts": "2026-11-21T00:00:01.034Z", "ts_ms": 1795219201034 + seq,
            },
        }
    ).encode()
    for seq in range(1, 100_001)
]  # fmt: skip


def ours() -> int:
    """Typed frames."""
    for raw in FRAMES:
        decode(raw)
    return len(FRAMES)


def baseline() -> int:
    """Untyped dictionaries."""
    for raw in FRAMES:
        json.loads(raw)
    return len(FRAMES)


if __name__ == "__main__":
    arguments(__doc__)
    sys.exit(not ratio("decode of a delta frame", ours, baseline, of="json.loads", budget=5))
