"""Frames of every real shape, and seeded ways to break them: what the fuzz test feeds."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any

T0 = 1_795_219_200_000
"""The millisecond of the first frame."""

_TEXTS = ["", "\x00", "0.\x0050", "\ud800", "NaN", "1e9", "-0.00", "٣", "9" * 400, "0x1", " 0.5", "🙂" * 60, "yes"]
_NUMBERS = [0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, 0.5, -0.0]
_OTHERS: list[Any] = [None, True, False, [], {}, [[]], [["0.5"]], [["0.5", "1.00", "x"]], {"a": {"b": []}}]


def frames(random: Random) -> Iterator[dict[str, Any]]:
    """Frames as the exchange sends them, of four subscriptions, for ever."""
    seqs = {1: 0, 2: 0, 4: 0}
    for number in range(1 << 62):
        kind = random.choice(_KINDS)
        frame = kind(random, T0 + number // 4)
        sid = frame.get("sid")
        if sid in seqs and "seq" in frame:
            seqs[sid] += 1
            frame["seq"] = seqs[sid]
        yield frame


def _market(random: Random) -> str:
    return f"KXFUZZ-26DEC01-T{random.randrange(8)}"


def _level(random: Random) -> list[str]:
    return [f"0.{random.randrange(1, 100):02d}00", f"{random.randrange(1, 500)}.{random.randrange(100):02d}"]


def _snapshot(random: Random, ms: int) -> dict[str, Any]:
    sides = {f"{side}_dollars_fp": [_level(random) for _ in range(3)] for side in ("yes", "no")}
    msg = {"market_ticker": _market(random), "market_id": "", **sides}
    return {"type": "orderbook_snapshot", "sid": 1, "seq": 0, "sending_ts_ms": ms, "msg": msg}


def _delta(random: Random, ms: int) -> dict[str, Any]:
    price, size = _level(random)
    msg = {"market_ticker": _market(random), "market_id": "x", "price_dollars": price, "delta_fp": size,
           "side": random.choice(["yes", "no"]), "ts": "2026-11-21T00:00:01.034Z", "ts_ms": ms}  # fmt: skip
    return {"type": "orderbook_delta", "sid": 1, "seq": 0, "sending_ts_ms": ms, "msg": msg}


def _trade(random: Random, ms: int) -> dict[str, Any]:
    price, size = _level(random)
    msg = {"trade_id": f"{random.getrandbits(128):032x}", "market_ticker": _market(random), "yes_price_dollars": price,
           "no_price_dollars": "0.5", "count_fp": size, "taker_side": "yes", "taker_outcome_side": "yes",
           "taker_book_side": "bid", "is_block_trade": False, "ts": ms // 1000, "ts_ms": ms}  # fmt: skip
    return {"type": "trade", "sid": 2, "seq": 0, "msg": msg}


def _ticker(random: Random, ms: int) -> dict[str, Any]:
    bid, size = _level(random)
    msg = {"market_ticker": _market(random), "price_dollars": bid, "yes_bid_dollars": bid, "yes_ask_dollars": bid,
           "yes_bid_size_fp": size, "yes_ask_size_fp": size, "last_trade_size_fp": size, "volume_fp": size,
           "open_interest_fp": size, "dollar_volume": random.randrange(10**6), "dollar_open_interest": -5,
           "ts": ms // 1000, "ts_ms": ms, "time": "2026-11-21T00:00:01Z"}  # fmt: skip
    return {"type": "ticker", "sid": 3, "sending_ts_ms": ms, "msg": msg}


def _lifecycle(random: Random, ms: int) -> dict[str, Any]:
    seconds = ms // 1000
    msg = {"market_ticker": _market(random), "event_type": "created", "open_ts": seconds, "close_ts": seconds,
           "price_ranges": [{"start": "0", "end": "1", "step": "0.01"}], "additional_metadata": {}}  # fmt: skip
    return {"type": "market_lifecycle_v2", "sid": 4, "seq": 0, "msg": msg}


def _reply(random: Random, ms: int) -> dict[str, Any]:
    number = random.randrange(1, 40)
    return random.choice([
        {"id": number, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": 1}},
        {"id": number, "type": "ok", "sid": 1, "seq": 0, "msg": {"market_tickers": ["A"]}},
        {"id": number, "type": "ok", "msg": [{"channel": "trade", "sid": 2}, {"channel": "orderbook_delta", "sid": 1}]},
        {"id": number, "type": "error", "msg": {"code": random.randrange(1, 30), "msg": "?"}},
        {"id": number, "type": "error", "sid": 2, "seq": 0, "msg": {"code": 25, "msg": "overflow"}},
        {"id": number, "type": "unsubscribed", "sid": 4, "seq": 0},
        {"type": "event_fee_update", "sid": 4, "seq": 0, "msg": {"event_ticker": "E", "fee_type_override": None}},
    ])  # fmt: skip


_KINDS = [_delta] * 10 + [_snapshot] * 2 + [_trade] * 3 + [_ticker] * 4 + [_lifecycle, _reply]


def _flip(random: Random, raw: bytes) -> bytes:
    broken = bytearray(raw)
    for _ in range(random.randrange(1, 4)):
        broken[random.randrange(len(broken))] ^= 1 << random.randrange(8)
    return bytes(broken)


def _truncate(random: Random, raw: bytes) -> bytes:
    return raw[: random.randrange(len(raw))]


def _nul(random: Random, raw: bytes) -> bytes:
    at = random.randrange(len(raw))
    return raw[:at] + random.choice([b"\x00", b"\\u0000", b"\\ud800", b"\xff", b"\\"]) + raw[at:]


def _double(random: Random, raw: bytes) -> bytes:
    """Keys that come twice."""
    value = json.dumps(random.choice(_TEXTS + _NUMBERS[:6])).encode()
    key = random.choice([b"type", b"sid", b"seq", b"msg", b"id"])
    return raw[:-1] + b',"' + key + b'":' + value + b"}"


def _nest(random: Random, raw: bytes) -> bytes:
    depth = random.choice([2, 50, 5000])
    return raw[:-1] + b',"deep":' + b"[" * depth + b"]" * depth + b"}"


def _splice(random: Random, raw: bytes) -> bytes:
    at, length = random.randrange(len(raw)), random.randrange(1, 30)
    return raw[:at] + raw[at + length :]


def _wrap(random: Random, raw: bytes) -> bytes:
    """No object any more."""
    return random.choice([b"[%b]", b'"%b"', b"%b%b", b"7"]).replace(b"%b", raw)


def _swap(random: Random, frame: dict[str, Any]) -> None:
    """Another value, of another type, somewhere."""
    target = frame["msg"] if isinstance(frame.get("msg"), dict) and random.random() < 0.7 else frame
    key = random.choice(list(target) or ["x"])
    choice = random.choice([_TEXTS, _NUMBERS, _OTHERS])
    target[key] = deepcopy(random.choice(choice))


def _remove(random: Random, frame: dict[str, Any]) -> None:
    target = frame["msg"] if isinstance(frame.get("msg"), dict) and random.random() < 0.7 else frame
    target.pop(random.choice(list(target) or ["x"]), None)


def _renumber(random: Random, frame: dict[str, Any]) -> None:
    key = random.choice(["sid", "seq", "id"])
    if isinstance(frame.get(key), int):
        frame[key] = max(0, frame[key] + random.choice([-2, -1, 1, 2, 1000]))


_BYTES: list[Callable[[Random, bytes], bytes]] = [_flip, _flip, _truncate, _nul, _double, _nest, _splice, _wrap]
_SHAPES: list[Callable[[Random, dict[str, Any]], None]] = [_swap, _swap, _swap, _remove, _renumber]


def mutated(random: Random, frame: dict[str, Any]) -> bytes:
    """One frame, broken in one way or two."""
    if random.random() < 0.5:
        for _ in range(random.randrange(1, 3)):
            random.choice(_SHAPES)(random, frame)
        return json.dumps(frame, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    raw = json.dumps(frame, separators=(",", ":")).encode()
    return random.choice(_BYTES)(random, raw)
