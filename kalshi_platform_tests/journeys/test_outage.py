"""The database goes away, and the gatherer is killed meanwhile: what had been received comes back, in order, once.

Real PostgreSQL, stopped and started; real simulator and gatherer, each a process. Judged by the spool's file, read
with nothing of ours, and by the simulator's ledger. `KALSHI_FULL=1` runs it at full length: 60 s at 5,000 messages/s.
"""

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, TICKERS, TRADES, Home, Table
from kalshi_platform.database.migrations import migrate
from kalshi_platform.simulator import write_key_pair
from kalshi_platform.tools.children import Child, plain_environment, platform_command
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform_tests.queries import fetch
from kalshi_platform_tests.waiting import wait_until

pytestmark = pytest.mark.slow

_log = logging.getLogger(__name__)

_TABLES = (TRADES, ORDERBOOK_DELTAS, TICKERS)
_FULL = pytest.mark.skipif(not os.environ.get("KALSHI_FULL"), reason="takes two minutes; set KALSHI_FULL=1")


@dataclass
class World:
    """What takes part."""

    folder: Path
    server: EmbeddedPostgres
    simulator: Child
    gatherer: Child
    metrics: str

    def spooled(self) -> int:
        """Rows on disk, as the gatherer's metrics say; -1 while nobody answers."""
        with suppress(httpx.HTTPError):
            found = re.findall(
                r"^kalshi_gatherer_spooled_rows\{.*\} (\S+)$", httpx.get(self.metrics).text, re.MULTILINE
            )
            return int(sum(map(float, found))) if found else -1
        return -1

    def metric(self, pattern: str) -> float:
        """The sum of the samples that match."""
        return sum(map(float, re.findall(rf"^{pattern} (\S+)$", httpx.get(self.metrics).text, re.MULTILINE)))

    def count(self, table: Table) -> int:
        """Rows in the database."""
        (found,) = asyncio.run(fetch(self.server.url("kalshi"), f"SELECT count(*) AS n FROM {table.name}"))  # noqa: S608
        return int(found["n"])


@pytest.mark.parametrize(("rate", "seconds"), [(1500, 8), pytest.param(5000, 60, marks=_FULL)])
def test_what_was_spooled_before_a_kill_is_written_in_order_once(folder: Path, rate: int, seconds: int) -> None:
    """No row that lay in the spool is missing, doubled or out of order, and nothing was lost before it."""
    with _world(folder, rate) as world:
        wait_until(lambda: world.count(ORDERBOOK_DELTAS) > rate)
        world.server.stop()
        wait_until(lambda: world.spooled() > 0)
        time.sleep(seconds)  # the outage itself
        assert world.metric(r"kalshi_gatherer_back_pressure\{.*\}") == 0
        world.gatherer.send(signal.SIGKILL)
        wait_until(lambda: not world.gatherer.is_running)
        spooled = _left_in_the_spool(world)
        assert sum(map(len, spooled.values())) > rate * seconds * 0.8
        world.gatherer.start()
        wait_until(lambda: world.spooled() > sum(map(len, spooled.values())))  # it goes on without its database
        lay, returned = world.spooled(), time.monotonic()
        world.server.start()
        wait_until(lambda: world.spooled() == 0 and world.count(ORDERBOOK_DELTAS) > len(spooled[ORDERBOOK_DELTAS.name]))
        _log.info("%d rows lay in the spool at the kill, %d when the database came back; they were written in %.1f s",
                  sum(map(len, spooled.values())), lay, time.monotonic() - returned)  # fmt: skip
        world.simulator.send(signal.SIGUSR1)
        world.gatherer.stop(45)
        for table in _TABLES:
            _check_spooled(world, table, spooled[table.name])
        _check_against_the_ledger(world, spooled[ORDERBOOK_DELTAS.name])


def _left_in_the_spool(world: World) -> dict[str, list[dict[str, Any]]]:
    """Every row of the spool's file, in order, from a copy: opening it changes it."""
    copy = world.folder / "copy"
    shutil.copytree(world.folder / "spool" / "gatherer-1", copy)
    rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in _TABLES}
    database = sqlite3.connect(copy / "spool.sqlite")
    batches = "SELECT table_name, layout, data FROM batches ORDER BY id"
    for name, layout, data in database.execute(batches):
        named = [dict(zip(layout.split(","), row, strict=True)) for row in msgspec.msgpack.decode(data)]
        rows.setdefault(name, []).extend(named)
    database.close()
    return rows


def _check_spooled(world: World, table: Table, spooled: list[dict[str, Any]]) -> None:
    """Each spooled row stands in the database, and transactions brought them in the order of the spool."""
    times = [f"(extract(epoch FROM {table.key[0]}) * 1000000)::bigint AS {table.key[0]}"]
    texts = [f"{name}::text AS {name}" if name == "trade_id" else name for name in table.key[1:]]
    query = f"SELECT ingest_xid::text::bigint AS xid, {', '.join(times + texts)} FROM {table.name}"  # noqa: S608
    found = asyncio.run(fetch(world.server.url("kalshi"), query))
    written = {tuple(row[name] for name in table.key): row["xid"] for row in found}
    keys = [tuple(row[name] for name in table.key) for row in spooled]
    assert spooled
    assert len(set(keys)) == len(keys)
    assert [key for key in keys if key not in written] == []
    transactions = [written[key] for key in keys]
    assert transactions == sorted(transactions)


def _check_against_the_ledger(world: World, spooled: list[dict[str, Any]]) -> None:
    """What the exchange sent until just before the last spooled change is there as often as it was sent."""
    query = (
        "SELECT (extract(epoch FROM exchange_ts) * 1000)::bigint AS ms, ticker, side, price, size_delta "
        "FROM orderbook_deltas"
    )
    kept = Counter(tuple(row.values()) for row in asyncio.run(fetch(world.server.url("kalshi"), query)))
    first = min(row[0] for row in kept)
    last = spooled[-1]["exchange_ts"] // 1000 - 1000  # at the kill, one connection may have been read before the other
    sent: Counter[tuple[Any, ...]] = Counter()
    with (world.folder / "ledger.ndjson").open() as ledger:
        for line in ledger:
            one = json.loads(line)
            if one["kind"] == "delta" and one["recipients"]:
                price, size = round(float(one["price"]) * 10**6), round(float(one["delta"]) * 100)
                sent[one["ts_ms"], one["ticker"], one["side"] == "yes", price, size] += 1
    assert not kept - sent
    missing = [change for change in (sent - kept) if first < change[0] < last]
    assert missing == [], (first, last)
    assert sum(number for change, number in sent.items() if first < change[0] < last) > 0.8 * len(spooled)


@contextmanager
def _world(folder: Path, rate: int) -> Iterator[World]:
    """Database, exchange and gatherer at work; nothing of them outlives the block."""
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres(folder / "postgres", _free_port()))
        server.create_database("kalshi")
        migrate(server.url("kalshi"), Home.GATHERER)
        simulator, address = _simulator(folder, rate)
        stack.callback(simulator.stop)
        port = _free_port()
        environment = {
            "KALSHI_REST_URL": f"http://{address}/trade-api/v2",
            "KALSHI_WS_URL": f"ws://{address}/trade-api/ws/v2",
            "KALSHI_API_KEY_ID": "key-1",
            "KALSHI_PRIVATE_KEY_PATH": str(folder / "private.pem"),
            "KALSHI_GATHERER_DATABASE_URL": server.url("kalshi"),
            "KALSHI_SPOOL_DIRECTORY": str(folder / "spool"),
            "KALSHI_METRICS_PORT": str(port),
            **{f"KALSHI_{role}_CONNECTIONS": "1" for role in ("TICKER", "TRADE", "LIFECYCLE")},
            "KALSHI_ORDERBOOK_CONNECTIONS": "2",
        }
        gatherer = Child("gatherer", platform_command("gather"), plain_environment(**environment), folder)
        gatherer.start()
        stack.callback(gatherer.stop)
        yield World(folder, server, simulator, gatherer, f"http://127.0.0.1:{port}/metrics")


def _simulator(folder: Path, rate: int) -> tuple[Child, str]:
    write_key_pair(folder / "private.pem", folder / "public.pem")
    ready = folder / "port"
    arguments = ["simulate", "--port", "0", "--markets", "60", "--rate", str(rate), "--ready-file", str(ready)]
    arguments += ["--ledger", str(folder / "ledger.ndjson"), "--key", f"key-1={folder / 'public.pem'}"]
    arguments += ["--new-market-seconds", "0", "--close-market-seconds", "0"]
    simulator = Child("simulator", platform_command(*arguments), plain_environment(), folder, may_restart=False)
    simulator.start()
    wait_until(ready.exists)
    return simulator, f"127.0.0.1:{ready.read_text().strip()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
