"""`kalshi-platform public-demo` against the simulator: pictures, JSON, its own exchange, and none at all."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from kalshi_platform.core.errors import ConfigurationError, ExchangeUnavailable
from kalshi_platform.simulator import SimulatorOptions, running
from kalshi_platform.tools.public_demo import public_demo

QUIET = SimulatorOptions(markets=40, rate=0.0, new_market_seconds=0.0, close_market_seconds=0.0)


async def _show(url: str, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kalshi_platform.cli", "public-demo", *arguments,
        env={**os.environ, "KALSHI_REST_URL": url, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        shown, told = await process.communicate()
    return process.returncode, shown.decode(), told.decode()


async def test_from_a_series_to_a_book() -> None:
    """Everything that the exchange says of them, within 80 columns, without colour or a key."""
    async with running(QUIET) as simulator:
        market = simulator.exchange.catalogue.markets_in_order[3]
        event = simulator.exchange.catalogue.events[market.listing.event_ticker]
        code, shown, told = await _show(simulator.rest_url, "--series", event.series_ticker, "--market", market.ticker)
        assert (code, told) == (0, "")
        lines = shown.splitlines()
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in shown
        for expected in (f"series {event.series_ticker}", "markets:", market.ticker, "yes bid", "█"):
            assert expected in shown
        code, shown, _ = await _show(simulator.rest_url, "--series", event.series_ticker, "--json")
        said = json.loads(shown)
        assert said["series"]["ticker"] == event.series_ticker
        assert said["orderbook"]["ticker"] == said["market"]
        assert said["orderbook"]["yes_dollars"]


async def test_what_is_not_there() -> None:
    """Named, with what would help; a market of another series too."""
    async with running(QUIET) as simulator:
        with pytest.raises(ConfigurationError, match="no series KXNOBODY; --series names another"):
            await public_demo(simulator.rest_url, "KXNOBODY", None, simulate=False, as_json=True)
        series = simulator.exchange.catalogue.events_in_order[0].series_ticker
        with pytest.raises(ConfigurationError, match=r"no open market of .* is called KXNOBODY-1: KX"):
            await public_demo(simulator.rest_url, series, "KXNOBODY-1", simulate=False, as_json=True)
    with pytest.raises(ExchangeUnavailable, match="public-demo --simulate"):
        await public_demo("http://127.0.0.1:1/trade-api/v2", series, None, simulate=False, as_json=True)


async def test_an_exchange_of_its_own(tmp_path: Path) -> None:
    """Nothing is asked of the one in the settings; no process is left behind, nor a file."""
    code, shown, told = await _show("http://127.0.0.1:1/trade-api/v2", "--simulate", "--json")
    assert code == 0, told
    assert "has no series KXHIGHNY: this is its KXSIM000" in told
    assert json.loads(shown)["series"]["ticker"] == "KXSIM000"
