"""What REST says when it says no: the four shapes of error bodies, and which refusals are worth another attempt.

Shapes (kalshi-protocol.md §2.1, recorded bodies): an object under `error`; the same object bare; a text under `error`
(429); a text under `msg` (failed validation). Kept out: waiting and trying again.
"""

from typing import NamedTuple

import msgspec

from kalshi_platform.core.errors import ExchangeError, ExchangeRefused, ExchangeUnavailable
from kalshi_platform.exchange.rest.records import decode

_MAY_PASS = frozenset({408, 429})
_NOT_IMPLEMENTED = 501
_LONGEST = 200


class RateLimited(ExchangeUnavailable):
    """The key's bucket is empty at the exchange; it never says for how long."""


class NotFound(ExchangeRefused):
    """Unknown, archived, or announced and not there yet (kalshi-pitfalls.md 33)."""


class UnexpectedAnswer(ExchangeUnavailable):
    """A success whose body is not what the exchange documents."""


class ErrorBody(NamedTuple):
    """What an error body says; empty where it says nothing."""

    code: str = ""
    message: str = ""
    details: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in dict.fromkeys(self) if part) or "no reason given"


def read_error(body: bytes) -> ErrorBody:
    """An error body of any shape."""
    try:
        raw = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorBody(message=body[:_LONGEST].decode(errors="replace"))
    if not isinstance(raw, dict):
        return ErrorBody(message=str(raw)[:_LONGEST])
    inner = raw.get("error", raw)
    if not isinstance(inner, dict):
        return ErrorBody(message=str(inner)[:_LONGEST])
    message = inner.get("message") or inner.get("msg")
    return ErrorBody(*(_text(one) for one in (inner.get("code"), message, inner.get("details"))))


def _text(value: object) -> str:
    return "" if value is None else str(value)[:_LONGEST]


def error_of(path: str, status: int, body: bytes) -> ExchangeError:
    """The error that an answer with this status is."""
    said = f"GET {path} answered {status}: {read_error(body)}"
    if status == 429:
        return RateLimited(said)
    if status == 404:
        return NotFound(said)
    if status == 401:
        return ExchangeRefused(f"{said}; check the key, its environment and this machine's clock")
    is_passing = status in _MAY_PASS or (status >= 500 and status != _NOT_IMPLEMENTED)  # 520 to 530: a gateway's own
    return ExchangeUnavailable(said) if is_passing else ExchangeRefused(said)
