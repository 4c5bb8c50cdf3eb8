"""Whether a run's process is there, asked of a launcher as the daemon's run monitoring asks."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from kalshi_platform.defs.launcher import LocalRunLauncher, is_run

INSTANCE = Path(__file__).parents[2] / "dagster.yaml"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """As our dagster.yaml says."""
    (tmp_path / "dagster.yaml").write_text(INSTANCE.read_text())
    with dg.DagsterInstance.from_ref(dg.DagsterInstance.local_temp(str(tmp_path)).get_ref()) as one:
        yield one


@pytest.fixture
def living() -> Iterator[int]:
    """A process as the code server starts one for each run."""
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(300,))
    process.start()
    assert process.pid is not None
    yield process.pid
    process.kill()
    process.join()


def status(instance: dg.DagsterInstance, pid: int | None, host: str = "localhost") -> WorkerStatus:
    """What the launcher says of a run that said it began in a process."""
    tags = {GRPC_INFO_TAG: json.dumps({"host": host, "socket": "/nowhere"})}
    run = instance.create_run_for_job(_job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    if pid is not None:
        instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
        instance.report_engine_event("Something else", run)
    return instance.run_launcher.check_run_worker_health(run).status


@dg.job
def _job() -> None:
    """Nothing."""


def test_the_instance_loads_it_and_asks_it_often(instance: dg.DagsterInstance) -> None:
    """A dead run is found within seconds, one that never began within two minutes."""
    assert isinstance(instance.run_launcher, LocalRunLauncher)
    assert instance.run_launcher.supports_check_run_worker_health
    assert instance.run_monitoring_max_resume_run_attempts == 0, "it is retried, as a run of its own"
    assert instance.run_monitoring_poll_interval_seconds <= 15
    assert instance.run_monitoring_start_timeout_seconds <= 120


def test_a_run_whose_process_is_gone_is_told_from_one_that_works(instance: dg.DagsterInstance, living: int) -> None:
    """By its process alone; a number that is another process's by now is no run."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    assert status(instance, living) is WorkerStatus.RUNNING
    assert status(instance, gone.pid) is WorkerStatus.NOT_FOUND
    if sys.platform == "linux":
        with subprocess.Popen(["sleep", "300"]) as another:
            assert status(instance, another.pid) is WorkerStatus.NOT_FOUND
            another.kill()


def test_what_cannot_be_told_counts_as_running(instance: dg.DagsterInstance) -> None:
    """A run that has not said where it is, and one on another machine."""
    assert status(instance, None) is WorkerStatus.RUNNING
    assert status(instance, 2**22 + 1, host="code.internal") is WorkerStatus.RUNNING


def test_without_proc_a_process_is_asked_by_a_signal(monkeypatch: pytest.MonkeyPatch, living: int) -> None:
    """On macOS."""
    monkeypatch.setattr("kalshi_platform.defs.launcher._PROCESSES", Path("/nowhere"))
    assert is_run(living)
    assert is_run(os.getpid())
    assert not is_run(2**22 + 1)
