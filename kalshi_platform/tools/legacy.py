"""Frames of before 12 March 2026, in whole cents and whole contracts, in today's fields (kalshi-protocol.md §4.1).

A cent is exactly "0.01" and a contract "1.00", so nothing is lost; a field that is there already is left as it is.
Also the bodies of messages that some recorders keep without their frame. Kept out: reading files (recordings).
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

LEGACY_MARKS = (
    b'"price":',
    b'"delta":',
    b'"yes":',
    b'"no":',
    b'"yes_price":',
    b'"count":',
    b'"yes_bid":',
    b'"volume":',
)
"""What a frame of whole cents holds at least one of."""


def _dollars(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}00"


def _contracts(count: int) -> str:
    return f"{count}.00"


_FIELDS: Mapping[str, Mapping[str, tuple[str, Callable[[int], str]]]] = {
    "orderbook_delta": {"price": ("price_dollars", _dollars), "delta": ("delta_fp", _contracts)},
    "trade": {
        "yes_price": ("yes_price_dollars", _dollars),
        "no_price": ("no_price_dollars", _dollars),
        "count": ("count_fp", _contracts),
    },
    "ticker": {
        "price": ("price_dollars", _dollars),
        "yes_bid": ("yes_bid_dollars", _dollars),
        "yes_ask": ("yes_ask_dollars", _dollars),
        "volume": ("volume_fp", _contracts),
        "open_interest": ("open_interest_fp", _contracts),
    },
}
"""Type of a message → its field of then → its field of today, and how the value is written now."""

_SIDES = {"yes": "yes_dollars_fp", "no": "no_dollars_fp"}


def modern(raw: bytes) -> bytes:
    """A frame with today's fields beside those of then; what is no such frame comes back as it is."""
    try:
        frame = msgspec.json.decode(raw)
        changed = _add_fields(frame["type"], frame["msg"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError):
        return raw  # the typed decoder will say what is wrong with it
    return msgspec.json.encode(frame) if changed else raw


def framed(channel: str, message: bytes) -> bytes:
    """A message that was kept under its channel, as a frame: whole already, as text, or only its body."""
    try:
        value = msgspec.json.decode(message)
        if isinstance(value, str):
            return framed(channel, value.encode())
        if "type" in value:
            return message
        kind = channel
        if channel == "orderbook_delta" and "side" not in value:
            kind = "orderbook_snapshot"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return message
    return msgspec.json.encode({"type": kind, "sid": 1, "seq": 1, "msg": value})  # it never said its place


def _add_fields(kind: str, body: dict[str, Any]) -> bool:
    if kind == "orderbook_snapshot":
        missing = {new: body[old] for old, new in _SIDES.items() if body.get(old) and new not in body}
        body.update(
            {new: [[_dollars(price), _contracts(size)] for price, size in levels] for new, levels in missing.items()}
        )
        return bool(missing)
    changed = False
    for old, (new, written) in _FIELDS.get(kind, {}).items():
        if new not in body and isinstance(body.get(old), int):
            body[new] = written(body[old])
            changed = True
    return changed
