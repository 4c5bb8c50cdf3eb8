"""Faults carried out: what becomes of one published message on a connection on which something goes wrong.

A message counts as handed over only if it leaves whole and as composed, though perhaps twice, later or out of order.
Which message meets which fault is `faults`' business.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from kalshi_platform.simulator.account import Gap
from kalshi_platform.simulator.connection import Connection
from kalshi_platform.simulator.faults import Fault, FaultKind, FaultPlan
from kalshi_platform.simulator.frames import close_frame
from kalshi_platform.simulator.holes import Holes
from kalshi_platform.simulator.subscriptions import Subscription

_GOING_AWAY = 1001
_GARBAGE = b"\x00\x7f not json {]"
_NONSENSE = (FaultKind.GARBAGE, FaultKind.HALF)
_ARRIVES = (FaultKind.DUPLICATE, FaultKind.STALL, FaultKind.WRONG_TYPES)
_TERMINAL = {FaultKind.OVERFLOW: 25, FaultKind.CHANNEL_ERROR: 10}


class Mishap(NamedTuple):
    """A fault as it happened, for the ledger; `withheld` says that the message did not arrive as composed."""

    connection: int
    fault: FaultKind
    type: str
    sid: int
    seq: int
    ticker: str
    withheld: bool


class Outcome(NamedTuple):
    """What became of a message: whether it was handed over, and the error that ends its subscription, if any."""

    is_intact: bool
    error: int = 0


_INTACT, _LOST = Outcome(True), Outcome(False)  # noqa: FBT003 - named by the tuple


class Mishaps:
    """The faults of one connection."""

    def __init__(self, plan: FaultPlan, connection: Connection, note: Callable[[Mishap | Gap], None]) -> None:
        self._plan = plan
        self._connection = connection
        self._note = note
        self.holes = Holes(plan.connection, note)
        """What is missing from the sequences of its subscriptions."""
        if plan.late_seconds():
            connection.stall(time.monotonic() + plan.late_seconds())

    def deliver(self, subscription: Subscription, kind: bytes, tail: bytes, ticker: str) -> Outcome:
        """Send one message, or do to it what the plan says."""
        if self._connection.is_over:
            return _LOST
        fault = self._plan.next()
        if fault is None:
            self._connection.send(subscription.envelope(kind, tail))
            self.holes.arrive(subscription)
            return _INTACT
        if fault.kind in _TERMINAL:
            self._tell(fault, subscription, kind, ticker, withheld=True)
            return Outcome(is_intact=False, error=_TERMINAL[fault.kind])
        is_intact = self._do(fault, subscription.envelope(kind, tail))
        self._tell(fault, subscription, kind, ticker, withheld=not is_intact)
        self._follow(fault, subscription, ticker)
        return _INTACT if is_intact else _LOST

    def _do(self, fault: Fault, payload: bytes) -> bool:
        """Let the fault happen; returns whether the message goes out as composed."""
        connection = self._connection
        match fault.kind:
            case FaultKind.DUPLICATE:
                connection.send(payload)
                connection.send(payload)
            case FaultKind.REORDER:
                connection.hold(payload)
            case FaultKind.STALL:
                connection.stall(time.monotonic() + fault.seconds)
                connection.send(payload)
            case FaultKind.CUT:
                connection.end_with(b"", cut=True)
            case FaultKind.TORN:
                frame = connection.frame(payload)
                connection.end_with(frame[: len(frame) // 2], cut=True)
            case FaultKind.CLOSE:
                connection.end_with(close_frame(_GOING_AWAY), cut=False)
            case FaultKind.GARBAGE:
                connection.send(_GARBAGE)
            case FaultKind.HALF:
                connection.send(payload[: len(payload) // 2])
            case FaultKind.WRONG_TYPES:
                connection.send(_wrong_types(payload))
            case _:
                pass  # dropped: its number is used up and nothing is sent
        return fault.kind in (FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.STALL)

    def _follow(self, fault: Fault, subscription: Subscription, ticker: str) -> None:
        """Keep track of the holes that a client sees."""
        if fault.kind is FaultKind.REORDER:
            self.holes.hold(subscription, fault.kind, ticker)
        elif fault.kind in _ARRIVES:
            self.holes.arrive(subscription)
        else:
            self.holes.lose(subscription, fault.kind, ticker)
            if fault.kind in _NONSENSE:
                self.holes.arrive(None)

    def _tell(self, fault: Fault, subscription: Subscription, kind: bytes, ticker: str, *, withheld: bool) -> None:
        sid, seq = subscription.sid, subscription.seq
        self._note(Mishap(self._plan.connection, fault.kind, kind.decode(), sid, seq, ticker, withheld))


def _wrong_types(payload: bytes) -> bytes:
    """The same message with texts for numbers and numbers for texts."""
    message = msgspec.json.decode(payload)
    message["msg"] = {key: _other_type(value) for key, value in message["msg"].items()}
    return msgspec.json.encode(message)


def _other_type(value: object) -> object:
    return 7.5 if isinstance(value, str) else str(value)
