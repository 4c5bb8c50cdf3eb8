"""The gatherer's process: database, registry, connections and writers, started and stopped in order.

Kept out: everything that can be tested without a process.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import structlog

from kalshi_platform.core import schema
from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.core.schema import Home, Table
from kalshi_platform.core.units import MILLISECOND, SECOND
from kalshi_platform.database.batching import FlushPolicy
from kalshi_platform.database.errors import DatabaseUnreachableError
from kalshi_platform.database.migrations import check_revision
from kalshi_platform.database.sink import Sink
from kalshi_platform.database.spool import Spool
from kalshi_platform.database.upkeep import keep_up
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.session import Channel
from kalshi_platform.exchange.signing import load_signer
from kalshi_platform.gatherer.connection import Surroundings, handshakes
from kalshi_platform.gatherer.connections import ConnectionManager
from kalshi_platform.gatherer.predecessor import keep_closing
from kalshi_platform.gatherer.registry import Followers, Registry
from kalshi_platform.gatherer.reports import WriterReports
from kalshi_platform.gatherer.snapshot_poller import SnapshotPoller
from kalshi_platform.questdb.client import QuestClient
from kalshi_platform.questdb.sink import QuestSink, SecondSink, end_second
from kalshi_platform.service.http import serve_status
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.service.retry import backoff
from kalshi_platform.service.settings import Settings

_DRAIN_SECONDS = 30.0

_log = structlog.get_logger()


class Gatherer:
    """One gatherer.

    Raises:
        ConfigurationError: Where a needed setting is missing or the key cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = settings.required("gatherer_database_url")
        self._started_us = _now_us()
        key_path = Path(settings.required("private_key_path"))
        signer = load_signer(settings.required("api_key_id"), key_path, lambda: _now_us() // MILLISECOND)
        self.metrics = GathererMetrics()
        self._second = _second_sink(settings, self.metrics)
        self._sink = Sink(
            self._url,
            WriterReports(self.metrics),
            self._heard_until,
            _retry_waits,
            policies=_policies(settings),
            spool=Spool(settings.spool_directory / settings.gatherer_id, settings.spool_bytes),
            echo=None if self._second is None else self._second.add,
        )
        self.metrics.queues.read = self._sink.state
        self._rest = RestClient(settings.rest_url, signer)
        self._manager = ConnectionManager(
            {
                Channel.LIFECYCLE: settings.lifecycle_connections,
                Channel.MULTIVARIATE_LIFECYCLE: settings.lifecycle_connections * settings.include_multivariate,
                Channel.TRADE: settings.trade_connections,
                Channel.TICKER: settings.ticker_connections,
                Channel.ORDERBOOK: settings.orderbook_connections,
            },
            settings.markets_per_connection,
            Surroundings(
                url=settings.ws_url,
                signer=signer,
                sink=self._sink,
                metrics=self.metrics,
                gatherer_id=settings.gatherer_id,
                checkpoint_ms=settings.checkpoint_seconds * 1000,
                settle_ms=round(settings.settle_seconds * 1000),
                now_us=_now_us,
                retry_waits=_retry_waits,
                on_lifecycle=self._on_lifecycle,
                hours=lambda: self._registry.hours,
                handshakes=handshakes(settings.handshakes_per_second),
            ),
        )
        self._registry = Registry(
            self._rest,
            Followers(
                self._manager.follow, self._manager.leave, self._manager.displace, self._manager.request_snapshots
            ),
            self.metrics,
            _retry_waits,
            _now_us,
            include_multivariate=settings.include_multivariate,
            reconcile_seconds=settings.reconcile_seconds,
        )

        self._poller = SnapshotPoller(
            self._rest,
            self._registry.listing.followed,
            self._manager,
            self._sink.add,
            self.metrics,
            settings.gatherer_id,
            _now_us,
            interval_seconds=settings.snapshot_seconds,
            quiet_seconds=settings.settle_seconds,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop` is set, then write what is still queued.

        Raises:
            ExchangeRefused: Where the exchange will not have us; a person must act.
        """
        await self._check_database()
        settings = self._settings
        with serve_status(settings.metrics_host, settings.metrics_port, self.metrics.registry, self.health) as port:
            _log.info("gathering", gatherer=settings.gatherer_id, exchange=settings.ws_url, metrics_port=port)
            writing = asyncio.create_task(self._sink.run())
            echoing = None if self._second is None else asyncio.create_task(self._second.run())
            refusal = await _until(stop, writing, self._listen(stop), self._manager.stopped)
            try:
                await self._drain(writing)  # first: it says until when was listened, and a kill may follow soon
            finally:
                if self._second is not None and echoing is not None:
                    await end_second(self._second, echoing)
        _log.info("stopped")
        if refusal is not None:
            raise refusal

    async def _check_database(self) -> None:
        """Look whether the database has the tables that are written; go on where it is only away.

        Raises:
            PlatformError: Where it is not what it must be, or was never reached from here.
        """
        try:
            await check_revision(self._url, Home.GATHERER)
        except DatabaseUnreachableError as error:
            if self._sink.spool is None or not self._sink.spool.path.exists():
                raise  # most likely a setting
            _log.error("the database is away, what is heard goes to the spool", error=str(error))

    async def _drain(self, writing: asyncio.Task[None]) -> None:
        """What was heard is written, whatever ended the listening.

        Raises:
            PlatformError: Where the database does not take it in time; other gatherers have it.
        """
        self._sink.close()
        await asyncio.wait([writing], timeout=_DRAIN_SECONDS)
        if not writing.done():
            writing.cancel()
            await asyncio.wait([writing])
            unwritten = sum(self._sink.queued().values())
            if unwritten:
                raise PlatformError(f"stopped with {unwritten} rows unwritten: the database does not answer")
        else:
            writing.result()
        spooled = sum(self._sink.spooled().values())
        if spooled:
            _log.warning("rows wait in the spool, the next start writes them", rows=spooled)

    def health(self) -> Mapping[str, Any]:
        """Connections and queues; healthy once the markets are known, while every connection that has work is open."""
        connections = {one.name: one.router is not None for one in self._manager.connections}
        is_open = all(one.router is not None or not one.has_work for one in self._manager.connections)
        return {
            "healthy": self._registry.has_walked and is_open,
            "gatherer": self._settings.gatherer_id,
            "connections": connections,
            "queued": self._sink.queued(),
            "spooled": self._sink.spooled(),
        }

    async def _listen(self, stop: asyncio.Event) -> None:
        async with self._rest, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._registry.run())
            tasks.create_task(self._manager.run())
            if self._settings.snapshot_seconds:
                tasks.create_task(self._poller.run())
            tasks.create_task(keep_closing(self._url, self._started_us, _retry_waits))
            tasks.create_task(keep_up(self._url, Home.GATHERER, stop))

    def _on_lifecycle(self, frame: LifecycleFrame | MultivariateLifecycleFrame) -> None:
        self._registry.on_lifecycle(frame)

    def _heard_until(self, table: Table) -> int | None:
        """What a writer may claim: all that came up to `settle_seconds` ago, less what is still being worked off.

        Checkpoints stand as far as they were swept.
        """
        if table is schema.ORDERBOOK_SNAPSHOTS:
            swept = self._manager.swept_ms()
            return None if swept is None else swept * MILLISECOND
        now_us = _now_us()
        lag_ms = self._manager.lag_ms(now_us // MILLISECOND)
        return None if lag_ms is None else now_us - lag_ms * MILLISECOND - round(self._settings.settle_seconds * SECOND)


def _second_sink(settings: Settings, metrics: GathererMetrics) -> SecondSink | None:
    """QuestDB, where it is asked for."""
    if settings.questdb is None:
        return None
    client = QuestClient(settings.required("questdb"))

    def tell(outcome: str, rows: int) -> None:
        metrics.questdb_rows.labels(outcome).inc(rows)

    return QuestSink(client, settings.questdb_rows, tell, _retry_waits)


def _policies(settings: Settings) -> Mapping[str, FlushPolicy]:
    return {
        schema.TRADES.name: FlushPolicy(settings.trades_batch_rows, settings.trades_flush_ms / 1000),
        schema.ORDERBOOK_DELTAS.name: FlushPolicy(settings.deltas_batch_rows, settings.deltas_flush_ms / 1000),
        schema.TICKERS.name: FlushPolicy(settings.tickers_batch_rows, settings.tickers_flush_ms / 1000),
        schema.ORDERBOOK_SNAPSHOTS.name: FlushPolicy(settings.snapshots_batch_rows, settings.snapshots_flush_ms / 1000),
        schema.CAPTURE_SESSIONS.name: FlushPolicy(5000, 0.25),  # a start opens one for every market
    }


async def _until(
    stop: asyncio.Event, writing: asyncio.Task[None], work: Coroutine[Any, Any, None], on_end: Callable[[], None]
) -> BaseException | None:
    """Run `work` until `stop` is set or the writing fails; the error that ended it before, if one did.

    `on_end` is called before the work is ended, which takes a while in which nothing is heard any more.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([stopping, working, writing], return_when=asyncio.FIRST_COMPLETED)
    finally:
        on_end()
        stopping.cancel()
        working.cancel()
        await asyncio.wait([stopping, working])
    return None if working.cancelled() else working.exception()


def _now_us() -> int:
    return time.time_ns() // 1000


def _retry_waits() -> Iterator[float]:
    return backoff(Random())  # noqa: S311 - spreads reconnects, guards nothing
