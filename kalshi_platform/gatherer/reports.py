"""What a gatherer tells of its writers: metrics and log lines.

Kept out: the writing itself.
"""

import time
from collections.abc import Sequence

import structlog

from kalshi_platform.core import schema
from kalshi_platform.core.schema import Table
from kalshi_platform.core.units import SECOND
from kalshi_platform.database.writer import WriterRow
from kalshi_platform.service.metrics import GathererMetrics

_log = structlog.get_logger()


class WriterReports:
    """Turns what writers do into metrics."""

    def __init__(self, metrics: GathererMetrics) -> None:
        self._metrics = metrics

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """Count a committed batch, and how long its newest delta took to get there."""
        self._metrics.rows.labels(table.name).inc(new)
        self._metrics.queued.labels(table.name).set(queued)
        if rows and table is schema.ORDERBOOK_DELTAS:
            exchange_us = rows[-1][0]
            assert isinstance(exchange_us, int)  # noqa: S101 - the first column of the table is its time
            self._metrics.lag.labels("committed").observe(max(0.0, time.time() - exchange_us / SECOND))

    def failed(self, table: Table, error: Exception) -> None:
        """Count and tell of a write that will be tried again."""
        self._metrics.write_failures.labels(table.name).inc()
        _log.warning("write failed, trying again", table=table.name, error=f"{type(error).__name__}: {error}")
