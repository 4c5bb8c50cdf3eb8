import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml
from dagster import DagsterInstance
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.instance.ref import InstanceRef
from dagster_aws.ecs import EcsRunLauncher

ROOT = Path(__file__).parents[2]
DAGSTER = Path(sys.executable).with_name("dagster")
DEADLINE_SECONDS = 120
LOCATIONS = "{workspaceOrError{... on Workspace{locationEntries{name locationOrLoadError{__typename}}}}}"


@pytest.fixture
def environment() -> dict[str, str]:
    """Nearly that of a fresh clone: no home for Dagster, no database, whatever a developer's `.env` says."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "KALSHI_"))}
    return inherited | {"KALSHI_PRODUCTION_DATABASE_URL": ""}


def test_both_files_name_the_same_location() -> None:
    """A [tool.dg] table wins over workspace.yaml in silence, so that a difference would go unseen."""
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert entry["python_module"]["module_name"] == project["code_location_target_module"]
    assert entry["python_module"]["location_name"] == project["code_location_name"]


def test_what_the_docs_say_of_ecs_is_what_dagster_takes() -> None:
    """Nobody runs it here; a key that Dagster does not know would stop whoever follows them."""
    docs = (ROOT / "docs" / "dagster.md").read_text()
    section = docs.partition("More than one machine: ECS")[2]
    settings = yaml.safe_load(section.partition("```yaml")[2].partition("```")[0])
    launcher = settings["run_launcher"]
    assert (launcher["module"], launcher["class"]) == ("dagster_aws.ecs", EcsRunLauncher.__name__)
    result = process_config(EcsRunLauncher.config_type(), launcher["config"])
    assert result.success, result.errors
    assert set(settings["run_monitoring"]) <= set(dagster_instance_config_schema()["run_monitoring"].config_type.fields)


def test_the_instance_is_quiet_and_queues_by_run(tmp_path: Path) -> None:
    """Dagster takes dagster.yaml as we wrote it: SQLite, no telemetry, no dialog, pools by run."""
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path), config_dir=str(ROOT))) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert "Sqlite" in type(instance.run_storage).__name__ + type(instance.event_log_storage).__name__
        pools = instance.get_concurrency_config().pool_config
        assert pools.pool_granularity is not None
        assert pools.pool_granularity.value == "run"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("-w", "workspace.yaml")], ids=["pyproject", "workspace"])
def test_definitions_are_valid(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """From the repository root, with whichever file is read."""
    command = [str(DAGSTER), "definitions", "validate", *arguments]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Validation successful for code location kalshi_platform" in result.stderr + result.stdout


@pytest.mark.slow
@pytest.mark.timeout(5 * DEADLINE_SECONDS)
def test_dagster_dev_starts_clean_and_stops_whole(
    environment: dict[str, str], interruptible: None, tmp_path: Path
) -> None:
    """From the repository root without a database: the location loads, sensors complain of nothing, all ends."""
    homes_before = set(ROOT.glob(".tmp_dagster_home_*"))
    log = tmp_path / "dagster.log"
    port = _free_port()
    with log.open("w") as output:
        command = [str(DAGSTER), "dev", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(lambda: _locations(port) == {"kalshi_platform": "RepositoryLocation"}, log)
        _wait(lambda: "Sensor closed_hours skipped: KALSHI_PRODUCTION_DATABASE_URL is not set" in log.read_text(), log)
        process.terminate()
        _wait(lambda: process.poll() is not None and not _alive(process.pid), log)
    finally:
        _kill(process)
    assert process.returncode == 0
    assert "Traceback" not in log.read_text()
    assert "ERROR" not in log.read_text()
    assert not set(ROOT.glob(".tmp_dagster_home_*")) - homes_before


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _locations(port: int) -> dict[str, str]:
    """Each code location and what became of it; empty while nobody answers."""
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": LOCATIONS}, timeout=10)
    except httpx.TransportError:
        return {}
    entries = answer.json()["data"]["workspaceOrError"]["locationEntries"]
    return {entry["name"]: entry["locationOrLoadError"]["__typename"] for entry in entries}


def _wait(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.25)


def _alive(session: int) -> list[str]:
    """What still runs of a session; who has ended and waits for a parent that never asks does not count."""
    if not Path("/proc").is_dir():
        return _alive_by_signal(session)
    running = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_session = status.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it ended while we looked
            continue
        if int(of_session) == session and state != "Z":
            running.append(status.parent.name)
    return running


def _alive_by_signal(session: int) -> list[str]:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return []
    return [str(session)]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing, however the test went."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=DEADLINE_SECONDS)
