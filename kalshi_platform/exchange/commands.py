"""Commands on their way: each has an id, its reply is matched to it, and one that nobody answers is sent again.

Pure: times come in as arguments. Kept out: which commands are sent, and what their replies mean (session).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from kalshi_platform.core.units import SECOND

DEADLINE_US = 10 * SECOND
"""A command without a reply, or a `get_snapshot` without a book, for this long is sent again."""

MOST_ATTEMPTS = 3
LONGEST_WAIT_US = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: `subscribe`, `unsubscribe`, `update_subscription` or `list_subscriptions`.
        channel: What it is about; empty for `list_subscriptions`.
        sid: The subscription that it changes.
        action: Of `update_subscription`.
        tickers: Markets that it names; of `get_snapshot`, those that are still to come.
        attempt: 1 for the first.
    """

    name: str
    channel: str = ""
    sid: int | None = None
    action: str = ""
    tickers: tuple[str, ...] = ()
    attempt: int = 1

    def encode(self, number: int) -> bytes:
        """The command as the exchange reads it."""
        command: dict[str, Any] = {"id": number, "cmd": self.name}
        params = self._params()
        if params:
            command["params"] = params
        return msgspec.json.encode(command)

    def _params(self) -> dict[str, Any]:
        if self.name == "subscribe":
            params: dict[str, Any] = {"channels": [self.channel]}
            if self.tickers:
                # the default of use_yes_price is announced to flip (kalshi-pitfalls.md 17)
                params |= {"market_tickers": list(self.tickers), "use_yes_price": False, "skip_ticker_ack": True}
            return params
        if self.name == "update_subscription":
            return {"sids": [self.sid], "action": self.action, "market_tickers": list(self.tickers)}
        return {"sids": [self.sid]} if self.name == "unsubscribe" else {}


@dataclass(slots=True)
class _Pending:
    command: Command
    since_us: int | None


class Outbox:
    """Commands to send, and those that wait for their reply."""

    def __init__(self) -> None:
        self._last_id = 0
        self._ready: list[bytes] = []
        self._pending: dict[int, _Pending] = {}
        self._later: list[tuple[int, Command]] = []

    def take(self) -> list[bytes]:
        """Commands to send now, in order; each is handed out once."""
        ready, self._ready = self._ready, []
        return ready

    def send(self, command: Command) -> None:
        """Send a command with the next id."""
        self._last_id += 1
        self._ready.append(command.encode(self._last_id))
        self._pending[self._last_id] = _Pending(command, None)

    def send_later(self, command: Command, when_us: int) -> None:
        """Send a command once `due` is asked at or after this time."""
        self._later.append((when_us, command))

    def waiting(self) -> Iterator[Command]:
        """Commands that wait for a reply, or for their time."""
        yield from (one.command for one in self._pending.values())
        yield from (command for _, command in self._later)

    def pending(self) -> Iterator[Command]:
        """Commands that wait for a reply."""
        return (one.command for one in self._pending.values())

    def answered(self, number: int | None, *, is_error: bool = False) -> Command | None:
        """The command that a reply belongs to; it waits no longer, unless it waits for books."""
        found = None if number is None else self._pending.get(number)
        if number is None or found is None:
            return None
        if is_error or found.command.action != "get_snapshot":
            del self._pending[number]
        return found.command

    def settle(self, channel: str) -> None:
        """A subscription serves the channel: no `subscribe` waits any longer, whatever id the reply had."""
        self._pending = {
            number: one
            for number, one in self._pending.items()
            if one.command.name != "subscribe" or one.command.channel != channel
        }

    def abandon(self, action: str) -> None:
        """Wait no longer for any command of this action."""
        self._pending = {number: one for number, one in self._pending.items() if one.command.action != action}

    def came(self, number: int | None, ticker: str, now_us: int) -> None:
        """A book that was asked for came; those still to come have time anew."""
        found = None if number is None else self._pending.get(number)
        if number is None or found is None or found.command.action != "get_snapshot":
            return
        left = tuple(one for one in found.command.tickers if one != ticker)
        if not left:
            del self._pending[number]
            return
        found.command = replace(found.command, tickers=left)
        self.wait_anew(now_us)

    def wait_anew(self, now_us: int) -> None:
        """Every reply has its whole time again."""
        for one in self._pending.values():
            one.since_us = now_us

    def forget(self, sid: int) -> None:
        """A subscription is gone: nothing that concerns it will be answered."""
        self._pending = {number: one for number, one in self._pending.items() if one.command.sid != sid}
        self._later = [(when, command) for when, command in self._later if command.sid != sid]

    def due(self, now_us: int) -> list[Command]:
        """Commands whose time has come to be sent."""
        ready = [command for when, command in self._later if when <= now_us]
        self._later = [(when, command) for when, command in self._later if when > now_us]
        return ready

    def expired(self, now_us: int) -> list[Command]:
        """Commands that nobody answered in time; they wait no longer."""
        late = []
        for number, one in list(self._pending.items()):
            if one.since_us is None:
                one.since_us = now_us
            elif now_us - one.since_us >= DEADLINE_US:
                late.append(one.command)
                del self._pending[number]
        return late


def wait_us(failures: int) -> int:
    """How long to wait after so many failures in a row: 1, 2, 4 … seconds, a minute at most."""
    return min((1 << (min(failures, 10) - 1)) * SECOND, LONGEST_WAIT_US)
