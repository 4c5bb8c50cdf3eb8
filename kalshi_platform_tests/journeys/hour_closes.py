"""An hour of a running platform closes, and nobody lends a hand.

Run by hand, because it waits for an hour's turn:

    .venv/bin/python -m kalshi_platform_tests.journeys.hour_closes [--gap] [--turn-in SECONDS]

Starts simulator, three gatherers, deduplicator and `dagster dev` with its sensors; says when the hour's files were
there and what each check found. With `--gap` all gatherers are killed for some seconds within the hour: what is
repaired and what is not is then read off Dagster. With `--turn-in` every process, databases included, has a clock that
is ahead, so that the hour turns that soon (`clock_ahead.c`, which needs gcc). Ends with 1 where something is wrong.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.tools import children, dagster_ui, embedded_postgres
from kalshi_platform.tools.local_stack import GATHERERS, LocalStack, StackOptions
from kalshi_platform_tests.queries import fetch

HOUR = timedelta(hours=1)
_CLOCK = ("LD_PRELOAD", "KALSHI_CLOCK_AHEAD")
_CHECKS = """
{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name
  executionForLatestMaterialization { status evaluation { success severity description } } } } } } }
"""
_RUNS = """
{ runsOrError(filter: {pipelineName: "repair"}) { ... on Runs { results { runId status } } } }
"""
_SAID = """
{ assetOrError(assetKey: {path: ["production", "uncovered_intervals"]}) {
  ... on Asset { assetObservations(limit: 20) { description } } } }
"""

_BEGAN = "SELECT min(started_at) FROM capture_sessions WHERE channel = 'trade'"


def main() -> int:
    """Run the journey; 0 where all is as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gap", action="store_true", help="kill all gatherers for some seconds within the hour")
    parser.add_argument("--turn-in", type=int, default=0, help="set the clocks ahead: the hour turns so soon")
    wanted = parser.parse_args()
    if wanted.turn_in and "KALSHI_CLOCK_AHEAD" not in os.environ:
        return _ahead(wanted.turn_in)
    _share_the_clock()
    with tempfile.TemporaryDirectory(prefix="kalshi-hour-") as name:
        Path(name).chmod(0o711)
        options = StackOptions(Path(name) / "stack", markets=60, rate=300, checkpoint_seconds=10)
        with LocalStack(options) as stack:
            for step in stack.start():
                _say(f"starting {step}")
            port = stack.free_port()
            dagster = dagster_ui._dagster(stack, port)
            dagster.start()
            try:
                dagster_ui._wait_loaded(dagster, f"http://127.0.0.1:{port}")
                return _Journey(stack, f"http://127.0.0.1:{port}").run(with_gap=wanted.gap)
            finally:
                dagster.stop(30)


def _ahead(turn_in: int) -> int:
    """Run this again with a clock that is ahead."""
    seconds = int(time.time())
    ahead = (-(seconds + turn_in)) % 3600
    with tempfile.TemporaryDirectory(prefix="kalshi-clock-") as name:
        library = Path(name) / "clock_ahead.so"
        Path(name).chmod(0o755)
        source = Path(__file__).with_name("clock_ahead.c")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        clock = {"KALSHI_CLOCK_AHEAD": str(ahead), "LD_PRELOAD": str(library)}
        command = [sys.executable, "-m", "kalshi_platform_tests.journeys.hour_closes", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, **clock}, check=False).returncode


def _share_the_clock() -> None:
    """Children get a bare environment; a clock that was set for us must be theirs too."""
    clock = {name: os.environ[name] for name in _CLOCK if name in os.environ}
    launch = children.launch

    def launched(command: Any, log: Any, environment: Mapping[str, str], *rest: Any) -> Any:
        return launch(command, log, {**environment, **clock}, *rest)

    children.launch = launched
    embedded_postgres.launch = launched  # type: ignore[attr-defined] # its own name for the same


def _is_busy() -> bool:
    """Whether others have more to do here than there are cores: seconds mean nothing then."""
    return os.getloadavg()[0] > 2 * (os.cpu_count() or 1)


def _say(text: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
    sys.stdout.flush()


class _Journey:
    """One running platform, watched over one turn of the hour."""

    def __init__(self, stack: LocalStack, dagster: str) -> None:
        self._stack = stack
        self._dagster = dagster
        self._lake = Lake(stack.lake)
        self._is_right = True

    def run(self, *, with_gap: bool) -> int:
        """Wait for the turn, then for what must follow from it."""
        now = datetime.now(UTC)
        turn = now.replace(minute=0, second=0, microsecond=0) + HOUR
        _say(f"all is up; the hour turns in {(turn - now).seconds} s")
        if with_gap:
            self._until(lambda: datetime.now(UTC) > turn - timedelta(seconds=60), 3700, "a minute before the turn")
            self._gap()
        self._until(lambda: datetime.now(UTC) > turn, 3700, "the turn")
        self._until(lambda: self._has_files(turn), 900, "the hour's files")
        _say(f"every table's file reaches to the turn: {self._since(turn):.0f} s after it")
        self._require(self._since(turn) < 120 or _is_busy(), "files are there within two minutes")
        self._until(lambda: all(self._checks().values()), 900, "the hour's checks")
        self._tell_checks(turn, with_gap=with_gap)
        if with_gap:
            self._tell_repair(turn)
        return 0 if self._is_right else 1

    def _gap(self) -> None:
        _say("killing all three gatherers")
        pids = json.loads((self._stack.folder / "processes.json").read_text())
        for name in GATHERERS:
            os.kill(pids[name], signal.SIGKILL)
        time.sleep(8)  # the gap itself: nobody listens
        _say(f"started again: {', '.join(self._stack.keep_running())}")

    def _has_files(self, turn: datetime) -> bool:
        for table in STREAM_TABLES:
            dataset = RAW[table.name]
            footer = read_footer(self._lake, dataset, dataset.period.floor(turn - HOUR))
            if footer is None or footer.window_end < turn:
                return False
        return True

    def _checks(self) -> dict[str, Any]:
        found = {}
        for node in self._ask(_CHECKS)["assetNodes"]:
            path = node["assetKey"]["path"]
            if path[0] == "raw" and path[1] in RAW and path[1] in {table.name for table in STREAM_TABLES}:
                for check in node["assetChecksOrError"]["checks"]:
                    latest = check["executionForLatestMaterialization"]
                    found[f"{'/'.join(path)}:{check['name']}"] = latest and latest["evaluation"]
        return found

    def _tell_checks(self, turn: datetime, *, with_gap: bool) -> None:
        checks = self._checks()
        red = {name: found for name, found in checks.items() if not found["success"]}
        _say(f"{len(checks)} checks ran, {len(red)} are red: {self._since(turn):.0f} s after the turn")
        for name, found in red.items():
            _say(f"  {name}: {found['severity']}: {found['description']}")
        expected = {name for name in checks if name.endswith(":coverage")} if with_gap else set()
        # the first sync of markets is due at the turn itself: until it has ended no grid is known
        expected |= {name for name, found in red.items() if "nothing was looked at" in found["description"]}
        self._require(set(red) <= expected, "checks are green but for coverage after a gap")

    def _tell_repair(self, turn: datetime) -> None:
        def finished() -> bool:
            runs = self._ask(_RUNS)["runsOrError"]["results"]
            return len(runs) >= 2 and all(run["status"] in ("SUCCESS", "FAILURE") for run in runs)

        self._until(finished, 900, "repair runs")
        runs = self._ask(_RUNS)["runsOrError"]["results"]
        _say(f"repair runs: {', '.join(run['status'] for run in runs)}: {self._since(turn):.0f} s after the turn")
        for one in self._ask(_SAID)["assetOrError"]["assetObservations"]:
            _say(f"  {one['description']}")
        self._require(all(run["status"] == "SUCCESS" for run in runs), "repair runs succeed")
        lines = map(json.loads, (self._stack.folder / "ledger.ndjson").read_text().splitlines()[:-1])
        ((began,),) = asyncio.run(fetch(self._stack.production_url(), _BEGAN))  # before it nobody could miss anything
        since, until = (int(moment.timestamp() * 1000) for moment in (began, turn))
        sold = {one["trade_id"] for one in lines if one.get("kind") == "trade" and since <= one["ts_ms"] < until}
        rows = asyncio.run(fetch(self._stack.production_url(), "SELECT trade_id::text AS id FROM trades"))
        missing = sold - {row["id"] for row in rows}
        _say(
            f"trades from the first that could be heard to the turn: {len(sold)}; missing in production: {len(missing)}"
        )
        self._require(not missing, "every trade is in production")

    def _require(self, is_so: bool, what: str) -> None:
        _say(f"{'yes' if is_so else 'NO '}: {what}")
        self._is_right &= is_so

    def _since(self, turn: datetime) -> float:
        return (datetime.now(UTC) - turn).total_seconds()

    def _ask(self, query: str) -> dict[str, Any]:
        answer = httpx.post(f"{self._dagster}/graphql", json={"query": query}, timeout=60).raise_for_status().json()
        return dict(answer["data"])

    def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                _say(f"NO : {what} did not come; {self._checks()}")
                raise SystemExit(1)
            self._stack.keep_running()
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
