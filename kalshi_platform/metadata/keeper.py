"""Storing what the exchange sent, page by page, and counting it.

Memory holds one page. Kept out: which pages.
"""

from collections.abc import AsyncIterable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg

from kalshi_platform.core.catalogue import EventFacts, MarketFacts
from kalshi_platform.database.metadata import Facts, upsert
from kalshi_platform.metadata.report import MetadataReport, Mode, OnStep, Step

T = TypeVar("T")


class Keeper:
    """Stores rows for one sync and keeps its report.

    Args:
        connection: To production, as a member of `kalshi_catalogue`.
        report: Counts what is stored.
        on_step: Told of each page.
        now: The clock.

    Attributes:
        events: Events of the markets that came, in an incremental sync.
        series: Series of the events that came, in an incremental sync.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        report: MetadataReport,
        on_step: OnStep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.connection = connection
        self.report = report
        self.now = now
        self.events: set[str] = set()
        self.series: set[str] = set()
        self._on_step = on_step

    async def keep_pages(
        self, what: str, pages: AsyncIterable[list[T]], facts: Callable[[T, datetime], Facts], total: int | None = None
    ) -> int:
        """Store every row of a walk, each seen at the moment before its page was asked for; returns how many came."""
        rows, asked_at = 0, self.now()
        async for page in pages:
            await self.keep([facts(one, asked_at) for one in page])
            rows += len(page)
            self._on_step(Step(what, rows, total))
            asked_at = self.now()
        return rows

    async def keep(self, facts: Sequence[Facts]) -> None:
        """Store rows that came already."""
        if self.report.mode is Mode.INCREMENTAL:  # a full one would hold the names of all
            self.events |= {one.event_ticker for one in facts if isinstance(one, MarketFacts)}
            self.series |= {one.series_ticker for one in facts if isinstance(one, EventFacts)}
        stored = await upsert(self.connection, facts) if facts else None
        self.report.seen += len(facts)
        if stored:
            self.report.stored += stored.changed
            self.report.new += stored.new
            self.report.statuses += stored.statuses

    def tell(self, what: str, rows: int, total: int | None = None) -> None:
        """Say how far a step has come that is no walk."""
        self._on_step(Step(what, rows, total))
