"""A second sink of a gatherer: takes every stream row besides PostgreSQL's writers, and never makes anybody wait.

Rows wait in a queue of bounded length while QuestDB is slow or away; beyond it the oldest are given up and counted.
PostgreSQL has them. A defect of ours here is told and counted, costs the rows it met, and ends nothing. Kept out:
PostgreSQL, and how rows are sent (`client`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

import structlog

from kalshi_platform.core.records import Row
from kalshi_platform.questdb.client import QuestClient, QuestRefused, QuestUnavailable
from kalshi_platform.questdb.tables import KINDS

_BATCH_ROWS = 5_000
_FLUSH_SECONDS = 1.0
_END_SECONDS = 10.0

_log = structlog.get_logger()

Tell = Callable[[str, int], None]
"""Told what became of how many rows: `sent`, `refused`, `dropped`, or `failed` by a defect of ours."""


class SecondSink(Protocol):
    """What a gatherer asks of a second sink."""

    def add(self, row: Row) -> None:
        """Take a row; returns at once and never raises."""

    async def run(self) -> None:
        """Work until closed."""

    def close(self) -> None:
        """Ask `run` to send what waits, once, and end."""


class QuestSink:
    """Sends to one QuestDB.

    Args:
        client: The server.
        most_rows: Rows that may wait.
        tell: Told of each outcome.
        retry_waits: Makes the waits between attempts, in seconds.
    """

    def __init__(
        self, client: QuestClient, most_rows: int, tell: Tell, retry_waits: Callable[[], Iterator[float]]
    ) -> None:
        self._client = client
        self._most_rows = most_rows
        self._tell = tell
        self._retry_waits = retry_waits
        self._rows: deque[Row] = deque()
        self._due = asyncio.Event()
        self._closed = asyncio.Event()

    def add(self, row: Row) -> None:
        """Take a row; others than the streams' are none of ours."""
        if type(row) not in KINDS:
            return
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._due.set()
        if len(self._rows) > self._most_rows:
            self._rows.popleft()
            self._tell("dropped", 1)

    def close(self) -> None:
        """Ask `run` to end."""
        self._closed.set()
        self._due.set()

    async def run(self) -> None:
        """Send until closed; what QuestDB does not take then is given up."""
        waits = self._retry_waits()
        try:
            while not self._closed.is_set() or self._rows:
                await self._wait(self._due, _FLUSH_SECONDS)
                self._due.clear()
                try:
                    await self._send_all()
                    waits = self._retry_waits()
                except Exception:  # whatever it was: nobody else would tell of it, and the gatherer goes on
                    _log.exception("the QuestDB sink failed, and begins anew", waiting=len(self._rows))
                    with suppress(Exception):  # the next batch tells, if it goes on
                        await asyncio.to_thread(self._client.reset)
                    await self._wait(self._closed, next(waits, _FLUSH_SECONDS))
        finally:
            await asyncio.to_thread(self._client.close)

    async def _send_all(self) -> None:
        while self._rows and await self._send():
            pass
        if self._closed.is_set() and self._rows:
            self._tell("dropped", len(self._rows))
            self._rows.clear()

    async def _send(self) -> bool:
        """One batch, until it is sent, refused, or we are closed; false where it was given up."""
        batch = [self._rows.popleft() for _ in range(min(_BATCH_ROWS, len(self._rows)))]
        for wait in self._retry_waits():
            try:
                await asyncio.to_thread(self._client.send, batch)
            except QuestRefused as error:
                _log.error("QuestDB refuses rows", rows=len(batch), error=str(error))
                self._tell("refused", len(batch))
                return True
            except QuestUnavailable as error:
                _log.warning("QuestDB does not take rows", waiting=len(self._rows) + len(batch), error=str(error))
            except Exception:
                self._tell("failed", len(batch))
                raise
            else:
                self._tell("sent", len(batch))
                return True
            if self._closed.is_set():
                break
            await self._wait(self._closed, wait)
        self._tell("dropped", len(batch))
        return False

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return


async def end_second(sink: SecondSink, running: asyncio.Task[None]) -> None:
    """Let a second sink send what waits; whatever becomes of it is said and harms nobody."""
    sink.close()
    done, _ = await asyncio.wait([running], timeout=_END_SECONDS)
    if not done:
        running.cancel()
        await asyncio.wait([running])
    if not running.cancelled() and running.exception() is not None:
        _log.error("the second sink failed", error=repr(running.exception()))
