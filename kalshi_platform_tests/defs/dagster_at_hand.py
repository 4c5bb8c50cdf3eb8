"""A real Dagster beside a test: webserver, daemon and code server, asked over GraphQL as its UI asks."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import httpx
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster_shared.record import replace

from kalshi_platform.defs.checks.partitioned import target_of
from kalshi_platform.defs.partitions import HOURLY

ROOT = Path(__file__).parents[2]
_DAGSTER = Path(sys.executable).with_name("dagster")
_START_SECONDS = 180.0
_LAUNCH = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_STATUS = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status numPartitions runs { id status } } }
}
"""
_LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"


class DagsterAtHand:
    """`dagster dev` with a home of its own; made by `dagster_dev`."""

    def __init__(self, home: Path, settings: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.log = home / "dagster.log"
        command = [str(_DAGSTER), "dev", "--host", "127.0.0.1", "--port", self.address.rpartition(":")[2]]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI_", "DAGSTER"))}
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                [*command, "-m", "kalshi_platform.definitions"],
                cwd=ROOT,
                env={**environment, **settings, "DAGSTER_HOME": str(home)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """One question over GraphQL."""
        answer = httpx.post(
            f"{self.address}/graphql", json={"query": query, "variables": variables}, timeout=60
        ).raise_for_status()
        body: dict[str, Any] = answer.json()
        assert "errors" not in body, body["errors"]
        return dict(body["data"])

    def launch_backfill(self, asset: Sequence[str], partitions: Sequence[str]) -> str:
        """What the button on an asset's page sends; returns the backfill's id."""
        params = {"assetSelection": [{"path": list(asset)}], "partitionNames": list(partitions), "fromFailure": False}
        launched = self.ask(_LAUNCH, backfillParams=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def backfill(self, backfill_id: str) -> dict[str, Any]:
        """A backfill's status and runs."""
        return dict(self.ask(_STATUS, id=backfill_id)["partitionBackfillOrError"])

    def wait(self, condition: Callable[[], object], seconds: float = _START_SECONDS) -> float:
        """Wait for something; returns how long it took."""
        started = time.monotonic()
        while not condition():
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < started + seconds, self.log.read_text()[-4000:]
            time.sleep(0.1)
        return time.monotonic() - started

    def is_loaded(self) -> bool:
        """Whether the code location is there."""
        try:
            entries = self.ask(_LOCATIONS)["workspaceOrError"]["locationEntries"]
        except httpx.HTTPError:
            return False
        return [one["locationOrLoadError"]["__typename"] for one in entries if one["locationOrLoadError"]] == [
            "RepositoryLocation"
        ]

    def kill(self) -> None:
        """As a power cut would: every process at once, runs included."""
        for pid in _members(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)


def said_by_a_run(instance: dg.DagsterInstance, evaluation: dg.AssetCheckEvaluation) -> None:
    """What a check said of a partition's latest file, in a run of its own: without one Dagster keeps only the first."""
    partition = evaluation.partition
    if partition is not None:
        target = target_of(instance, evaluation.asset_key, partition)
        evaluation = replace(evaluation, target_materialization_data=target)
    event = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, job_name="looked", event_specific_data=evaluation
    )
    instance.report_dagster_event(event, run_id=str(uuid4()))


def planned(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, partition: str, status: dg.DagsterRunStatus | None = None
) -> str:
    """A run that has begun is going to look at a partition; with a status, one that Dagster knows. Returns its id."""
    looked_at = HOURLY.empty_subset().with_partition_keys([partition]).to_serializable_subset()
    event = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
        job_name="looking",
        event_specific_data=AssetCheckEvaluationPlanned(
            asset_key=check.asset_key, check_name=check.name, partitions_subset=looked_at
        ),
    )
    run_id = str(uuid4())
    if status:
        instance.add_run(dg.DagsterRun("looking", run_id=run_id, status=status))
    instance.report_dagster_event(event, run_id=run_id)
    return run_id


@contextmanager
def dagster_dev(home: Path, settings: dict[str, str]) -> Iterator[DagsterAtHand]:
    """Dagster, loaded; nothing of it outlives the block."""
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit an ignored one
    try:
        dagster = DagsterAtHand(home, settings)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        dagster.wait(dagster.is_loaded)
        yield dagster
    finally:
        dagster.kill()


def _members(session: int) -> list[int]:
    """The processes of a session: a run's group is its own."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(status.parent.name))
    return found
