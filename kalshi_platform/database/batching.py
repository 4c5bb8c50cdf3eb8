"""When rows become a batch: at so many of them, or so long after the first; and when callers must wait.

Kept out: what is done with a batch.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

WriterRow = tuple[object, ...]
"""A row in the order of the table's written columns."""

_LEAST_HIGH_MARK = 10_000


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When a batch is written: at so many rows, or so long after the first of them."""

    rows: int
    seconds: float

    @property
    def high_mark(self) -> int:
        """Rows in the queue at which callers must wait."""
        return max(self.rows * 20, _LEAST_HIGH_MARK)

    @property
    def low_mark(self) -> int:
        """Rows in the queue at which callers go on."""
        return self.high_mark // 2


POLICIES: Mapping[str, FlushPolicy] = {
    "trades": FlushPolicy(1000, 0.1),
    "orderbook_deltas": FlushPolicy(5000, 0.05),
    "orderbook_snapshots": FlushPolicy(100, 1.0),
    "tickers": FlushPolicy(1000, 0.1),
}
"""Batches of the source documents, the defaults of the settings."""

DEFAULT_POLICY = FlushPolicy(5000, 0.25)
"""For tables that have no setting: quiet ones, until a million markets begin at once."""


class RowQueue:
    """Rows that wait to be written."""

    def __init__(self, policy: FlushPolicy) -> None:
        self.policy = policy
        self._batch_rows, self._high_mark = policy.rows, policy.high_mark
        self._blocked_seconds = 0.0
        self._blocked_since = 0.0
        self._blocked: set[RowQueue] = set()
        self._rows: list[WriterRow] = []
        self._has_rows = asyncio.Event()
        self._is_full = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.is_closing = False

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def has_room(self) -> bool:
        """Whether callers may go on reading."""
        return self._has_room.is_set()

    @property
    def blocked_seconds(self) -> float:
        """For how long callers had to wait so far."""
        now = 0.0 if self._has_room.is_set() else time.monotonic() - self._blocked_since
        return self._blocked_seconds + now

    @property
    def is_done(self) -> bool:
        """Whether it is closed and empty."""
        return self.is_closing and not self._rows

    def report_to(self, blocked: "set[RowQueue]") -> None:
        """Be in this set, which others share, whenever there is no room; a look at it answers for all."""
        self._blocked = blocked

    def add(self, row: WriterRow) -> None:
        """Take one row; never refuses."""
        self._rows.append(row)
        waiting = len(self._rows)
        if waiting == 1 or waiting == self._batch_rows or waiting >= self._high_mark:
            self._wake(waiting)

    def add_all(self, rows: Sequence[WriterRow]) -> None:
        """Take rows; never refuses."""
        self._rows += rows
        self._wake(len(self._rows))

    def _wake(self, waiting: int) -> None:
        """Tell whoever should know of so many rows."""
        if waiting:
            self._has_rows.set()
        if waiting >= self._batch_rows:
            self._is_full.set()
        if waiting >= self._high_mark and self._has_room.is_set():
            self._has_room.clear()
            self._blocked.add(self)
            self._blocked_since = time.monotonic()

    async def room(self) -> None:
        """Wait while the queue is above its marks."""
        await self._has_room.wait()

    def close(self) -> None:
        """Let `batch_due` return at once from now on."""
        self.is_closing = True
        self._has_rows.set()
        self._is_full.set()

    async def batch_due(self, at_least_every: float) -> None:
        """Wait for a full batch, for the first row's patience to end, or for so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_rows.wait(), at_least_every)
            await asyncio.wait_for(self._is_full.wait(), self.policy.seconds)

    def cut(self) -> tuple[Sequence[WriterRow], bool]:
        """The next batch, and whether it is all that was waiting."""
        rows = self.policy.rows
        batch, self._rows = self._rows[:rows], self._rows[rows:]
        if not self._rows and not self.is_closing:
            self._has_rows.clear()
        if len(self._rows) < rows and not self.is_closing:
            self._is_full.clear()
        if len(self._rows) <= self.policy.low_mark and not self._has_room.is_set():
            self._has_room.set()
            self._blocked.discard(self)
            self._blocked_seconds += time.monotonic() - self._blocked_since
        return batch, not self._rows
