"""What a gatherer tells of its writers: metrics and log lines.

Kept out: the writing itself.
"""

import time
from collections.abc import Sequence

import structlog

from kalshi_platform.core import schema
from kalshi_platform.core.records import TABLE_OF
from kalshi_platform.core.schema import Table
from kalshi_platform.core.units import SECOND
from kalshi_platform.database.errors import RowRefusedError, SpoolError
from kalshi_platform.database.writer import WriterRow
from kalshi_platform.service.metrics import GathererMetrics

_TIMED = (schema.ORDERBOOK_DELTAS, schema.TRADES, schema.TICKERS)
"""Tables whose rows carry the moment at which the exchange sent them."""

_log = structlog.get_logger()


class WriterReports:
    """Turns what writers do into metrics."""

    def __init__(self, metrics: GathererMetrics) -> None:
        self._metrics = metrics
        for table in TABLE_OF.values():
            metrics.refused.labels(table.name)  # 0, not absent: an alert on its increase needs a beginning

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """Count a committed batch, and how long its oldest and its newest message took to get there."""
        del queued
        self._metrics.rows.labels(table.name).inc(new)
        if table in _TIMED:
            for row in (rows[0], rows[-1]) if rows else ():
                exchange_us = row[0]
                assert isinstance(exchange_us, int)  # noqa: S101 - the first column of these tables is their time
                self._metrics.lag.labels("committed").observe(max(0.0, time.time() - exchange_us / SECOND))

    def failed(self, table: Table, error: Exception) -> None:
        """Count and tell of a write that will be tried again, or of a row that never will."""
        if isinstance(error, RowRefusedError):
            self._metrics.refused.labels(table.name).inc()
            _log.error("row refused by the database, it is in rejected_messages", table=table.name, error=str(error))
            return
        if isinstance(error, SpoolError):
            _log.error("cannot spool, trying again", table=table.name, error=str(error))
            self._metrics.write_failures.labels(table.name).inc()
            return
        self._metrics.write_failures.labels(table.name).inc()
        _log.warning("write failed, trying again", table=table.name, error=f"{type(error).__name__}: {error}")
