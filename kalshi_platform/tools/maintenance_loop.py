"""`kalshi-platform maintain`: passes of care, once or as a service every so often, until it is asked to stop.

Kept out: what a pass does (the room `maintenance`).
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from kalshi_platform.core.errors import ConfigurationError, PlatformError
from kalshi_platform.core.schema import Home
from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.lake.layout import Lake
from kalshi_platform.maintenance.passes import Report, lines, maintain_gatherer, maintain_production
from kalshi_platform.service.http import serve_status
from kalshi_platform.service.lifecycle import pause
from kalshi_platform.service.metrics import MaintenanceMetrics
from kalshi_platform.service.settings import Settings

_TRIED_AGAIN: tuple[type[Exception], ...] = (PlatformError, *DATABASE_FAILURES)
"""Whatever a database or a file says: a step that fails must not keep partitions from being made and dropped."""


async def maintain_until(
    stop: asyncio.Event, home: Home, url: str, settings: Settings, every: float, say: Callable[[str], None]
) -> None:
    """Make passes until `stop` is set; with `every` 0 just one, whose failure is the caller's.

    Who passes again and again is a service, with `/metrics` and `/health`.

    Args:
        stop: Ends the pause between passes; a pass is finished.
        home: Which kind of database it is.
        url: The database, as the tables' owner.
        settings: Where lake and production are, what this gatherer is called, and where metrics are served.
        every: Seconds between passes.
        say: Told, line by line, what was done and what was left.

    Raises:
        PlatformError: Where the only pass fails, or the settings do not fit.
    """
    if not every:
        for line in lines(await _pass(home, url, settings)):
            say(line)
        return
    passes = _Passes(MaintenanceMetrics(), time.time)
    with serve_status(settings.metrics_host, settings.metrics_port, passes.metrics.registry, passes.health) as port:
        say(f"metrics on port {port}")
        while not stop.is_set():
            await passes.make(home, url, settings, say)
            await pause(stop, every)


class _Passes:
    """Passes of a service, and what is known of them."""

    def __init__(self, metrics: MaintenanceMetrics, now: Callable[[], float]) -> None:
        self.metrics = metrics
        self._now = now
        self._error: str | None = "no pass has come to its end yet"
        self._disputed: list[str] = []

    def health(self) -> Mapping[str, Any]:
        """Healthy where the last pass came to its end and nothing in the lake is disputed."""
        return {
            "healthy": self._error is None and not self._disputed,
            "error": self._error,
            "disputed": self._disputed,
        }

    async def make(self, home: Home, url: str, settings: Settings, say: Callable[[str], None]) -> None:
        """One pass, whose failure the next one mends.

        Raises:
            ConfigurationError: Where none ever will.
        """
        started = self._now()
        try:
            report = await _pass(home, url, settings)
        except ConfigurationError:
            raise
        except _TRIED_AGAIN as error:
            self._error = f"{type(error).__name__}: {error}"
            self.metrics.passes.labels("failed").inc()
            say(f"this pass failed, the next one tries again: {error}")
            return
        self._error = None
        self._count(report)
        self.metrics.seconds.set(self._now() - started)
        for line in lines(report):
            say(line)

    def _count(self, report: Report) -> None:
        metrics, kept = self.metrics, sum(bool(verdict.kept_because) for verdict in report.verdicts)
        metrics.passes.labels("done").inc()
        metrics.last_done.set(self._now())
        self._disputed = report.disputed
        metrics.disputed.set(len(report.disputed))
        metrics.kept.set(kept)
        metrics.dropped.inc(len(report.verdicts) - kept)
        for table, rows in report.forgotten.items():
            metrics.forgotten.labels(table).inc(rows)


async def _pass(home: Home, url: str, settings: Settings) -> Report:
    now = datetime.now(UTC)
    if home is Home.PRODUCTION:
        return await maintain_production(url, Lake(settings.lake_url), now, settings.silence_seconds)
    production = settings.production_database_url
    secret = None if production is None else production.get_secret_value()
    return await maintain_gatherer(url, settings.gatherer_id, secret, now)
