"""What the ledger is told besides messages: who came, subscribed and went, and what each of them missed.

Plain facts; `ledger` writes them, `holes` and the hub make them.
"""

from typing import NamedTuple


class Handed(NamedTuple):
    """To whom one message was handed."""

    recipients: int
    sent_ms: int
    """When it was queued for the network, as its `sending_ts_ms` says."""
    to: str
    """Each recipient as `[connection, sid, seq]`, in JSON; empty where nobody keeps an account."""


class Connected(NamedTuple):
    """A client came; connections count from 1 since the start."""

    connection: int
    key_id: str
    peer: str
    """Address and port of the client, by which it can find out which of its connections this is."""


class Disconnected(NamedTuple):
    """A client went, or was cut off."""

    connection: int


class Subscribed(NamedTuple):
    """A subscription began."""

    connection: int
    sid: int
    channel: str


class Ended(NamedTuple):
    """A subscription ended, its connection's end included; `seq` is the last number that it used."""

    connection: int
    sid: int
    channel: str
    seq: int


class Gap(NamedTuple):
    """A hole that its client could see: numbers from `expected_seq` to before `seen_seq` did not come in their turn."""

    connection: int
    sid: int
    channel: str
    expected_seq: int
    seen_seq: int
    faults: tuple[str, ...]
    """What made it; `reorder` alone means that the missing message came right after."""
    missed: tuple[str, ...]
    """Whose messages are missing."""
