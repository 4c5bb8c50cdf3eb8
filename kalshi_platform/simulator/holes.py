"""The holes that faults tear into the sequences of one connection, noted as its client sees them.

Follows what arrives in the order in which it does: a number that leaps over others is a hole, whatever made it and
whether the others come later. Kept out: making the faults.
"""

from collections.abc import Callable
from typing import NamedTuple

from kalshi_platform.simulator.account import Gap
from kalshi_platform.simulator.subscriptions import Subscription


class _Loss(NamedTuple):
    seq: int
    fault: str
    ticker: str


class Holes:
    """What arrived and what did not, by subscription of one connection."""

    def __init__(self, connection: int, note: Callable[[Gap], None]) -> None:
        self._connection = connection
        self._note = note
        self._latest: dict[Subscription, int] = {}
        self._losses: dict[Subscription, list[_Loss]] = {}
        self._held: list[tuple[Subscription, int]] = []

    def lose(self, subscription: Subscription, fault: str, ticker: str) -> None:
        """The message with the subscription's latest number does not arrive."""
        if subscription.channel.is_sequenced:
            self._losses.setdefault(subscription, []).append(_Loss(subscription.seq, fault, ticker))

    def hold(self, subscription: Subscription, fault: str, ticker: str) -> None:
        """It waits until another frame of the connection has overtaken it."""
        self.lose(subscription, fault, ticker)
        self._held.append((subscription, subscription.seq))

    def arrive(self, subscription: Subscription | None) -> None:
        """A frame arrives: the latest of a subscription, or one without a number; what waited for it follows."""
        arrived, self._held = self._held, []
        if subscription:
            arrived = [(subscription, subscription.seq), *arrived]
        for one, seq in arrived:
            if one.channel.is_sequenced:
                self._count(one, seq)

    def _count(self, subscription: Subscription, seq: int) -> None:
        latest = self._latest.get(subscription, 0)
        if seq > latest + 1:
            losses = [loss for loss in self._losses.pop(subscription, ()) if latest < loss.seq < seq]
            faults = tuple(dict.fromkeys(loss.fault for loss in losses))
            missed = tuple(dict.fromkeys(loss.ticker for loss in losses if loss.ticker))
            sid, channel = subscription.sid, subscription.channel.value
            self._note(Gap(self._connection, sid, channel, latest + 1, seq, faults, missed))
        self._latest[subscription] = max(seq, latest)
