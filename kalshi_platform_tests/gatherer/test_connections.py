"""Connections as a whole: a defect in one leaves the others alone, and markets move without a hole."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest

from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.core.records import DeltaRow, Row, SessionRow, SnapshotRow
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.session import Channel
from kalshi_platform.exchange.signing import load_signer
from kalshi_platform.gatherer import router
from kalshi_platform.gatherer.connection import Surroundings
from kalshi_platform.gatherer.connections import ConnectionManager
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.simulator import Simulator, running
from kalshi_platform_tests.gatherer.exchange_at_hand import KEY_ID, Proxy, keys, now_us, options
from kalshi_platform_tests.waiting import until


class Rows:
    """A sink that keeps what it gets and has room until a test says otherwise."""

    def __init__(self) -> None:
        self.kept: list[Row] = []
        self._has_room = asyncio.Event()
        self.has_room = True
        self.on_changes: Callable[[Sequence[DeltaRow]], None] = lambda _: None

    @property
    def has_room(self) -> bool:
        """Whether readers may go on."""
        return self._has_room.is_set()

    @has_room.setter
    def has_room(self, has_room: bool) -> None:
        if has_room:
            self._has_room.set()
        else:
            self._has_room.clear()

    def add(self, row: Row) -> None:
        """One row."""
        self.kept.append(row)

    def add_changes(self, rows: Sequence[DeltaRow]) -> None:
        """Many rows."""
        self.on_changes(rows)
        self.kept += rows

    def reject(self, raw: bytes, rejection: FrameRejected, connection: str, received_us: int) -> bool:
        """Healthy streams have no frames to reject."""
        raise AssertionError((connection, rejection, raw))

    async def room(self) -> None:
        """Wait until there is."""
        await self._has_room.wait()

    def deltas(self) -> int:
        """Changes so far."""
        return sum(isinstance(row, DeltaRow) for row in self.kept)

    def sessions(self) -> list[SessionRow]:
        """Who listened to what, in its latest version."""
        return list({row[:5]: row for row in self.kept if isinstance(row, SessionRow)}.values())


class Bench:
    """A connection manager at work against a simulator."""

    def __init__(
        self,
        simulator: Simulator,
        private: Path,
        counts: dict[Channel, int],
        most: int = 7500,
        checkpoint_ms: int = 3_600_000,
        ws_url: str = "",
    ) -> None:
        self.rows, self.metrics = Rows(), GathererMetrics()
        self.heard: Callable[[LifecycleFrame | MultivariateLifecycleFrame], None] = lambda _: None
        self.skew_ms, self.clock_us = 0, 0
        self.waits: Sequence[float] = (0.02,) * 1000
        self.waited: list[float] = []
        signer = load_signer(KEY_ID, private, lambda: now_us() // 1000 + self.skew_ms)
        around = Surroundings(
            url=ws_url or simulator.ws_url, signer=signer, sink=cast("Sink", self.rows), metrics=self.metrics,
            gatherer_id="g", checkpoint_ms=checkpoint_ms, settle_ms=100, now_us=lambda: self.clock_us or now_us(),
            retry_waits=self._wait, on_lifecycle=self._hear,
        )  # fmt: skip
        self.manager = ConnectionManager(counts, most, around)

    def _wait(self) -> Iterator[float]:
        for seconds in self.waits:
            self.waited.append(seconds)
            yield seconds

    def _hear(self, frame: LifecycleFrame | MultivariateLifecycleFrame) -> None:
        self.heard(frame)

    def counted(self, name: str, **labels: str) -> float:
        """A metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def listed(simulator: Simulator) -> list[str]:
    """The open markets."""
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"{simulator.rest_url}/markets", params={"status": "open", "limit": 1000})).json()
    return [market["ticker"] for market in page["markets"]]


@asynccontextmanager
async def at_work(bench: Bench) -> AsyncIterator[asyncio.Task[None]]:
    """The connections run while the block does."""
    work = asyncio.create_task(bench.manager.run())
    try:
        yield work
    finally:
        work.cancel()
        await asyncio.wait([work])


async def test_a_defect_in_one_connection_ends_no_other(tmp_path: Path) -> None:
    """It is counted, logged and made anew; order books are heard on."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public, new_market_seconds=0.1)) as simulator:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 1, Channel.LIFECYCLE: 1})
        defects = iter([RuntimeError("planted"), RuntimeError("planted again")])

        def break_down(_: object) -> None:
            for defect in defects:
                raise defect

        bench.heard = break_down
        bench.manager.follow(await listed(simulator))
        async with at_work(bench):
            await until(lambda: bench.counted("kalshi_gatherer_connection_crashes_total", role="lifecycle") == 2)
            before = bench.rows.deltas()
            await until(lambda: bench.rows.deltas() > before + 200)
            await until(
                lambda: bench.counted("kalshi_gatherer_websocket_connections", role="lifecycle", state="open") == 1
            )
    assert bench.counted("kalshi_gatherer_reconnects_total", role="orderbook") == 0


async def test_who_was_let_in_once_bears_refusals(tmp_path: Path) -> None:
    """A gateway in trouble says 401, 403 or 404 to keys that are right: that ends no connection that still works."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public)) as simulator, Proxy(simulator.ws_url) as proxy:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 1, Channel.TRADE: 1}, ws_url=proxy.ws_url)
        bench.manager.follow(await listed(simulator))
        orderbook, trade = bench.manager.connections
        async with at_work(bench) as work:
            await until(lambda: bench.rows.deltas() > 0 and trade.router is not None)
            bench.skew_ms = 60_000
            proxy.cut()
            await until(lambda: bench.counted("kalshi_gatherer_reconnects_total", role="orderbook") > 5)
            assert orderbook.router is trade.router is None
            assert not work.done()
            bench.skew_ms = 0
            before = bench.rows.deltas()
            await until(lambda: bench.rows.deltas() > before and trade.router is not None)


async def test_a_socket_that_falls_with_its_first_data_is_waited_for_ever_longer(tmp_path: Path) -> None:
    """Else a torn line would be dialled twice a second for ever; one that lived for longer than that begins anew."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public)) as simulator, Proxy(simulator.ws_url) as proxy:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 1}, ws_url=proxy.ws_url)
        bench.clock_us = now_us()
        bench.waits = (0.01, 0.02, 0.03, 0.04)
        bench.manager.follow(await listed(simulator))

        def fall(_: Sequence[DeltaRow]) -> None:
            bench.clock_us += 1_000_000 * (len(bench.waited) == 3)
            proxy.cut()

        bench.rows.on_changes = fall
        async with at_work(bench):
            await until(lambda: len(bench.waited) > 3)
    assert bench.waited[:4] == [0.01, 0.02, 0.03, 0.01]


async def test_markets_move_without_a_hole(tmp_path: Path) -> None:
    """The new connection has the book before the old one leaves, so that two hear the market for a moment."""
    private, public = keys(tmp_path)
    async with running(
        options(tmp_path, public, markets=60, new_market_seconds=0, close_market_seconds=0)
    ) as simulator:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 3})
        bench.manager.follow(await listed(simulator))
        async with at_work(bench):
            await until(lambda: len(bench.rows.sessions()) == 60)
            homes = {one.ticker: one.connection for one in bench.rows.sessions()}
            bench.manager.leave([ticker for ticker, home in homes.items() if home == "orderbook-2"])
            moving = bench.manager.even_out()
            assert moving > 5
            await until(lambda: sum(one.ended_by is not None for one in bench.rows.sessions()) > moving)
    for ticker in bench.manager.followed():
        first, *second = sorted(one for one in bench.rows.sessions() if one.ticker == ticker)
        assert not second or (first.ended_at is not None and second[0].started_at < first.ended_at), ticker


async def test_markets_that_the_exchange_has_no_room_for_go_to_other_connections(tmp_path: Path) -> None:
    """Three times the limit, unevenly spread: each connection takes what it may, nobody is left out."""
    private, public = keys(tmp_path)
    calm = options(tmp_path, public, markets=60, new_market_seconds=0, close_market_seconds=0, subscription_markets=20)
    async with running(calm) as simulator:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 3})
        listed_tickers = await listed(simulator)
        async with at_work(bench):
            bench.manager.follow(listed_tickers)
            await until(lambda: {one.ticker for one in bench.rows.sessions()} == set(listed_tickers))
            await until(lambda: all(bench.manager.live_book(ticker) is not None for ticker in listed_tickers))
        homes = Counter(one.connection for one in bench.rows.sessions() if one.ended_by is None)
    assert max(homes.values()) == 20
    assert bench.counted("kalshi_gatherer_markets_without_room_total") == 0


async def test_markets_for_which_no_connection_had_room_are_taken_in_once_one_has(tmp_path: Path) -> None:
    """The registry believes that they are followed: nobody else offers them again."""
    private, public = keys(tmp_path)
    calm = options(tmp_path, public, markets=50, new_market_seconds=0, close_market_seconds=0, subscription_markets=20)
    async with running(calm) as simulator:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 2})
        tickers = await listed(simulator)
        async with at_work(bench):
            assert not bench.manager.follow(tickers)
            await until(lambda: len(bench.manager.followed()) == 40)
            await until(lambda: all(bench.manager.live_book(one) is not None for one in bench.manager.followed()))
            bench.manager.leave(list(bench.manager.followed())[:10])
            left = set(tickers) - {one.ticker for one in bench.rows.sessions()}
            assert len(left) == 10
            await until(lambda: left <= {one.ticker for one in bench.rows.sessions()})


async def test_a_displaced_market_is_not_checkpointed_any_more(tmp_path: Path) -> None:
    """It changes on, unheard: its book here would be a wrong one, under the key of the right one."""
    private, public = keys(tmp_path)
    calm = options(tmp_path, public, markets=6, new_market_seconds=0, close_market_seconds=0)
    async with running(calm) as simulator:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 1}, checkpoint_ms=500)
        listed_tickers = await listed(simulator)
        bench.manager.follow(listed_tickers)

        def checkpoints(ticker: str) -> list[int]:
            rows = [row for row in bench.rows.kept if isinstance(row, SnapshotRow) and row.source == "checkpoint"]
            return [row.snapshot_ts for row in rows if row.ticker == ticker]

        async with at_work(bench):
            first, second = listed_tickers[:2]
            await until(lambda: checkpoints(first) and checkpoints(second))
            displaced_us = now_us()
            bench.manager.displace([first])
            await until(lambda: checkpoints(second)[-1] > displaced_us + 1_500_000)
    assert max(checkpoints(first)) <= displaced_us


async def test_who_stops_while_it_could_not_read_claims_no_more_than_it_heard(tmp_path: Path) -> None:
    """Frames that lie unread were not heard, however long ago the writers' queues filled up."""
    private, public = keys(tmp_path)
    calm = options(tmp_path, public, markets=6, new_market_seconds=0, close_market_seconds=0)
    async with running(calm) as simulator:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 1})
        bench.manager.follow(await listed(simulator))
        (connection,) = bench.manager.connections
        async with at_work(bench):
            await until(lambda: len(bench.rows.sessions()) == 6 and bench.rows.deltas() > 0)
            bench.rows.has_room = False
            await until(lambda: connection.is_blocked)
            blocked_us = now_us()
            await until(lambda: now_us() > blocked_us + 100_000)
        bench.manager.stopped()
    ends = {(one.ended_by, one.ended_at is not None and one.ended_at <= blocked_us) for one in bench.rows.sessions()}
    assert ends == {("stopped", True)}


async def test_after_a_standstill_nothing_is_claimed_that_lies_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the frames that came meanwhile are taken: what is claimed as heard is what watermarks are made of."""
    monkeypatch.setattr(router, "_RECENT_MS", 200)
    private, public = keys(tmp_path)
    calm = options(tmp_path, public, markets=6, new_market_seconds=0, close_market_seconds=0)
    async with running(calm) as simulator:
        bench = Bench(simulator, private, {Channel.ORDERBOOK: 1})
        bench.manager.follow(await listed(simulator))
        claimed_ms, late = 0, []

        def judge(rows: Sequence[DeltaRow]) -> None:
            nonlocal claimed_ms
            late.extend(row for row in rows if row.exchange_ts < claimed_ms * 1000)
            now_ms = now_us() // 1000
            lag_ms = bench.manager.lag_ms(now_ms)
            claimed_ms = max(claimed_ms, 0 if lag_ms is None else now_ms - lag_ms - 300)

        (connection,) = bench.manager.connections
        async with at_work(bench):
            await until(lambda: len(bench.rows.sessions()) == 6 and bench.rows.deltas() > 0)
            bench.rows.on_changes = judge
            bench.rows.has_room = False
            await until(lambda: connection.is_blocked)
            blocked_us = now_us()
            await until(lambda: now_us() > blocked_us + 1_000_000)
            bench.rows.has_room = True
            await until(lambda: claimed_ms * 1000 > blocked_us + 1_000_000)
        assert not late
