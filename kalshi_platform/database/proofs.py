"""Proofs that a window of a table is in the lake, kept in production beside the rows that they speak of.

Here belongs what stands in `lake_proofs`. Kept out: looking at files (the lake's room), and dropping rows
(`retention`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from kalshi_platform.core.schema import Table

_HOUR = timedelta(hours=1)
_KNOWN = """
SELECT window_start, window_end, row_count, sha256, path, checked_at, dropped_at FROM lake_proofs
WHERE table_name = $1 AND window_start < $3 AND window_end > $2 ORDER BY window_start
"""
_RECORD = """
INSERT INTO lake_proofs (table_name, window_start, window_end, row_count, sha256, path, checked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (table_name, window_start) DO UPDATE SET window_end = excluded.window_end,
    row_count = excluded.row_count, sha256 = excluded.sha256, path = excluded.path, checked_at = excluded.checked_at
WHERE lake_proofs.dropped_at IS NULL
"""
_DROPPED = """
UPDATE lake_proofs SET dropped_at = now()
WHERE table_name = $1 AND window_start >= $2 AND window_end <= $3 AND dropped_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """One file that held exactly the rows of a window.

    Attributes:
        checked_at: When the comparison began, by production's clock; what was written later may be another file.
        dropped_at: When production dropped those rows; None while it has them.
    """

    window_start: datetime
    window_end: datetime
    row_count: int
    sha256: str
    path: str
    checked_at: datetime
    dropped_at: datetime | None = None

    def covers(self, hour: datetime) -> bool:
        """Whether its window holds the whole hour that begins then."""
        return self.window_start <= hour and hour + _HOUR <= self.window_end


async def proofs_between(connection: asyncpg.Connection, table: Table, start: datetime, end: datetime) -> list[Proof]:
    """The proofs of a table that touch start <= time < end, earliest first."""
    return [Proof(*record) for record in await connection.fetch(_KNOWN, table.name, start, end)]


async def record_proof(connection: asyncpg.Connection, table: Table, proof: Proof) -> bool:
    """Note that a file was compared with the table and agreed; false where the rows are dropped already.

    Production has nothing to compare with then, so the proof of that time stands for ever.
    """
    fields = (proof.window_start, proof.window_end, proof.row_count, proof.sha256, proof.path, proof.checked_at)
    status = await connection.execute(_RECORD, table.name, *fields)
    return status != "INSERT 0 0"


async def note_dropped(connection: asyncpg.Connection, table: Table, start: datetime, end: datetime) -> None:
    """Note, within the caller's transaction, that production drops the rows of a window."""
    await connection.execute(_DROPPED, table.name, start, end)


def unproven_hours(
    proofs: Sequence[Proof], counts: Mapping[datetime, int], start: datetime, end: datetime
) -> list[datetime]:
    """The hours with rows that no proof covers exactly.

    A proof counts only where its whole window lies in start <= time < end, of which the rows are known, and holds as
    many rows.

    Args:
        proofs: What is proven.
        counts: Rows of each hour, by its start, as counted now.
        start: Start of what was counted.
        end: End of what was counted.
    """
    exact = [
        proof
        for proof in proofs
        if start <= proof.window_start
        and proof.window_end <= end
        and proof.row_count == sum(rows for hour, rows in counts.items() if proof.covers(hour))
    ]
    return [hour for hour, rows in counts.items() if rows and not any(proof.covers(hour) for proof in exact)]
