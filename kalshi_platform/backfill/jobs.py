"""A job and its chunks as rows of production: made, moved with the trades they brought, found again after a kill.

Everything goes over one connection, one transaction after the other; a lock of the session lets nobody else run the
same job meanwhile. Kept out: what is fetched, and in which order.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from kalshi_platform.backfill.report import Gap
from kalshi_platform.backfill.request import BackfillRequest
from kalshi_platform.backfill.trades import Inserted, TradeInserter
from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.records import TradeRow
from kalshi_platform.core.schema import Home
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.errors import DatabaseUnreachableError
from kalshi_platform.database.migrations import check_revision

_LOCK = "SELECT pg_advisory_lock(hashtext('kalshi_backfill'), hashtext($1))"
_LOCK_PATIENCE = "SET lock_timeout = '10s'"  # the session of one that was just killed ends within this
_JOB = """
INSERT INTO backfill_jobs (job_id, request) VALUES ($1, $2)
ON CONFLICT (job_id) DO UPDATE SET finished_at = NULL RETURNING planned_until
"""
_PLAN = """
INSERT INTO backfill_chunks (job_id, ticker, start_at, end_at, left_until, attempts, inserted, known, conflicts)
SELECT $1, ticker, start_at, end_at, end_at, 1, 0, 0, 0
FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) AS one (ticker, start_at, end_at) ON CONFLICT DO NOTHING
"""
_PLANNED = "UPDATE backfill_jobs SET planned_until = $2 WHERE job_id = $1"
_FINISHED = """
UPDATE backfill_jobs SET finished_at = now() WHERE job_id = $1 AND NOT EXISTS (
    SELECT FROM backfill_chunks AS one WHERE one.job_id = $1 AND left_until > start_at
)
"""
_QUEUED = """
SELECT ticker, start_at, end_at, left_until FROM backfill_chunks WHERE job_id = $1 AND left_until > start_at
ORDER BY start_at, ticker LIMIT $2
"""
_COUNT = "SELECT count(*) FROM backfill_chunks WHERE job_id = $1 AND left_until > start_at"
_MOVE = """
UPDATE backfill_chunks SET left_until = $4, inserted = inserted + $5, known = known + $6, conflicts = conflicts + $7,
    first_at = least(first_at, $8), last_at = greatest(last_at, $9), updated_at = now()
WHERE job_id = $1 AND ticker = $2 AND start_at = $3
"""
_KEEP_NEWEST = """
UPDATE backfill_chunks SET start_at = $4, updated_at = now() WHERE job_id = $1 AND ticker = $2 AND start_at = $3
"""
_QUEUE_AGAIN = """
INSERT INTO backfill_chunks AS old
    (job_id, ticker, start_at, end_at, left_until, attempts, inserted, known, conflicts, expected, found)
SELECT $1, ticker, start_at, end_at, end_at, 1, 0, 0, 0, expected, found
FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[])
     AS one (ticker, start_at, end_at, expected, found)
ON CONFLICT (job_id, ticker, start_at) DO UPDATE SET left_until = excluded.left_until,
    end_at = greatest(old.end_at, excluded.end_at), attempts = old.attempts + 1,
    expected = excluded.expected, found = excluded.found, updated_at = now()
"""
_NO_GAPS = "UPDATE backfill_chunks SET expected = NULL, found = NULL WHERE job_id = $1 AND expected IS NOT NULL"
_SPANS = """
SELECT ticker, min(start_at) AS start_at, max(end_at) AS end_at FROM backfill_chunks
WHERE job_id = $1 AND ticker > $2 GROUP BY ticker ORDER BY ticker LIMIT $3
"""
_TOTALS = """
SELECT count(DISTINCT nullif(ticker, '')) AS markets, count(*) AS chunks,
       coalesce(sum(inserted), 0)::bigint AS inserted, coalesce(sum(known), 0)::bigint AS known,
       coalesce(sum(conflicts), 0)::bigint AS conflicts, min(first_at) AS first_at, max(last_at) AS last_at
FROM backfill_chunks WHERE job_id = $1
"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A market's stretch of time; what is left of it lies between its start and `left_until`.

    Attributes:
        ticker: The market; empty for every market.
        start: First second.
        end: Second behind the last.
        left_until: All of it from here on is fetched.
    """

    ticker: str
    start: datetime
    end: datetime
    left_until: datetime

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self.left_until <= self.start


class JobStore:
    """One job's rows; see `open_job`."""

    def __init__(
        self, production: asyncpg.Connection, request: BackfillRequest, planned_until: datetime | None
    ) -> None:
        self.planned_until = planned_until
        """The chunks up to here are there; None while none is."""
        self._production = production
        self._id = request.job_id
        self._turn = asyncio.Lock()  # one connection does one thing at a time
        self._inserter = TradeInserter()

    async def plan(self, pieces: Sequence[tuple[str, datetime, datetime]]) -> None:
        """Add chunks: ticker, start, end; those that are there already stay as they are."""
        if pieces:
            await self._execute(_PLAN, *(list(column) for column in zip(*pieces, strict=True)))

    async def planned(self, until: datetime) -> None:
        """All chunks up to here are there."""
        await self._execute(_PLANNED, until)
        self.planned_until = until

    async def queued(self, most: int) -> list[Chunk]:
        """Some of the chunks of which something is left, the earliest first."""
        async with self._turn:
            return [Chunk(*record) for record in await self._production.fetch(_QUEUED, self._id, most)]

    async def count_queued(self) -> int:
        """How many these are in all."""
        async with self._turn:
            count: int = await self._production.fetchval(_COUNT, self._id)
            return count

    async def store(self, chunk: Chunk, rows: Sequence[TradeRow], left_until: datetime) -> tuple[Chunk, Inserted]:
        """Insert trades and note how far the chunk is, in one transaction."""
        times = [row.exchange_ts for row in rows]
        first, last = (datetime_from_us(min(times)), datetime_from_us(max(times))) if times else (None, None)
        async with self._turn:
            await self._inserter.make_room(self._production, rows)
            async with self._production.transaction():
                done = await self._inserter.insert(self._production, rows)
                moved = (left_until, done.new, done.known, done.conflicts, first, last)
                await self._production.execute(_MOVE, self._id, chunk.ticker, chunk.start, *moved)
        return replace(chunk, left_until=left_until), done

    async def split(self, chunk: Chunk, cuts: Sequence[datetime]) -> list[Chunk]:
        """Cut what is left of a chunk at rising seconds; returns the pieces, the newest first."""
        edges = [chunk.start, *cuts]
        older = [(chunk.ticker, start, end) for start, end in zip(edges, cuts, strict=False)]
        async with self._turn, self._production.transaction():
            await self._production.execute(_KEEP_NEWEST, self._id, chunk.ticker, chunk.start, cuts[-1])
            await self._production.execute(_PLAN, self._id, *(list(column) for column in zip(*older, strict=True)))
        newest = replace(chunk, start=cuts[-1])
        return [newest, *(Chunk(ticker, start, end, end) for ticker, start, end in reversed(older))]

    async def queue_again(self, gaps: Sequence[tuple[Gap, datetime, datetime]]) -> None:
        """Queue days of which something is missing, and no others: the gap, and the job's stretch of its day."""
        columns = [
            [gap.ticker for gap, _, _ in gaps],
            [start for _, start, _ in gaps],
            [end for _, _, end in gaps],
            [gap.expected for gap, _, _ in gaps],
            [gap.found for gap, _, _ in gaps],
        ]
        async with self._turn, self._production.transaction():
            await self._production.execute(_NO_GAPS, self._id)
            await self._production.execute(_QUEUE_AGAIN, self._id, *columns)

    async def spans(self, after: str, most: int) -> list[tuple[str, datetime, datetime]]:
        """Markets of the job in order of their tickers, each with the stretch of time that its chunks cover."""
        async with self._turn:
            return [tuple(one) for one in await self._production.fetch(_SPANS, self._id, after, most)]

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Ask production anything, when it is the caller's turn."""
        async with self._turn:
            return list(await self._production.fetch(query, *arguments))

    async def finish(self, *, is_over: bool) -> asyncpg.Record:
        """Note the end where nothing is left of a range that is over; returns the job's totals."""
        if is_over:
            await self._execute(_FINISHED)
        (totals,) = await self.fetch(_TOTALS, self._id)
        return totals

    async def _execute(self, statement: str, *arguments: Any) -> None:
        async with self._turn:
            await self._production.execute(statement, self._id, *arguments)


@asynccontextmanager
async def open_job(database_url: str, request: BackfillRequest) -> AsyncIterator[JobStore]:
    """The job of a request, begun or found again, for as long as the block lasts.

    Raises:
        ConfigurationError: The database is none of ours, or the same job is running already.
        DatabaseUnreachableError: The database fails meanwhile; the same request goes on.
    """
    await check_revision(database_url, Home.PRODUCTION)
    settings = {"application_name": "kalshi-platform backfill"}
    try:
        production = await asyncpg.connect(database_url, server_settings=settings)
        try:
            await production.execute(_LOCK_PATIENCE)
            await production.execute(_LOCK, request.job_id)
            described = msgspec.json.encode(request.described()).decode()
            planned_until = await production.fetchval(_JOB, request.job_id, described)
            yield JobStore(production, request, planned_until)
        finally:
            await production.close(timeout=5)
    except asyncpg.LockNotAvailableError:
        raise ConfigurationError(f"backfill {request.job_id} is running already, in another process") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise DatabaseUnreachableError(f"production failed: {error}; the same backfill goes on where it was") from error
