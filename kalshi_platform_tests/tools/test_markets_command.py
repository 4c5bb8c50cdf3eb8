"""`kalshi-platform markets` as a process against the simulator: tables, JSON lines, files, outages and kills."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.simulator import Simulator, SimulatorOptions, running, write_key_pair
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.waiting import until

KEY_ID = "key-1"


@asynccontextmanager
async def exchange(folder: Path, markets: int, rest: RestOptions | None = None) -> AsyncIterator[Simulator]:
    """A quiet exchange that knows one key."""
    write_key_pair(folder / "private.pem", folder / "public.pem", "ed25519")
    chosen = SimulatorOptions(
        markets=markets, rate=0.0, new_market_seconds=0.0, close_market_seconds=0.0,
        keys={KEY_ID: folder / "public.pem"}, rest=rest or RestOptions(),
    )  # fmt: skip
    async with running(chosen) as simulator:
        yield simulator


async def start(url: str, folder: Path, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
    """The command as a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KALSHI_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kalshi_platform.cli", "markets", *arguments,
        cwd=folder, env=environment | {"KALSHI_REST_URL": url} | settings,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip


async def run(url: str, folder: Path, *arguments: str, code: int = 0, **settings: str) -> tuple[str, str]:
    """What it says on standard output and error, when it ends as expected."""
    process = await start(url, folder, *arguments, **settings)
    async with asyncio.timeout(120):
        output, errors = await process.communicate()
    assert process.returncode == code, errors.decode()
    assert b"Traceback" not in errors
    return output.decode(), errors.decode()


def names(text: str) -> list[str]:
    """The tickers of JSON lines."""
    return [json.loads(line)["ticker"] for line in text.splitlines()]


async def test_a_table_and_json_lines(tmp_path: Path) -> None:
    """The same markets either way, filters included; JSON is what the exchange sent; progress is told apart."""
    async with exchange(tmp_path, 57) as simulator:
        catalogue = simulator.exchange.catalogue
        catalogue.touch(5).status = Status.CLOSED
        expected = [one.ticker for one in catalogue.markets_in_order if one.status is Status.ACTIVE]
        table, progress = await run(simulator.rest_url, tmp_path)
        assert [line.split()[0] for line in table.splitlines()] == ["ticker", *expected]
        assert "56 rows, 1 pages" in progress
        lines, _ = await run(simulator.rest_url, tmp_path, "--json")
        assert names(lines) == expected
        first = json.loads(lines.splitlines()[0])
        assert (first["floor_strike"], first["price_ranges"][0].keys()) == (10.5, {"start", "end", "step"})
        event = catalogue.events_in_order[1]
        few, _ = await run(simulator.rest_url, tmp_path, "--json", "--status", "all", "--event", event.ticker)
        assert names(few) == [one.ticker for one in catalogue.markets_by_event[event.ticker]]
        none, _ = await run(simulator.rest_url, tmp_path, "--json", "--series", "KXNOBODY")
        assert none == ""


async def test_a_narrow_terminal(tmp_path: Path) -> None:
    """No line wraps in 80 columns: the ticker, prices, volume and when it closes."""
    async with exchange(tmp_path, 5) as simulator:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kalshi_platform.cli", "markets", stdout=theirs, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KALSHI_REST_URL": simulator.rest_url, "COLUMNS": "80", "TERM": "dumb"},
        )  # fmt: skip
        os.close(theirs)
        async with asyncio.timeout(60):
            await process.communicate()
        lines = os.read(ours, 65_536).decode().splitlines()
        os.close(ours)
    assert lines[0].split() == ["ticker", "bid", "ask", "last", "volume", "24h", "closes"]
    assert len(lines) == 6
    assert max(map(len, lines)) <= 80


async def test_a_key_is_used_where_there_is_one(tmp_path: Path) -> None:
    """Signed requests are billed to it; one that cannot be read, or a wrong one, is said plainly."""
    async with exchange(tmp_path, 57) as simulator:
        key = {"KALSHI_API_KEY_ID": KEY_ID, "KALSHI_PRIVATE_KEY_PATH": str(tmp_path / "private.pem")}
        await run(simulator.rest_url, tmp_path, "--json", **key)
        assert simulator.rest.gate.limits.buckets[KEY_ID].granted == 3
        _, errors = await run(simulator.rest_url, tmp_path, code=2, **(key | {"KALSHI_API_KEY_ID": "stranger"}))
        assert "NOT_FOUND" in errors
        _, errors = await run(simulator.rest_url, tmp_path, code=2, KALSHI_API_KEY_ID=KEY_ID)
        assert "KALSHI_PRIVATE_KEY_PATH is not set" in errors


async def test_a_file_begun_with_other_filters_is_not_mixed(tmp_path: Path) -> None:
    """Nor is a folder that does not exist made."""
    async with exchange(tmp_path, 57) as simulator:
        (tmp_path / "m.ndjson.part").write_text("")
        saved: dict[str, Any] = {"filters": "others", "size": 0, "rows": 0, "cursor": "x"}
        (tmp_path / "m.ndjson.walk").write_text(json.dumps(saved))
        _, errors = await run(simulator.rest_url, tmp_path, "--output", "m.ndjson", code=2)
        assert "begun with other filters" in errors
        _, errors = await run(simulator.rest_url, tmp_path, "--output", "absent/m.ndjson", code=2)
        assert "cannot write absent/m.ndjson.part" in errors


@pytest.mark.slow
async def test_fifty_thousand_markets_through_outages(tmp_path: Path) -> None:
    """Single 503s and an outage longer than one request's patience: each market once, in order."""
    failures = {7: 503, 20: 500, 30: 429} | dict.fromkeys(range(40, 46), 503)
    async with exchange(tmp_path, 50_000, RestOptions(failures=failures)) as simulator:
        lines, errors = await run(simulator.rest_url, tmp_path, "--json")
        assert names(lines) == list(simulator.exchange.catalogue.markets)
        assert simulator.rest.gate.requests == 50 + len(failures)
        assert "trying again in" in errors
        assert "50,000 rows, 50 pages" in errors


@pytest.mark.slow
async def test_a_killed_walk_into_a_file_goes_on(tmp_path: Path) -> None:
    """Killed with -9 in the middle; the second run asks for the rest only, and the file is whole."""
    slow = RestOptions(tier="basic", endpoint_costs={"/markets": 80})
    async with exchange(tmp_path, 10_000, slow) as simulator:
        key = {"KALSHI_API_KEY_ID": KEY_ID, "KALSHI_PRIVATE_KEY_PATH": str(tmp_path / "private.pem")}
        process = await start(simulator.rest_url, tmp_path, "--output", "m.ndjson", **key)
        walk = tmp_path / "m.ndjson.walk"
        await until(lambda: walk.exists() and json.loads(walk.read_text())["rows"] >= 3000)
        process.kill()
        await process.communicate()
        assert not (tmp_path / "m.ndjson").exists()
        with (tmp_path / "m.ndjson.part").open("ab") as file:
            file.write(b'{"ticker": "KXHALF')
        saved = json.loads(walk.read_text())["rows"]
        before = simulator.rest.gate.requests
        _, errors = await run(simulator.rest_url, tmp_path, "--output", "m.ndjson", **key)
        left = 2 + (10_000 - saved) // 1000
        assert simulator.rest.gate.requests - before in (left, left + 1), "limits, costs, what was left; one on the way"
        assert names((tmp_path / "m.ndjson").read_text()) == list(simulator.exchange.catalogue.markets)
        assert "10,000 rows" in errors
        assert not any((tmp_path / name).exists() for name in ("m.ndjson.part", "m.ndjson.walk"))


@pytest.mark.slow
async def test_an_exchange_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """A wrong address is told within seconds, however patient one is with outages."""
    _, errors = await run("http://127.0.0.1:1/trade-api/v2", tmp_path, "--patience", "1000", code=1)
    assert "GET /markets" in errors
