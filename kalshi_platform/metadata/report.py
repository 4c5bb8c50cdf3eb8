"""What a sync of metadata did, in figures, and what it tells while it works.

Kept out: doing it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What is synced; the names are those of production's tables."""

    SERIES = "series"
    EVENTS = "events"
    MARKETS = "markets"


class Mode(StrEnum):
    """How much is asked for."""

    INCREMENTAL = "incremental"
    """What changed since the last sync, and what must have changed by the clock."""

    FULL = "full"
    """Everything that live lists show, and whatever is known and no list shows any more."""

    ARCHIVE = "archive"
    """The same and every market under /historical: once, when a database is new."""


@dataclass(slots=True)
class MetadataReport:
    """What one sync did.

    Attributes:
        kind: What was synced.
        mode: How; full where an incremental one was asked for and nobody knows since when.
        started_at: From which on a next incremental sync has to ask, by this machine's clock.
        seen: Rows that the exchange sent, the same one several times where several lists show it.
        stored: Rows that were newer than what production had.
        new: Among them, rows that production did not have.
        statuses: Changes of markets' statuses that were noted.
        orphans: Markets that trades name and production did not have.
        unknown: Those of them that the exchange does not know either, or not yet.
        seconds: How long it took.
    """

    kind: Kind
    mode: Mode
    started_at: datetime
    seen: int = 0
    stored: int = 0
    new: int = 0
    statuses: int = 0
    orphans: int = 0
    unknown: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """How far a sync has come.

    Attributes:
        what: The list that is walked, for a person to read.
        rows: Rows of it so far.
        total: Rows in all, where that is known.
    """

    what: str
    rows: int
    total: int | None = None


OnStep = Callable[[Step], None]
"""Told of each page that is stored; it may raise to cancel, which loses nothing that was stored."""
