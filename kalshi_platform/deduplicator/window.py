"""What may be merged next, worked out from what a gatherer said: pure, so that a model can drive it.

The argument why nothing is skipped stands in docs/cursor.md. Kept out: asking, reading rows and writing them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class Witness(NamedTuple):
    """A batch that was merged: a source that does not have it any more has lost what came after some moment before."""

    table: str
    xid: int
    written_us: int

    @classmethod
    def of(cls, text: str | None) -> "Witness | None":
        """A witness as a cursor keeps it."""
        if not text:
            return None
        table, xid, written_us = text.split()
        return cls(table, int(xid), int(written_us))

    def __str__(self) -> str:
        return f"{self.table} {self.xid} {self.written_us}"


class Batch(NamedTuple):
    """One flush of a gatherer, as its `ingest_batches` has it."""

    xid: int
    rows: int
    min_ts: datetime | None
    max_ts: datetime | None
    heard_until: datetime | None
    written_us: int


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gatherer's snapshot says of transactions.

    Attributes:
        xmin: Every transaction below has ended.
        xmax: No transaction at or above had begun.
        has_witness: Whether the cursor's witness is there; true where the cursor has none.
    """

    xmin: int
    xmax: int
    has_witness: bool

    @property
    def held_by(self) -> int | None:
        """The oldest transaction that still runs; None where none does."""
        return self.xmin if self.xmin < self.xmax else None

    def reaches(self, first_xid: int) -> bool:
        """Whether a cursor belongs to this source's past; else it was restored, and is read from its beginning."""
        return self.has_witness and first_xid <= self.xmax


@dataclass(frozen=True, slots=True)
class Window:
    """Finished transactions that can be merged: ids from `first_xid` up to, not including, `next_xid`.

    Attributes:
        rows: How many rows they wrote; None where the gatherer keeps no count for this table.
        heard_until: All that was heard up to this exchange time is in them or in earlier ones.
        witness: The batch that proves later that the source still is what it was.
        is_full: Whether more is waiting.
        held_by: The oldest transaction that still runs and holds back what is younger; None where none does.
    """

    first_xid: int
    next_xid: int
    rows: int | None
    min_ts: datetime | None
    max_ts: datetime | None
    heard_until: datetime | None
    witness: Witness | None
    is_full: bool
    held_by: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is finished that was not merged."""
        return self.next_xid == self.first_xid


def choose(
    gate: Gate, table: str, first_xid: int, batches: Sequence[Batch], most_rows: int, most_batches: int
) -> Window:
    """As many whole batches as hold about `most_rows` rows, at least one.

    Args:
        gate: The snapshot that the batches were seen in.
        table: Whose batches they are.
        first_xid: The cursor.
        batches: Finished ones from the cursor on, in the order of their ids, at most `most_batches`.
        most_rows: Bound of one merge.
        most_batches: How many were asked for.
    """
    taken, rows = 0, 0
    while taken < len(batches) and (taken == 0 or rows + batches[taken].rows <= most_rows):
        rows += batches[taken].rows
        taken += 1
    chosen = batches[:taken]
    last = chosen[-1] if chosen else None
    return Window(
        first_xid,
        # not xmin: behind the last batch ids may be given out anew after a restore, and the witness would not tell
        first_xid if last is None else last.xid + 1,
        rows,
        min((batch.min_ts for batch in chosen if batch.min_ts), default=None),
        max((batch.max_ts for batch in chosen if batch.max_ts), default=None),
        max((batch.heard_until for batch in chosen if batch.heard_until), default=None),
        None if last is None else Witness(table, last.xid, last.written_us),
        taken < len(batches) or taken == most_batches,
        gate.held_by,
    )
