"""Walks over lists that come in pages: row by row, with progress, and resumable from where they broke off.

Knows what a page is and nothing of what stands on it. Memory holds one page.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from kalshi_platform.core.errors import ExchangeUnavailable

T = TypeVar("T")


class CursorRepeated(ExchangeUnavailable):
    """The exchange led a walk in a circle; what was walked so far may not be all."""


class Page(NamedTuple, Generic[T]):
    """Some rows, and where the next page begins; None after the last."""

    rows: list[T]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a walk has come; `cursor` is where a new walk would go on."""

    rows: int
    pages: int
    seconds: float
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Walk:
    """How to walk: from where, in pages of which size, telling whom."""

    cursor: str | None = None
    limit: int | None = None
    on_progress: Callable[[Progress], None] | None = None


Fetch = Callable[[str | None], Awaitable[Page[T]]]
"""Fetches the page at a cursor; repeats every filter, which a cursor does not carry (kalshi-protocol.md §2.1)."""


class Pages(Generic[T]):
    """One walk: iterate over its rows, or over `pages()`; when it fails, `cursor` is where to go on.

    A page counts as walked once its last row was asked past, so whoever goes on after stopping inside a page sees that
    page's rows again, and none is missed.
    """

    def __init__(self, fetch: Fetch[T], walk: Walk) -> None:
        self._fetch = fetch
        self._walk = walk
        self._landmark: str | None = None
        self._next_landmark = 1
        self.cursor = walk.cursor

    async def __aiter__(self) -> AsyncIterator[T]:
        async for rows in self.pages():
            for row in rows:
                yield row

    async def pages(self) -> AsyncIterator[list[T]]:
        """The rows, page by page.

        Raises:
            CursorRepeated: The exchange leads in a circle.
        """
        started, rows, pages = time.monotonic(), 0, 0
        while True:
            page = await self._fetch(self.cursor)
            rows, pages = rows + len(page.rows), pages + 1
            self._check(page.cursor, pages)
            yield page.rows
            self.cursor = page.cursor
            if self._walk.on_progress:
                self._walk.on_progress(Progress(rows, pages, time.monotonic() - started, self.cursor))
            if not self.cursor:
                return

    def _check(self, following: str | None, pages: int) -> None:
        """Find a circle of any length with two cursors in memory: the last one, and a landmark at powers of two."""
        if following and following in (self.cursor, self._landmark):
            raise CursorRepeated(f"page {pages} leads back to a page that was walked already")
        if pages == self._next_landmark:
            self._landmark, self._next_landmark = following, 2 * pages


class PatientPages(Generic[T]):
    """A walk that outlives outages: where it breaks off it goes on from its cursor, after a wait.

    Each page that comes renews the patience. Rows that were handed out are not handed out again.

    Args:
        begin: Begins a walk; repeats every filter.
        walk: From where, telling whom; progress is that of the whole walk.
        waits: Makes the seconds to wait, outage by outage; when they end the last error is raised.
        on_trouble: Told of each error and the wait that follows.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        begin: Callable[[Walk], Pages[T]],
        walk: Walk,
        waits: Callable[[], Iterator[float]],
        on_trouble: Callable[[ExchangeUnavailable, float], None] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._begin = begin
        self._walk = walk
        self._waits = waits
        self._on_trouble = on_trouble
        self._sleep = sleep
        self._done = Progress(0, 0, 0.0, walk.cursor)
        self._started = time.monotonic()

    async def pages(self) -> AsyncIterator[list[T]]:
        """The rows, page by page.

        Raises:
            ExchangeUnavailable: Patience ran out.
            CursorRepeated: The exchange leads in a circle.
        """
        waits = self._waits()
        while True:
            part = self._part()
            try:
                async for rows in part.pages():
                    yield rows
                    waits = self._waits()
            except CursorRepeated:
                raise
            except ExchangeUnavailable as error:
                wait = next(waits, None)
                if wait is None:
                    raise
                if self._on_trouble:
                    self._on_trouble(error, wait)
            else:
                return
            await self._sleep(wait)

    def _part(self) -> Pages[T]:
        before = self._done

        def add(progress: Progress) -> None:
            rows, pages = before.rows + progress.rows, before.pages + progress.pages
            self._done = Progress(rows, pages, time.monotonic() - self._started, progress.cursor)
            if self._walk.on_progress:
                self._walk.on_progress(self._done)

        return self._begin(replace(self._walk, cursor=before.cursor, on_progress=add))
