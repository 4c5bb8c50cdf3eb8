import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.simulator import running, serve
from kalshi_platform_tests.waiting import until, wait_until

PROGRAM = """
import json, sys
from pathlib import Path
from kalshi_platform.simulator import SimulatorOptions, run
paths = {name: Path(value) for name, value in json.loads(sys.argv[1]).items()}
run(SimulatorOptions(markets=5, rate=300, **paths))
"""


def last_line(path: Path) -> dict[str, Any]:
    """The last whole line of a ledger."""
    return json.loads(path.read_text().splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_process_of_its_own(tmp_path: Path) -> None:
    """It says where it listens, ends its traffic on SIGUSR1 and stays up, and ends in order within 2 s of SIGTERM."""
    ready, ledger = tmp_path / "ready", tmp_path / "ledger"
    paths = json.dumps({"ready_file": str(ready), "ledger": str(ledger)})
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, paths], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        assert (line["event"], line["markets"]) == ("ready", 5)
        assert line["rest_url"] == f"http://127.0.0.1:{int(ready.read_text())}/trade-api/v2"
        wait_until(lambda: ledger.exists() and '"delta"' in ledger.read_text())
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: last_line(ledger)["kind"] == "end")
        with urllib.request.urlopen(line["rest_url"] + "/exchange/status") as response:  # noqa: S310
            assert response.status == 200
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - started < 2
        assert process.stderr.read() == ""
        assert ledger.read_text().count('"end"') == 1
    finally:
        process.kill()
        process.wait()
        process.stderr and process.stderr.close()


async def test_traffic_ends_by_itself(options: Any, client: Any, tmp_path: Path) -> None:
    """After `seconds` the ledger is complete; connections stay."""
    ledger = tmp_path / "ledger"
    async with running(options(rate=500.0, seconds=0.2, ledger=ledger)) as simulator, client(simulator.ws_url) as me:
        await until(lambda: not simulator.is_trading)
        end = last_line(ledger)
        assert (end["kind"], end["deltas"]) == ("end", simulator.ledger.deltas)
        assert (await me.ask("list_subscriptions"))["msg"] == []


async def test_leaving_says_goodbye_and_completes_the_ledger(options: Any, client: Any, tmp_path: Path) -> None:
    """Clients are closed with 1001, the ledger gets its end, the port is free again."""
    ledger = tmp_path / "ledger"
    async with running(options(rate=500.0, ledger=ledger)) as simulator:
        connection = client(simulator.ws_url)
        me = await connection.__aenter__()
    await me.socket.wait_closed()
    assert me.socket.close_code == 1001
    await connection.__aexit__(None, None, None)
    assert last_line(ledger)["kind"] == "end"


async def test_serve_until_cancelled(options: Any, tmp_path: Path) -> None:
    """`serve` runs on a chosen port until its task is cancelled."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ready = tmp_path / "ready"
    task = asyncio.create_task(serve(options(port=port, ready_file=ready)))
    await until(ready.exists)
    assert int(ready.read_text()) == port
    assert os.listdir(tmp_path) == ["ready"]  # noqa: PTH208
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_failure_of_the_exchange_ends_the_block(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault inside the traffic is not swallowed: it ends the block and is what its owner sees."""

    async def run_into_a_fault() -> None:
        async with running(options(rate=500.0)) as simulator:
            monkeypatch.setattr(simulator.exchange, "step", lambda _: 1 // 0)
            await asyncio.Event().wait()

    with pytest.raises(ZeroDivisionError):
        await run_into_a_fault()
