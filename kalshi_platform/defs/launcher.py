"""The run launcher: Dagster's own, which also knows when the process of a run is gone.

- Add here: what the instance (`dagster.yaml`) loads by name.
- Keep out: definitions; webserver and daemon import this without them.
- Dagster's own launcher cannot tell: after a power cut, or a `kill -9` of the code server, its runs count as running
  until `max_runtime_seconds`, and hold the queue's places for hours. The code server itself sees runs of its own die.
- Dagster's word: run monitoring, https://docs.dagster.io/deployment/execution/run-monitoring
"""

import json
import os
import socket
from pathlib import Path

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

_HERE = ("localhost", "127.0.0.1", "::1", socket.gethostname())
_PROCESSES = Path("/proc")


class LocalRunLauncher(DefaultRunLauncher):
    """Starts each run as a process of the code server, and says whether that process is still there."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes, where the code server is on this machine."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Looks for the process that the run said it began in; what cannot be told counts as running."""
        pid = self._process_of(run)
        if pid is None or is_run(pid):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"its process (pid {pid}) is gone")

    def _process_of(self, run: dg.DagsterRun) -> int | None:
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if server.get("host") not in _HERE:
            return None
        events = self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        pids = [event.dagster_event.engine_event_data.metadata.get("pid") for event in events if event.dagster_event]
        return next((int(str(pid.value)) for pid in reversed(pids) if pid is not None), None)


def is_run(pid: int) -> bool:
    """Whether a process is there and is one of those in which runs are; its number may be another's by now."""
    if (_PROCESSES / "self" / "cmdline").exists():
        try:
            return b"multiprocessing" in (_PROCESSES / str(pid) / "cmdline").read_bytes()
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
