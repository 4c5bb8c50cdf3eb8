"""A run of a job: plan what is not planned, fetch what is left, compare, fetch again what is missing.

Workers fetch side by side; how fast they may is the REST client's token bucket's business. What a worker brings is
committed together with how far its chunk is, so a kill at any moment costs no more than some calls. Kept out: rows and
chunks in production (jobs), and what is compared (check).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from kalshi_platform.backfill.check import Verdict, check
from kalshi_platform.backfill.jobs import Chunk, JobStore, open_job
from kalshi_platform.backfill.plan import plan
from kalshi_platform.backfill.report import BackfillReport, Progress
from kalshi_platform.backfill.request import BackfillRequest
from kalshi_platform.backfill.walk import ChunkWalk
from kalshi_platform.core.errors import ExchangeUnavailable
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.errors import UnexpectedAnswer
from kalshi_platform.exchange.rest.range import unix_seconds
from kalshi_platform.service.lifecycle import leaves

SETTLE_SECONDS = 20
"""What the exchange made so lately is left for the next run: anonymous answers are up to 15 s old."""

WORKERS = 16
"""Requests under way at once: what the higher tiers need to spend their budget at 100 ms an answer."""

LONGEST_WAIT = 60.0
_MOST_FAILURES = 10
_ROUNDS = 2
_CHUNKS_AT_ONCE = 5000
_CUTOFF_SECONDS = 60.0

_log = structlog.get_logger()

Done = TypeVar("Done")


async def run_backfill(
    rest: RestClient,
    database_url: str,
    request: BackfillRequest,
    progress: Callable[[Progress], None] | None = None,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    now: Callable[[], float] = time.time,
) -> BackfillReport:
    """Fetch a request's trades into production; the same request goes on where the last run of it ended.

    Args:
        rest: The exchange; requests are paid for from its bucket.
        database_url: Production.
        request: Which markets, from when until when.
        progress: Told how far the run is, after each commit.
        sleep: Waits so many seconds, while the exchange fails.
        now: Unix seconds.

    Raises:
        ConfigurationError: No such ticker or series, no such database, or the same job runs elsewhere.
        ExchangeUnavailable: The exchange failed for more than some minutes; the same request goes on.
        ExchangeRefused: It will not answer.
        DatabaseUnreachableError: Production failed; the same request goes on.
    """
    async with open_job(database_url, request) as jobs:
        return await _Run(rest, jobs, request, progress or (lambda _: None), sleep, now).run()


class _Run:
    """One run of one job."""

    def __init__(
        self,
        rest: RestClient,
        jobs: JobStore,
        request: BackfillRequest,
        progress: Callable[[Progress], None],
        sleep: Callable[[float], Awaitable[object]],
        now: Callable[[], float],
    ) -> None:
        self._rest = rest
        self._jobs = jobs
        self._request = request
        self._progress = progress
        self._sleep = sleep
        self._now = now
        self._started = time.monotonic()
        self._stage, self._done, self._total = "planning", 0, 0
        self._trades = self._inserted = self._rejected = self._moves = 0
        self._cutoff: tuple[float, float] | None = None
        self._queue: asyncio.Queue[Chunk] = asyncio.Queue()
        self._waiting = 0

    async def run(self) -> BackfillReport:
        until = min(self._request.end, datetime.fromtimestamp(int(self._now()) - SETTLE_SECONDS, UTC))
        verdict = Verdict()
        if until <= self._request.start:  # nothing of it is past yet
            return await self._report(verdict, until)
        await self._patiently(lambda: self._plan(until))
        for attempt in range(_ROUNDS):
            await self._fetch()
            verdict = await self._patiently(lambda: self._check(until))
            await self._jobs.queue_again(verdict.gaps)
            if not verdict.gaps:
                break
            _log.warning("days are incomplete", days=len(verdict.gaps), again=attempt + 1 < _ROUNDS)
        return await self._report(verdict, until)

    async def _plan(self, until: datetime) -> None:
        start = self._jobs.planned_until or self._request.start
        if start >= until:
            return
        self._begin("planning", 0)
        async for markets, pieces in plan(self._rest, self._request, start, until):
            await self._jobs.plan(pieces)
            self._show_done(self._done + markets)
        await self._jobs.planned(until)

    async def _check(self, until: datetime) -> Verdict:
        self._begin("checking", 0)
        return await check(self._rest, self._jobs, self._request, self._request.start, until, self._show_done)

    async def _fetch(self) -> None:
        self._begin("fetching", await self._jobs.count_queued())
        try:
            while chunks := await self._jobs.queued(_CHUNKS_AT_ONCE):
                for chunk in chunks:
                    self._queue.put_nowait(chunk)
                async with asyncio.TaskGroup() as tasks:
                    workers = [tasks.create_task(self._work()) for _ in range(WORKERS)]
                    await self._queue.join()
                    for worker in workers:
                        worker.cancel()
        except ExceptionGroup as group:
            raise leaves(group)[0] from group

    async def _work(self) -> None:
        while True:
            self._waiting += 1
            try:
                chunk = await self._queue.get()
            finally:
                self._waiting -= 1
            await self._walk(chunk)
            self._queue.task_done()
            self._done += 1
            self._show()

    def _idle(self) -> int:
        """Workers that have nothing to do, and for whom nothing waits."""
        return max(0, self._waiting - self._queue.qsize())

    async def _walk(self, chunk: Chunk) -> None:
        """Walk a chunk to its end; what is cut off goes into the queue."""

        async def go_on() -> None:
            nonlocal chunk
            while not chunk.is_done:
                walk = ChunkWalk(self._rest, self._jobs, chunk, self._count, self._idle)
                try:
                    async with aclosing(walk.pieces(await self._recent_cutoff())) as pieces:
                        async for piece in pieces:
                            self._total += 1
                            self._queue.put_nowait(piece)
                finally:
                    self._rejected += walk.rejected
                    chunk = walk.chunk

        await self._patiently(go_on)

    async def _patiently(self, work: Callable[[], Awaitable[Done]]) -> Done:
        """Do something, and do it again while the exchange fails; waits grow until anything moves.

        Raises:
            ExchangeUnavailable: Nothing moved for some minutes.
        """
        failures = 0
        while True:
            moves = self._moves
            try:
                return await work()
            except UnexpectedAnswer:
                raise
            except ExchangeUnavailable as error:
                failures = 1 if self._moves > moves else failures + 1
                if failures > _MOST_FAILURES:
                    raise
                wait = min(LONGEST_WAIT, 2.0 ** (failures - 1))
                self._show(f"{error}; asking again in {wait:.0f} s")
                await self._sleep(wait)

    async def _recent_cutoff(self) -> float:
        """Where live ends and history begins, as of a minute ago at the most."""
        if self._cutoff is None or time.monotonic() - self._cutoff[1] > _CUTOFF_SECONDS:
            cutoff = await self._rest.cutoff()
            self._cutoff = unix_seconds(cutoff.trades_created_ts), time.monotonic()
        return self._cutoff[0]

    async def _report(self, verdict: Verdict, until: datetime) -> BackfillReport:
        totals = await self._jobs.finish(is_over=until >= self._request.end)
        return BackfillReport(
            job_id=self._request.job_id,
            rejected=self._rejected,
            checked=verdict.checked,
            gaps=tuple(gap for gap, _, _ in verdict.gaps),
            unchecked=verdict.unchecked,
            surplus=verdict.surplus,
            fetched_until=until,
            seconds=time.monotonic() - self._started,
            **dict(totals),
        )

    def _begin(self, stage: str, total: int) -> None:
        self._stage, self._done, self._total = stage, 0, total
        self._show()

    def _count(self, trades: int, inserted: int) -> None:
        self._trades += trades
        self._inserted += inserted
        self._moves += 1
        self._show()

    def _show_done(self, done: int) -> None:
        self._done = done
        self._moves += 1
        self._show()

    def _show(self, trouble: str = "") -> None:
        seconds = time.monotonic() - self._started
        done, total = self._done, self._total
        self._progress(Progress(self._stage, done, total, self._trades, self._inserted, seconds, trouble))
