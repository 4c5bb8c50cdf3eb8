"""A client that was written by others talks to the simulator: the protocol is not just our own reading of it.

Its interpreter is named by KALSHI_TEST_INDEPENDENT_PYTHON, or is this one where `pykalshi` can be imported.
"""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.simulator import SimulatorOptions, running, write_key_pair
from kalshi_platform_tests.waiting import until

FOLDER = Path(__file__).parent


def interpreter(library: str) -> str:
    """Who runs the client; skips where nobody can."""
    named = os.environ.get("KALSHI_TEST_INDEPENDENT_PYTHON")
    if named:
        found = subprocess.run([named, "-c", f"import {library}"], capture_output=True, check=False)
        if found.returncode:
            pytest.skip(f"{named} has no {library}")
        return named
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}: install it, or name a Python that has it in KALSHI_TEST_INDEPENDENT_PYTHON")
    return sys.executable


async def report(python: str, client: str, *arguments: str) -> tuple[dict[str, Any], str]:
    """What the client saw, and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        python, str(FOLDER / client), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(output), errors.decode()


@pytest.mark.slow
async def test_pykalshi_lists_reads_and_streams(tmp_path: Path) -> None:
    """Markets, one book, and every message of three channels parsed by the library's own models."""
    python = interpreter("pykalshi")
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    write_key_pair(private, public)
    options = SimulatorOptions(markets=30, rate=500.0, keys={"key-1": public})
    async with running(options) as simulator:
        seen, errors = await report(python, "client.py", simulator.rest_url, simulator.ws_url, "key-1", str(private))
    sys.stdout.write(f"pykalshi {seen['version']} saw {len(seen['markets'])} markets and {seen['stream']}\n")
    assert len(seen["markets"]) == 20
    assert all(ticker.startswith("KX") for ticker in seen["markets"])
    assert seen["book"]
    stream = seen["stream"]
    assert "raw" not in stream, errors
    assert stream["snapshot"] >= 5
    assert stream["delta"] >= 50
    assert stream["trade"] >= 5
    assert stream["ticker"] >= 20


@pytest.mark.slow
async def test_the_official_sdk_reads_every_public_endpoint(tmp_path: Path) -> None:
    """Its models are generated from the exchange's own description, and refuse what does not fit."""
    python = interpreter("kalshi_python_async")
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    write_key_pair(private, public)
    options = SimulatorOptions(
        markets=30, rate=5000.0, keys={"key-1": public}, change_market_seconds=0.02, new_combo_seconds=0.1
    )
    async with running(options) as simulator:
        catalogue = simulator.exchange.catalogue
        await until(lambda: simulator.ledger.trades >= 100 and catalogue.fee_changes and catalogue.combo_events)
        seen, _ = await report(
            python, "official_client.py", simulator.rest_url, simulator.ws_url, "key-1", str(private)
        )
        paid = simulator.rest.gate.limits.buckets["key-1"].granted
    sys.stdout.write(f"the official SDK {seen['version']} saw {seen}\n")
    assert len(seen["markets"]) == seen["books"] == 20
    assert seen["book"]["orderbook_fp"].keys() == {"yes_dollars", "no_dollars"}
    assert seen["trades"] == seen["targets"] == seen["milestones"] == 5
    assert seen["events"] == [5, 5, 5]
    assert seen["faces"] == len(seen["of_event"]) == 5
    assert seen["event_fee_changes"] > 0
    assert seen["combos"] > 0
    assert seen["active"] is True
    assert seen["limits"] == "basic"
    assert paid >= 24, "every request was signed, and the signature accepted"
