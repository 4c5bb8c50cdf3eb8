"""Books that are asked for from time to time: with an exchange whose answers are chosen, then with the simulator."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.records import BookDifferenceRow, Row, SnapshotRow
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.transport import patience
from kalshi_platform.exchange.signing import load_signer
from kalshi_platform.gatherer.daemon import Gatherer
from kalshi_platform.gatherer.snapshot_poller import SnapshotPoller
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.simulator import Simulator, running
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.gatherer.exchange_at_hand import KEY_ID, gatherer, gathering, keys, options
from kalshi_platform_tests.queries import fetch, value
from kalshi_platform_tests.waiting import until

QUIET_US = 5 * SECOND


@dataclass
class Shelf:
    """Live books as chosen, and what was asked for over the socket."""

    books: dict[str, OrderBook] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)

    def live_book(self, ticker: str) -> OrderBook | None:
        """The book, if it is whole."""
        return self.books.get(ticker)

    def changed_at_us(self, ticker: str) -> int | None:
        """Long ago, unless chosen otherwise."""
        return self.changed.get(ticker, 0) if ticker in self.books else None

    def keeper(self, ticker: str) -> str:
        """Always the same."""
        return f"keeper of {ticker}"

    def request_snapshots(self, tickers: Sequence[str]) -> None:
        """Note them."""
        self.requested += tickers


@dataclass
class Scene:
    """A quiet exchange, live books equal to its own, and a poller whose clock moves only while it sleeps."""

    simulator: Simulator
    shelf: Shelf
    poller: SnapshotPoller
    rows: list[Row]
    metrics: GathererMetrics
    slept: list[float]

    def counted(self, result: str) -> float:
        """Comparisons that ended so."""
        name = "kalshi_gatherer_book_comparisons_total"
        return self.metrics.registry.get_sample_value(name, {"result": result}) or 0.0

    @property
    def differences(self) -> list[BookDifferenceRow]:
        """What was recorded as different."""
        return [row for row in self.rows if isinstance(row, BookDifferenceRow)]


@asynccontextmanager
async def scene(folder: Path, markets: int = 30, rest: RestOptions | None = None) -> AsyncIterator[Scene]:
    """Everything at hand."""
    private, public = keys(folder)
    signer = load_signer(KEY_ID, private, lambda: time.time_ns() // 10**6)
    chosen = options(folder, public, rate=0.0, markets=markets, rest=rest or RestOptions(tier="prestige"))
    rows: list[Row] = []
    slept: list[float] = []
    clock = [time.time_ns() // 1000]
    metrics, shelf = GathererMetrics(), Shelf()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += round(seconds * SECOND)

    async with (
        running(chosen) as simulator,
        RestClient(simulator.rest_url, signer, waits=patience(attempts=1)) as client,
    ):
        for ticker, market in simulator.exchange.catalogue.markets.items():
            shelf.books[ticker] = copied(market.book)
        poller = SnapshotPoller(
            client, lambda: list(shelf.books), shelf, rows.append, metrics, "g1", lambda: clock[0],
            interval_seconds=60.0, quiet_seconds=QUIET_US / SECOND, sleep=sleep,
        )  # fmt: skip
        yield Scene(simulator, shelf, poller, rows, metrics, slept)


def copied(book: Any) -> OrderBook:
    """The exchange's book as ours: its prices are hundredths of a cent."""
    yes, no = ([(price * 100, size) for price, size in book.ladder(side)] for side in ("yes", "no"))
    return OrderBook(yes, no)


async def test_every_book_becomes_a_row_and_equal_ones_say_nothing(tmp_path: Path) -> None:
    """A hundred a call; every market's snapshot is asked for over the socket as well."""
    async with scene(tmp_path, markets=230) as one:
        before = one.simulator.rest.gate.requests
        await one.poller.round()
        assert one.simulator.rest.gate.requests - before == 2 + 3, "limits, costs, three calls"
        assert {row.ticker for row in one.rows} == set(one.shelf.books)
        assert all(isinstance(row, SnapshotRow) and row.source == "rest" for row in one.rows)
        assert one.counted("equal") == 230
        assert one.shelf.requested == list(one.shelf.books)


async def test_a_corrupt_book_is_recorded_and_asked_for_first(tmp_path: Path) -> None:
    """Exactly the one, with exactly what is wrong."""
    async with scene(tmp_path) as one:
        ticker = list(one.shelf.books)[7]
        one.shelf.books[ticker].apply(True, 10_000, 250)
        await one.poller.round()
        (row,) = one.differences
        assert (row.ticker, row.levels, row.size, row.gatherer_id) == (ticker, 1, 250, "g1")
        assert row.connection == f"keeper of {ticker}"
        assert row.detail.startswith("yes 0.0100: ")
        assert row.compared_at >= row.snapshot_ts + QUIET_US
        assert (one.counted("different"), one.counted("equal")) == (1, 29)
        assert one.shelf.requested[0] == ticker
        assert sorted(one.shelf.requested) == sorted(one.shelf.books)


async def test_a_book_that_moved_around_the_answer_is_not_judged(tmp_path: Path) -> None:
    """Changed shortly before the request, or after it; or in doubt then or now."""
    async with scene(tmp_path) as one:
        before, after, doubtful, healed, *_ = one.shelf.books
        for ticker in (before, after, doubtful, healed):
            one.shelf.books[ticker].apply(True, 10_000, 250)
        one.shelf.changed[before] = time.time_ns() // 1000 - QUIET_US // 2
        kept = one.shelf.books.pop(doubtful)
        ask = one.poller._rest.orderbooks

        async def change_meanwhile(tickers: Sequence[str]) -> Any:
            found = await ask([*tickers, doubtful])
            one.shelf.changed[after] = 1
            one.shelf.books[doubtful] = kept
            del one.shelf.books[healed]
            return found

        one.poller._rest.orderbooks = change_meanwhile  # type: ignore[method-assign]
        await one.poller.round()
        assert one.differences == []
        assert (one.counted("moved"), one.counted("unknown"), one.counted("equal")) == (2, 2, 26)


async def test_the_pace_leaves_tokens_for_others(tmp_path: Path) -> None:
    """Half of what the key may spend, at most; a few calls are spread over the interval."""
    async with scene(tmp_path, markets=430) as one:
        await one.poller.round()
        assert one.slept[:5] == [5.0] * 5, "five calls within half a minute, and five seconds apart at most"
    folder = tmp_path / "dear"
    folder.mkdir()
    dear = RestOptions(tier="prestige", endpoint_costs={"/markets/orderbooks": 9000})
    async with scene(folder, markets=5, rest=dear) as one:
        await one.poller._rest.status()
        one.poller._interval = 0.1
        await one.poller.round()
        assert one.slept[0] == 9000 / (12_000 * 0.5)


async def test_an_outage_of_rest_leaves_the_socket(tmp_path: Path) -> None:
    """What REST does not give is still asked for over the socket, and the round goes on."""
    async with scene(tmp_path, markets=230, rest=RestOptions(tier="prestige", failures={4: 503})) as one:
        await one.poller.round()
        assert len(one.rows) == 130
        assert sorted(one.shelf.requested) == sorted(one.shelf.books)


@pytest.mark.slow
async def test_a_corrupted_live_book_is_found_and_healed(tmp_path: Path, gatherer_database: str) -> None:
    """A gatherer over real sockets; one of its books is corrupted on purpose: recorded once, mended by the socket."""
    private, public = keys(tmp_path)
    quiet = options(tmp_path, public, rate=0.0, rest=RestOptions(tier="prestige"))
    async with running(quiet) as simulator:
        one = gatherer(
            gatherer_database, simulator.rest_url, simulator.ws_url, private, snapshot_seconds=1.0, settle_seconds=0.2
        )
        manager = one._manager
        catalogue = simulator.exchange.catalogue
        async with gathering(one):
            await until(lambda: all(manager.live_book(ticker) for ticker in catalogue.markets))
            ticker = list(catalogue.markets)[11]
            manager.live_book(ticker).apply(False, 20_000, 777)  # type: ignore[union-attr]
            found = "SELECT count(*) FROM book_differences"
            await until(lambda: value(gatherer_database, found))
            healthy = copied(catalogue.markets[ticker].book)
            await until(
                lambda: (book := manager.live_book(ticker)) and (book.yes, book.no) == (healthy.yes, healthy.no)
            )
            different, equal = comparisons(one, "different"), comparisons(one, "equal")
            await until(lambda: comparisons(one, "equal") >= equal + 60)
            assert comparisons(one, "different") == different, "it stays healed"
            keeper = manager.keeper(ticker)
    rows = await fetch(gatherer_database, "SELECT ticker, levels, size, connection, detail FROM book_differences")
    assert len(rows) == different >= 1
    assert keeper.startswith("orderbook-")
    assert {tuple(row)[:4] for row in rows} == {(ticker, 1, 777, keeper)}
    assert "no 0.0200: " in rows[0]["detail"]
    kept = "SELECT count(DISTINCT ticker) FROM orderbook_snapshots WHERE source = 'rest'"
    assert await value(gatherer_database, kept) == 30


@pytest.mark.slow
async def test_lively_books_raise_no_false_alarm(tmp_path: Path, gatherer_database: str) -> None:
    """Whatever moved around an answer is left alone, and what stood still is equal."""
    private, public = keys(tmp_path)
    lively = options(tmp_path, public, rate=60.0, rest=RestOptions(tier="prestige"), new_market_seconds=0.0)
    async with running(lively) as simulator:
        one = gatherer(
            gatherer_database, simulator.rest_url, simulator.ws_url, private, snapshot_seconds=2.0, settle_seconds=0.7
        )
        async with gathering(one):
            await until(lambda: comparisons(one, "equal") >= 10 and comparisons(one, "moved") >= 10)
            assert comparisons(one, "different") == 0


def comparisons(one: Gatherer, result: str) -> float:
    """Comparisons of a gatherer that ended so."""
    name = "kalshi_gatherer_book_comparisons_total"
    return one.metrics.registry.get_sample_value(name, {"result": result}) or 0.0
