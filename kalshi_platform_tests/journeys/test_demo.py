"""The whole path as a person runs it: `kalshi-platform demo`, and what happens to it on the way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.slow

_GATHERERS = {"gatherer-1", "gatherer-2", "gatherer-3"}
_FAMILY = {*_GATHERERS, "simulator", "deduplicator", *(f"database of {name}" for name in (*_GATHERERS, "production"))}


@contextmanager
def _demo(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A running demo; whatever happens, nothing of it outlives the block."""
    command = [sys.executable, "-m", "kalshi_platform.cli", "demo", "--folder", str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _pids(folder: Path) -> dict[str, int]:
    with suppress(FileNotFoundError):
        return dict(json.loads((folder / "processes.json").read_text()))
    return {}


def _is_running(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]", seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _has_captured(folder: Path, kilobytes: int) -> Callable[[], bool]:
    ledger = folder / "ledger.ndjson"
    return lambda: ledger.exists() and ledger.stat().st_size > kilobytes * 1024


def test_killed_daemons_cost_nothing(folder: Path) -> None:
    """`kill -9` of one gatherer and of the deduplicator in the middle: after their restart the verdict is exact."""
    with _demo(folder, "--no-dagster", "--seconds", "20", "--rate", "600", "--markets", "80") as demo:
        _wait_for(lambda: set(_pids(folder)) == _FAMILY, demo)
        _wait_for(_has_captured(folder, 600), demo)
        first = _pids(folder)
        os.kill(first["gatherer-2"], signal.SIGKILL)
        os.kill(first["deduplicator"], signal.SIGKILL)
        _wait_for(lambda: _pids(folder)["gatherer-2"] != first["gatherer-2"], demo)
        _wait_for(lambda: _pids(folder)["deduplicator"] != first["deduplicator"], demo)
        output, _ = demo.communicate(timeout=180)
        assert demo.returncode == 0, output
    assert "verdict: exact" in output
    assert "gatherer-2 died and was started again" in output
    assert not any(_is_running(pid) for pid in _pids(folder).values())
    assert len(list((folder / "lake").rglob("*.parquet"))) >= 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_demo_leaves_nothing_running(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C stops everything in order; even a killed demo takes its children along."""
    with _demo(folder, "--no-dagster", "--seconds", "600", "--markets", "20") as demo:
        _wait_for(lambda: set(_pids(folder)) == _FAMILY, demo)
        _wait_for(_has_captured(folder, 50), demo)
        family = list(_pids(folder).values())
        assert all(_is_running(pid) for pid in family)
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == (130 if number is signal.SIGINT else -number)
    deadline = time.monotonic() + 30
    while any(_is_running(pid) and not _is_zombie(pid) for pid in family):
        assert time.monotonic() < deadline, output
        time.sleep(0.1)
    assert (folder / "ledger.ndjson").exists()


def test_dagster_opens_on_what_was_captured(folder: Path) -> None:
    """The UI is up with the code location loaded, and Ctrl-C takes it down with the rest."""
    with _demo(folder, "--seconds", "5", "--markets", "20") as demo:
        assert demo.stdout is not None
        shown = ""
        while not (address := re.search(r"Dagster: (http://127\.0\.0\.1:\d+)", shown)):
            line = demo.stdout.readline()
            assert line, shown
            shown += line
        assert "verdict: exact" in shown
        query = "{ assetNodes { assetKey { path } } }"
        answer = httpx.post(f"{address[1]}/graphql", json={"query": query}, timeout=30).json()
        assets = {"/".join(node["assetKey"]["path"]) for node in answer["data"]["assetNodes"]}
        assert {"production/trades", "raw/trades", "raw/orderbook_deltas"} <= assets
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(address[1])


def test_the_live_demo_is_judged_by_the_union(folder: Path) -> None:
    """`--live` captures whatever exchange the settings name; here one of our own, run by hand."""
    ready, key = folder / "port", folder / "simulator-private.pem"
    simulate = [sys.executable, "-m", "kalshi_platform.cli", "simulate", "--port", "0", "--rate", "300"]
    with subprocess.Popen([*simulate, "--ready-file", str(ready)], cwd=folder, stdout=subprocess.DEVNULL) as exchange:
        try:
            _wait_for(ready.exists, exchange)  # type: ignore[arg-type]
            port = ready.read_text().strip()
            environment = {
                **os.environ,
                "KALSHI_REST_URL": f"http://127.0.0.1:{port}/trade-api/v2",
                "KALSHI_WS_URL": f"ws://127.0.0.1:{port}/trade-api/ws/v2",
                "KALSHI_API_KEY_ID": "simulator",
                "KALSHI_PRIVATE_KEY_PATH": str(key),
            }
            demo = [sys.executable, "-m", "kalshi_platform.cli", "demo", "--live", "--no-dagster", "--seconds", "8"]
            done = subprocess.run(
                [*demo, "--folder", str(folder / "demo")],
                env=environment, capture_output=True, text=True, timeout=180, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
        finally:
            exchange.terminate()
    assert "verdict: exact" in done.stdout
    assert not any("ledger" in path.name for path in (folder / "demo").iterdir())


def _is_zombie(pid: int) -> bool:
    """Ended, but not yet collected by whoever inherited it: in some containers nobody does."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
