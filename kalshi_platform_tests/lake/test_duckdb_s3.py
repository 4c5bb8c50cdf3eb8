"""Keys that expire while somebody works: what gives them is a process, the store is a real one that checks them."""

import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from kalshi_platform.lake import duckdb_s3
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.stores import KEY, SECRET, new_root, rclone
from kalshi_platform_tests.waiting import wait_until

MakeBatch = Callable[..., pa.RecordBatch]
COUNT = "SELECT count(*) FROM orderbook_deltas"


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes a process give these keys, as temporary ones, to every AWS tool that asks."""
    keys, config = tmp_path / "keys.json", tmp_path / "config"
    reads = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"
    config.write_text(f"[default]\ncredential_process = {sys.executable} -c '{reads}' {keys}\n")

    def given(key: str, secret: str) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        until = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()  # boto3 renews what ends so soon at every look
        told = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret, "Expiration": until}
        keys.with_suffix(".new").write_text(json.dumps(told))
        keys.with_suffix(".new").replace(keys)

    return given


@pytest.mark.slow
def test_plain_sql_goes_on_when_its_keys_have_expired(
    tmp_path: Path,
    noon: datetime,
    deltas: MakeBatch,
    give: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store takes new keys only: the open connection has them by itself, and no thread outlives it."""
    monkeypatch.setattr(duckdb_s3, "_LOOK_SECONDS", 0.05)
    folder = tmp_path / "store"
    with rclone(folder) as store:
        lake = Lake(new_root(store, monkeypatch))
        write_partition(lake, RAW["orderbook_deltas"], noon, [deltas({})])
        give(KEY, SECRET)
        connection = connect(lake)
        assert connection.sql(COUNT).fetchall() == [(1,)]
        port = int(store.url.rpartition(":")[2])
    with rclone(folder, port, "second-key,second-s3cret"):
        with pytest.raises(duckdb.Error):
            connection.sql(COUNT).fetchall()
        give("second-key", "second-s3cret")
        wait_until(lambda: "key_id=second-key;" in str(connection.sql("FROM duckdb_secrets()").fetchall()))
        assert connection.sql(COUNT).fetchall() == [(1,)]
        assert "second-s3cret" not in str(connection.sql("FROM duckdb_secrets()").fetchall())
        assert "second-s3cret" not in str(connection.sql("FROM duckdb_settings()").fetchall())
    connection.close()
    wait_until(lambda: not any(thread.name == "lake-keys" for thread in threading.enumerate()))


@pytest.mark.parametrize("store", ["rclone_store"], indirect=True)
def test_keys_that_stay_need_no_thread(s3_root: str) -> None:
    """Keys of the environment never change."""
    connect(s3_root)
    assert not any(thread.name == "lake-keys" for thread in threading.enumerate())
