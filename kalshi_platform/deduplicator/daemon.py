"""The deduplicator's process: its loops, its watermarks, its metrics and health.

Kept out: everything that can be tested without a process.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from random import Random
from typing import Any

import structlog

from kalshi_platform.core.schema import STREAM_TABLES, Home
from kalshi_platform.database.migrations import check_revision
from kalshi_platform.database.upkeep import keep_up
from kalshi_platform.deduplicator.sync import SyncLoop
from kalshi_platform.deduplicator.watermark import watermark
from kalshi_platform.service.http import serve_status
from kalshi_platform.service.metrics import DeduplicatorMetrics
from kalshi_platform.service.retry import backoff
from kalshi_platform.service.settings import Settings

_LONGEST_RETRY_SECONDS = 5.0
_SLOW_TABLES = {"orderbook_snapshots": 10}
"""Tables that are asked less often: how many pauses of the others make one of theirs (design §4: 1 s, not 100 ms)."""

_log = structlog.get_logger()


class Deduplicator:
    """All loops of one deduplicator.

    Raises:
        ConfigurationError: Where a needed setting is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = DeduplicatorMetrics()
        self._production_url = settings.required("production_database_url")
        pause = settings.sync_interval_ms / 1000
        self.loops = [
            SyncLoop(
                gatherer_id,
                url,
                self._production_url,
                table,
                pause * _SLOW_TABLES.get(table.name, 1),
                self.metrics,
                _retry_waits,
                time.time,
            )
            for gatherer_id, url in settings.gatherer_urls().items()
            for table in STREAM_TABLES
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Merge until `stop` is set."""
        await check_revision(self._production_url, Home.PRODUCTION)
        with serve_status(
            self._settings.metrics_host, self._settings.metrics_port, self.metrics.registry, self.health
        ) as port:
            _log.info("deduplicating", gatherers=sorted({one.gatherer_id for one in self.loops}), metrics_port=port)
            async with asyncio.TaskGroup() as tasks:
                for loop in self.loops:
                    tasks.create_task(loop.run(stop))
                tasks.create_task(self._publish_watermarks(stop))
                tasks.create_task(keep_up(self._production_url, Home.PRODUCTION, stop, _today))
        _log.info("stopped")

    def health(self) -> Mapping[str, Any]:
        """Each loop's state; healthy while each table is merged from somebody."""
        merged = {loop.table.name for loop in self.loops if loop.state.connected}
        return {
            "healthy": merged == {loop.table.name for loop in self.loops},
            "gatherers": {
                f"{loop.gatherer_id}/{loop.table.name}": {
                    "connected": loop.state.connected,
                    "watermark": loop.state.watermark,
                    "last_error": loop.state.last_error,
                }
                for loop in self.loops
            },
        }

    async def _publish_watermarks(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            for table in STREAM_TABLES:
                states = [loop.state for loop in self.loops if loop.table is table]
                mark = watermark(states, time.time(), self._settings.silence_seconds)
                if mark is not None:
                    self.metrics.watermark.labels(table.name).set(mark.timestamp())
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)


def _today() -> date:
    return datetime.now(UTC).date()


def _retry_waits() -> Iterator[float]:
    return backoff(Random(), longest=_LONGEST_RETRY_SECONDS)  # noqa: S311 - spreads retries, guards nothing
