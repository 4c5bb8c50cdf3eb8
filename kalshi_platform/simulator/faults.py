"""What is to go wrong on which connection at which message: written by hand, read from a file, or drawn by lot.

Only the plan is made here; `mishaps` carries it out. Nothing here is on the way of a message without faults.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

import msgspec

_USUAL_SECONDS = 2.0
_TEXT = re.compile(r"(?P<kind>[a-z_]+)@(?P<message>\d+)(?:=(?P<seconds>\d+(?:\.\d+)?))?(?:#(?P<connection>\d+))?")


class FaultKind(StrEnum):
    """What can go wrong."""

    DROP = "drop"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    CUT = "cut"
    CLOSE = "close"
    STALL = "stall"
    LATE = "late"
    OVERFLOW = "overflow"
    CHANNEL_ERROR = "channel_error"
    GARBAGE = "garbage"
    HALF = "half"
    TORN = "torn"
    WRONG_TYPES = "wrong_types"


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that goes wrong once on each connection it is meant for."""

    kind: FaultKind
    message: int = 1
    """At which published message of the connection, counted from 1 (answers to commands do not count)."""
    seconds: float = _USUAL_SECONDS
    """How long a stall or a late start lasts."""
    connection: int = 0
    """Which connection, counted from 1 since the start; 0 is every one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOptions:
    """Everything that goes wrong on purpose."""

    script: tuple[Fault, ...] = ()
    """Faults at fixed messages."""

    rate: float = 0.0
    """Faults per published message and connection, by lot."""

    kinds: tuple[FaultKind, ...] = (FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.CUT)
    """What the lot may fall on."""

    seed: int = 1
    """Fixes the lots."""

    seconds: float = _USUAL_SECONDS
    """How long a stall by lot lasts."""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: names the field and what it accepts.
        """
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate of faults must lie in 0..1, not {self.rate}")
        if self.rate and not self.kinds:
            raise ValueError("faults by lot need at least one kind")

    def __bool__(self) -> bool:
        return bool(self.script or self.rate)


def parse_fault(text: str) -> Fault:
    """Read `KIND@MESSAGE[=SECONDS][#CONNECTION]`.

    Raises:
        ValueError: it is not of this form.
    """
    found = _TEXT.fullmatch(text)
    if not found or found["kind"] not in set(FaultKind):
        kinds = ", ".join(FaultKind)
        raise ValueError(f"a fault is KIND@MESSAGE[=SECONDS][#CONNECTION], with a kind of {kinds}; not {text!r}")
    seconds = float(found["seconds"] or _USUAL_SECONDS)
    return Fault(FaultKind(found["kind"]), int(found["message"]), seconds, int(found["connection"] or 0))


def read_script(path: Path) -> tuple[Fault, ...]:
    """Read a JSON array of faults.

    Raises:
        ValueError: the file is not that, or cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Fault, ...])
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path} is not a script of faults: {error}") from error


@dataclass(slots=True)
class FaultPlan:
    """What goes wrong on one connection."""

    options: FaultOptions
    connection: int
    _random: Random = field(init=False)
    _scripted: Mapping[int, Fault] = field(init=False)
    _count: int = 0

    def __post_init__(self) -> None:
        """Look up what is meant for this connection."""
        self._random = Random(f"{self.options.seed}:{self.connection}")  # noqa: S311 - repeatable faults
        mine = [one for one in self.options.script if one.connection in (0, self.connection)]
        self._scripted = {one.message: one for one in mine if one.kind is not FaultKind.LATE}

    def late_seconds(self) -> float:
        """How long nothing at all is said in the beginning."""
        return sum(one.seconds for one in self._late())

    def _late(self) -> Iterator[Fault]:
        for one in self.options.script:
            if one.kind is FaultKind.LATE and one.connection in (0, self.connection):
                yield one

    def next(self) -> Fault | None:
        """Count one published message, and say what goes wrong with it."""
        self._count += 1
        fault = self._scripted.get(self._count)
        if fault is None and self.options.rate and self._random.random() < self.options.rate:
            kind = self.options.kinds[int(self._random.random() * len(self.options.kinds))]
            fault = Fault(kind, self._count, self.options.seconds, self.connection)
        return fault
