"""One gatherer against the simulator over real sockets, into a real database; the ledger judges."""

import asyncio
import json
import socket
from collections import Counter
from pathlib import Path

import httpx
import pytest

from kalshi_platform.core.errors import ExchangeRefused
from kalshi_platform.core.units import us_from_datetime
from kalshi_platform.simulator import running
from kalshi_platform.tools.verify import Judge, Verdict
from kalshi_platform_tests.gatherer.exchange_at_hand import Proxy, gatherer, gathering, keys, options
from kalshi_platform_tests.queries import fetch, value
from kalshi_platform_tests.waiting import until


async def test_everything_that_was_sent_is_written(tmp_path: Path, gatherer_database: str) -> None:
    """Every message that the exchange handed over is a row, and nothing else is."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public)) as simulator:
        one = gatherer(gatherer_database, simulator.rest_url, simulator.ws_url, private)
        async with gathering(one):
            await until(lambda: simulator.ledger.trades > 200)
            simulator.stop_traffic()
            await until(lambda: asyncio.to_thread(_is_written, tmp_path, gatherer_database))
    verdict = Verdict(rows=Judge(tmp_path / "ledger.ndjson").rows(gatherer_database))
    assert verdict.is_exact, verdict


async def test_cut_connections_and_killed_writers_lose_only_what_nobody_heard(
    tmp_path: Path, gatherer_database: str
) -> None:
    """Sockets are cut and database sessions killed, again and again: nothing is invented."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public)) as simulator, Proxy(simulator.ws_url) as proxy:
        one = gatherer(gatherer_database, simulator.rest_url, proxy.ws_url, private)
        async with gathering(one):
            for round_number in range(1, 4):
                await until(lambda n=round_number: simulator.ledger.deltas > 1000 * n)
                await fetch(
                    gatherer_database,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'writer %' "
                    "AND datname = current_database()",
                )
                if round_number == 2:
                    proxy.cut()
            await until(lambda: proxy.accepted >= 12)
            before = simulator.ledger.deltas
            await until(lambda: simulator.ledger.deltas > before + 1000)
            simulator.stop_traffic()
    (deltas, trades, tickers) = Judge(tmp_path / "ledger.ndjson").rows(gatherer_database)
    assert (deltas.surplus, trades.surplus, tickers.surplus) == (0, 0, 0)
    assert deltas.missing < deltas.sent // 2
    assert deltas.kept > 1000


async def test_who_stops_in_the_middle_claims_no_more_than_it_heard(tmp_path: Path, gatherer_database: str) -> None:
    """The exchange sends on while sockets are closed: until its end each session has every change of its market."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public, rate=4000.0, close_market_seconds=0.0)) as simulator:
        one = gatherer(gatherer_database, simulator.rest_url, simulator.ws_url, private)
        async with gathering(one):
            await until(lambda: simulator.ledger.deltas > 4000)
        before = simulator.ledger.deltas
        await until(lambda: simulator.ledger.deltas > before + 200)
        simulator.stop_traffic()
    sessions = await fetch(
        gatherer_database, "SELECT ticker, started_at, ended_at FROM capture_sessions WHERE channel = 'orderbook_delta'"
    )
    kept = await fetch(
        gatherer_database, "SELECT exchange_ts, ticker, count(*) AS n FROM orderbook_deltas GROUP BY 1, 2"
    )
    held = {(us_from_datetime(row["exchange_ts"]) // 1000, row["ticker"]): row["n"] for row in kept}
    heard = {row["ticker"]: [us_from_datetime(row[name]) // 1000 for name in ("started_at", "ended_at")]
             for row in sessions}  # fmt: skip
    sent: Counter[tuple[int, str]] = Counter()
    with (tmp_path / "ledger.ndjson").open() as ledger:
        for line in filter(lambda line: line.startswith('{"kind":"delta"'), ledger):
            delta = json.loads(line)
            start_ms, end_ms = heard.get(delta["ticker"], (0, 0))
            if start_ms + 500 < delta["ts_ms"] < end_ms:
                sent[delta["ts_ms"], delta["ticker"]] += 1
    assert sum(sent.values()) > 1000
    assert not {key: number for key, number in sent.items() if held.get(key, 0) < number}


async def test_wrong_credentials_end_the_gatherer_in_plain_words(tmp_path: Path, gatherer_database: str) -> None:
    """A person must act; trying again for ever would help nobody."""
    _, public = keys(tmp_path)
    (tmp_path / "other").mkdir()
    stranger, _ = keys(tmp_path / "other")
    async with running(options(tmp_path, public)) as simulator:
        one = gatherer(gatherer_database, simulator.rest_url, simulator.ws_url, stranger)
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(one.run(asyncio.Event()), 30)
    assert caught.group_contains(ExchangeRefused)


async def test_books_are_checkpointed_and_new_markets_followed(tmp_path: Path, gatherer_database: str) -> None:
    """Every market has a checkpoint on a round second; one that opens meanwhile is followed without a restart."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public, markets=5, new_market_seconds=0.5)) as simulator:
        one = gatherer(gatherer_database, simulator.rest_url, simulator.ws_url, private)
        checkpointed = "SELECT count(DISTINCT ticker) >= 8 FROM orderbook_snapshots WHERE source = 'checkpoint'"
        async with gathering(one):
            await until(lambda: value(gatherer_database, checkpointed))
    odd = "SELECT count(*) FROM orderbook_snapshots WHERE source = 'checkpoint' AND snapshot_ts <> date_trunc('s', {0})"
    assert await value(gatherer_database, odd.format("snapshot_ts")) == 0


async def test_health_and_metrics_tell_the_state(tmp_path: Path, gatherer_database: str) -> None:
    """What an operator asks first."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public)) as simulator:
        port = _free_port()
        one = gatherer(gatherer_database, simulator.rest_url, simulator.ws_url, private, metrics_port=port)
        async with gathering(one), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await until(lambda: one.health()["healthy"] and simulator.ledger.trades > 20)
            health = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/health")
            assert health.status_code == 200
            assert health.json()["connections"]["orderbook-1"] is True
            metrics = (await client.get("/metrics")).text
    assert "kalshi_gatherer_markets_active 3" in metrics
    assert 'kalshi_gatherer_websocket_connections{role="orderbook",state="open"} 3.0' in metrics


def _is_written(folder: Path, database: str) -> bool:
    """Whether everything that was handed over is in the database."""
    return not sum(one.missing for one in Judge(folder / "ledger.ndjson").rows(database))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
