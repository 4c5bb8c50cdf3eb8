"""deploy/dagster/dagster.yaml as a daemon loads it: real PostgreSQL, and an S3 that answers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from dagster_postgres import PostgresRunStorage
from moto.server import ThreadedMotoServer

from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

FILE = Path(__file__).parents[2] / "deploy" / "dagster" / "dagster.yaml"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket at a server of our own."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="logs")
    yield "logs"
    server.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str, cluster: EmbeddedPostgres) -> Iterator[Path]:
    """DAGSTER_HOME as an operator sets it up, with a database of Dagster's own."""
    name = f"dagster_{tmp_path.name.replace('-', '_').lower()}"[:60]
    cluster.create_database(name)
    monkeypatch.setenv(
        "KALSHI_DAGSTER_DATABASE_URL", cluster.url(name).replace("postgresql://", "postgresql+psycopg2://")
    )
    monkeypatch.setenv("KALSHI_DAGSTER_LOGS_BUCKET", bucket)
    monkeypatch.setenv("KALSHI_DAGSTER_LOGS_PREFIX", "dagster")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copy(FILE, tmp_path / "dagster.yaml")
    yield tmp_path
    cluster.drop_database(name)


def test_a_run_is_stored_in_postgres_and_what_it_prints_in_s3(home: Path) -> None:
    """The file loads, and both stores do their work."""
    import boto3

    @dg.asset
    def thing(context: dg.AssetExecutionContext) -> None:
        context.log.info("an hour was exported")
        print("four rows")  # noqa: T201 - what a compute log keeps

    with dg.DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
        assert isinstance(instance.compute_log_manager, S3ComputeLogManager)
        assert isinstance(instance.run_storage, PostgresRunStorage)
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        result = dg.materialize([thing], instance=instance)
        assert instance.get_run_by_id(result.run_id).is_success  # type: ignore[union-attr] # it was just stored
    listed = boto3.client("s3", region_name="us-east-1").list_objects_v2(Bucket="logs")
    kept = [one["Key"] for one in listed["Contents"]]
    assert any(key.startswith(f"dagster/storage/{result.run_id}") and key.endswith(".out") for key in kept)


def test_a_missing_variable_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than a history in a folder that nobody keeps."""
    monkeypatch.delenv("KALSHI_DAGSTER_DATABASE_URL")
    with pytest.raises(Exception, match="KALSHI_DAGSTER_DATABASE_URL"):
        dg.DagsterInstance.get()
