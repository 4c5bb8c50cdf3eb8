"""The markets of the order book channel: which are wanted, which were asked for, and how their books are asked for.

Kept out: whether there is a subscription to ask (session).
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace

from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.commands import Command, Outbox
from kalshi_platform.exchange.subscriptions import Channel

CHUNK = 500
"""Tickers in one command; batches of 500 were measured to be accepted (kalshi-protocol.md §3.8)."""

RESYNC_EVERY_US = SECOND
"""All books are asked for at most this often, however many holes there are."""

BOOK_DUE_US, BOOK_DUE_AGAIN_US = 10 * SECOND, 60 * SECOND
"""A market whose first book does not come is asked for so long after the last book that came, and again so often: the
exchange sends none for a market that it thinks we have (fact 8)."""


def chunks(tickers: Iterable[str]) -> Iterator[Sequence[str]]:
    """Tickers in their order, as many at once as one command may name."""
    ordered = list(tickers)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))


class Markets:
    """Markets of one connection.

    Args:
        tickers: Those that are wanted from the start, the most urgent first.
        outbox: Where commands go.

    Attributes:
        wanted: Markets that the connection is meant to follow, in the order in which they are asked for.
        requested: Those of them that the exchange was asked for on the subscription that lives or is awaited.
        bookless: Those of them whose book has not come since.
    """

    def __init__(self, tickers: Iterable[str], outbox: Outbox) -> None:
        self.wanted = dict.fromkeys(tickers)
        self.requested: set[str] = set()
        self.bookless: set[str] = set()
        self._book_due_us: int | None = None
        self._outbox = outbox
        self._resynced_us = -RESYNC_EVERY_US
        self.is_resync_due = False

    @property
    def missing(self) -> list[str]:
        """Wanted, and not asked for."""
        return [ticker for ticker in self.wanted if ticker not in self.requested]

    @property
    def unwanted(self) -> set[str]:
        """Asked for, and not wanted."""
        return self.requested - self.wanted.keys()

    def want(self, tickers: Iterable[str]) -> list[str]:
        """Want these too; returns those that are to be asked for."""
        more = dict.fromkeys(tickers)
        self.wanted.update(more)
        return [ticker for ticker in more if ticker not in self.requested]

    def are_whole(self, untrusted: Set[str]) -> bool:
        """Whether every wanted market was asked for, its book has come, and it is not among those."""
        return not self.bookless and not any(ticker in self.wanted for ticker in untrusted) and not self.missing

    def begin(self) -> tuple[str, ...]:
        """The markets that a new subscription names."""
        first = tuple(next(chunks(self.wanted), ()))
        self.requested = set(first)
        self.bookless = set(first)
        return first

    def add(self, sid: int, missing: Sequence[str]) -> None:
        """Ask for what is missing."""
        self._update(sid, "add_markets", missing)
        self.requested.update(missing)
        self.bookless.update(missing)

    def forget(self) -> None:
        """The subscription is gone, and with it all that was asked for."""
        self.requested.clear()
        self.bookless.clear()

    def book_came(self, sid: int, ticker: str) -> None:
        """A whole book came; where nobody wants it, a subscription that was given up had asked for it."""
        if ticker in self.bookless:
            self.bookless.discard(ticker)
            self._book_due_us = None
        if ticker not in self.wanted:
            self._update(sid, "delete_markets", [ticker])

    def ask_bookless(self, sid: int, now_us: int) -> None:
        """Ask for first books that ought to have come."""
        if not self.bookless:
            self._book_due_us = None
        elif self._book_due_us is None:
            self._book_due_us = now_us + BOOK_DUE_US
        elif now_us >= self._book_due_us:
            self._book_due_us = now_us + BOOK_DUE_AGAIN_US
            self.ask(sid, self.bookless)

    def leave(self, leaving: Iterable[str]) -> set[str]:
        """Want these no more; returns those that were wanted."""
        left = self.wanted.keys() & leaving
        for ticker in left:
            del self.wanted[ticker]
        return left

    def drop(self, sid: int, left: set[str]) -> None:
        """Take back what was asked for."""
        self._update(sid, "delete_markets", left & self.requested)
        self.requested -= left
        self.bookless -= left

    def ask_for_less(self, command: Command) -> None:
        """The exchange has no room for so many at once: halves find out how many it has room for."""
        half = len(command.tickers) // 2
        first, second = command.tickers[:half], command.tickers[half:]
        self._outbox.send(replace(command, tickers=first))
        if command.name == "subscribe":
            self.requested.difference_update(second)  # asked for again once there is a subscription
            self.bookless.difference_update(second)
        else:
            self._outbox.send(replace(command, tickers=second))

    def refuse(self, tickers: Iterable[str]) -> tuple[str, ...]:
        """The exchange will not have them; returns those that nobody follows now."""
        named = set(tickers)
        self.requested -= named
        self.bookless -= named
        return tuple(sorted(self.leave(named)))

    def ask(self, sid: int, tickers: Iterable[str]) -> None:
        """Ask for books, except those that have been asked for and may still come."""
        waiting = self._outbox.waiting()
        asked = {ticker for command in waiting if command.action == "get_snapshot" for ticker in command.tickers}
        named = [ticker for ticker in tickers if ticker in self.requested and ticker not in asked]
        self._update(sid, "get_snapshot", named)

    def resync(self, sid: int, now_us: int) -> None:
        """Ask for every book, but not at every hole of a torn stream: a flood of books tears it further."""
        self.is_resync_due = now_us < self._resynced_us + RESYNC_EVERY_US
        if not self.is_resync_due:
            self._resynced_us = now_us
            self._outbox.abandon("get_snapshot")  # what was asked before may itself have been lost
            self._update(sid, "get_snapshot", [ticker for ticker in self.wanted if ticker in self.requested])

    def _update(self, sid: int, action: str, tickers: Iterable[str]) -> None:
        for chunk in chunks(tickers):
            self._outbox.send(Command("update_subscription", Channel.ORDERBOOK, sid, action, tuple(chunk)))
