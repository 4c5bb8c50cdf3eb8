"""The deduplicator's process: its loops, its watermarks, its metrics and health.

Kept out: everything that can be tested without a process.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from random import Random
from typing import Any

import asyncpg
import structlog

from kalshi_platform.core.schema import CAPTURE_TABLES, STREAM_TABLES, Home, Table
from kalshi_platform.database.migrations import check_revision
from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.database.progress import merged_until
from kalshi_platform.database.upkeep import keep_up
from kalshi_platform.deduplicator.coverage import CHANNEL_TABLES, cover_hour, next_hour, uncovered_markets
from kalshi_platform.deduplicator.cursors import expect
from kalshi_platform.deduplicator.shards import Shard
from kalshi_platform.deduplicator.standby import NOTICES_CLOSED_CLIENTS, NOTICES_DEAD_CLIENTS, Lead, Role
from kalshi_platform.deduplicator.status import Status
from kalshi_platform.deduplicator.sync import Pace, SyncLoop
from kalshi_platform.service.http import serve_status
from kalshi_platform.service.lifecycle import pause
from kalshi_platform.service.metrics import DeduplicatorMetrics
from kalshi_platform.service.retry import backoff
from kalshi_platform.service.settings import Settings

_LONGEST_RETRY_SECONDS = 5.0
_PUBLISH_SECONDS = 1.0
_COVERAGE_SECONDS = 10.0
_MOST_HOURS = 48
"""Hours of one channel in one round of coverage; the next round goes on."""

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
        self._gatherers = settings.gatherer_urls()
        self._shard = Shard.named(settings.deduplicator_shard)
        self.loops = [
            SyncLoop(
                gatherer_id,
                url,
                self._production_url,
                table,
                pace_of(table, settings),
                self.metrics,
                _retry_waits,
                time.time,
                part,
            )
            for gatherer_id, url in self._gatherers.items()
            for table in (*STREAM_TABLES, *CAPTURE_TABLES)
            if (part := self._shard.of_table(table)) is not None
        ]
        self._lead = Lead(self._production_url, self._shard)
        self._troubles: dict[str, str] = {}
        self.status = Status(self.loops, self.metrics, self._shard, settings.silence_seconds, settings.horizon_seconds)

    async def run(self, stop: asyncio.Event) -> None:
        """Merge while no other deduplicator does, until `stop` is set."""
        await check_revision(self._production_url, Home.PRODUCTION)
        with serve_status(
            self._settings.metrics_host, self._settings.metrics_port, self.metrics.registry, self.health
        ) as port:
            _log.info("deduplicating", gatherers=sorted(self._gatherers), shard=str(self._shard), metrics_port=port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lead.run(stop, self._merge))
                tasks.create_task(self._publish(stop))
        _log.info("stopped")

    def health(self) -> Mapping[str, Any]:
        """Each part's state."""
        role = self._lead.role
        troubles = self._troubles.values() if role is Role.ACTIVE else ()
        return self.status.health(role, time.time(), [*self._lead.problems(), *troubles])

    async def _merge(self, stop: asyncio.Event) -> None:
        await self._announce(stop)
        async with asyncio.TaskGroup() as tasks:
            for loop in self.loops:
                loop.state.last_heard = time.time()  # whoever stood by has heard of nobody, and waits anew
                tasks.create_task(loop.run(stop))
            if self._shard.is_first:
                tasks.create_task(self._cover(stop))
                tasks.create_task(keep_up(self._production_url, Home.PRODUCTION, stop))

    async def _publish(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.status.publish(self._lead.role, time.time())
            await pause(stop, _PUBLISH_SECONDS)

    async def _announce(self, stop: asyncio.Event) -> None:
        """Say which gatherers are waited for, before any is merged: the first would be taken for all that live."""
        waits = _retry_waits()
        while not stop.is_set():
            try:
                production = await self._connection("announcing gatherers")
                try:
                    for loop in self.loops:
                        await expect(production, loop.gatherer_id, loop.table, loop.shard)
                    self._troubles.pop("announcing", None)
                    return
                finally:
                    production.terminate()
            except DATABASE_FAILURES as error:
                said = f"{type(error).__name__}: {error}"
                _log.warning("gatherers are not announced, trying again", error=said)
                self._troubles["announcing"] = (
                    f"production does not take the list of gatherers ({said}), so nothing is merged: does "
                    "KALSHI_PRODUCTION_DATABASE_URL name a standby, or a login that is no member of kalshi_dedup?"
                )
                await pause(stop, next(waits))

    async def _cover(self, stop: asyncio.Event) -> None:
        """Compute coverage behind the watermark, until `stop`, in the middle of an hour too: it may last minutes."""
        while not stop.is_set():
            try:
                production = await self._connection("coverage", command_timeout=600)
                cut = asyncio.create_task(_cut_at(stop, production))
                try:
                    await production.execute(NOTICES_CLOSED_CLIENTS)
                    await self._cover_rounds(production, stop)
                finally:
                    cut.cancel()
                    production.terminate()
            except DATABASE_FAILURES as error:
                if stop.is_set():
                    return
                said = f"{type(error).__name__}: {error}"
                _log.warning("coverage failed, trying again", error=said)
                self._troubles["coverage"] = (
                    f"what nobody heard is not worked out ({said}); rows are merged all the same, and it is tried again"
                )
                await pause(stop, _COVERAGE_SECONDS)

    async def _connection(self, name: str, command_timeout: float = 60) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._production_url,
            server_settings={"application_name": name, **NOTICES_DEAD_CLIENTS},
            timeout=10,
            command_timeout=command_timeout,
        )

    async def _cover_rounds(self, production: asyncpg.Connection, stop: asyncio.Event) -> None:
        while not stop.is_set():
            marks = await merged_until(production, self._settings.silence_seconds)
            for channel, table in CHANNEL_TABLES.items():
                mark = marks.get(table)
                if mark is not None:
                    await _cover_channel(production, channel, mark)
                self.metrics.uncovered.labels(channel).set(await uncovered_markets(production, channel))
            self._troubles.pop("coverage", None)
            await pause(stop, _COVERAGE_SECONDS)


def pace_of(table: Table, settings: Settings) -> Pace:
    """How often a table is merged, and how much of it at once; what gatherers note goes at the pace of snapshots."""
    name = {"trades": "trades", "orderbook_deltas": "deltas", "tickers": "tickers"}.get(table.name, "snapshots")
    return Pace(getattr(settings, f"{name}_sync_ms") / 1000, getattr(settings, f"{name}_sync_rows"))


async def _cover_channel(production: asyncpg.Connection, channel: str, mark: datetime) -> None:
    for _ in range(_MOST_HOURS):
        hour = await next_hour(production, channel, mark)
        if hour is None or not await cover_hour(production, channel, hour):
            return


async def _cut_at(stop: asyncio.Event, production: asyncpg.Connection) -> None:
    """End a session at `stop`, whatever it is at: who leads next shall not wait for it."""
    await stop.wait()
    production.terminate()


def _retry_waits() -> Iterator[float]:
    return backoff(Random(), longest=_LONGEST_RETRY_SECONDS)  # noqa: S311 - spreads retries, guards nothing
