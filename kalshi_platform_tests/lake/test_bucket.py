"""The lake in a bucket: the same files, the same bytes, and errors that say what to do."""

import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.evidence import fault_of, read_again
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.publish import StorageError
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.stores import BUCKET, SECRET

MakeBatch = Callable[..., pa.RecordBatch]
DELTAS = RAW["orderbook_deltas"]


def test_a_partition_in_a_bucket_is_the_one_in_a_folder(
    s3_lake: Lake, lake: Lake, noon: datetime, deltas: MakeBatch
) -> None:
    """Bytes, footer, listing and evidence are the same; only the path begins otherwise."""
    rows = deltas(*({"milliseconds": n, "position": n} for n in range(100)))
    there, here = (write_partition(one, DELTAS, noon, [rows]) for one in (s3_lake, lake))
    assert there.path == f"{s3_lake.root}/raw/orderbook_deltas/date=2026-11-20/hour=12/orderbook_deltas.parquet"
    assert (there.sha256, there.bytes, there.rows) == (here.sha256, here.bytes, here.rows)
    with s3_lake.open(there.path) as file:
        assert hashlib.sha256(file.read()).hexdigest() == here.sha256
    assert s3_lake.starts(DELTAS) == [noon]
    assert abs(s3_lake.written(DELTAS)[noon] - lake.written(DELTAS)[noon]) < HOUR  # in UTC, both
    assert read_footer(s3_lake, DELTAS, noon) == read_footer(lake, DELTAS, noon)
    assert read_footer(s3_lake, DELTAS, noon + HOUR) is None
    found, same = read_again(s3_lake, DELTAS, noon), read_again(lake, DELTAS, noon)
    assert (found.sha256, found.tally) == (same.sha256, same.tally)
    assert fault_of(there.path, 100, there.sha256) == ""
    assert "is not the file that was proven" in fault_of(there.path, 100, "other")
    assert "is missing" in fault_of(s3_lake.path(DELTAS, noon + HOUR), 100, there.sha256)


def test_a_file_of_many_parts_is_whole(s3_lake: Lake) -> None:
    """Larger than one part, it is joined by the store, and takes the place of the old one."""
    content = os.urandom(20 * 2**20)
    for data in (b"old", content):
        with s3_lake.replacing(f"{s3_lake.root}/a/b.parquet") as file:
            for start in range(0, len(data), 2**20):
                file.write(data[start : start + 2**20])
    with s3_lake.open(f"{s3_lake.root}/a/b.parquet") as found:
        assert found.read() == content


def test_an_error_leaves_the_old_object(s3_lake: Lake) -> None:
    """A block that fails uploads nothing."""
    path = f"{s3_lake.root}/b.parquet"
    with s3_lake.replacing(path) as file:
        file.write(b"old")

    def fail() -> None:
        with s3_lake.replacing(path) as half:
            half.write(b"half")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail()
    with s3_lake.open(path) as found:
        assert found.read() == b"old"


def test_arrow_s_own_stream_would_publish_half_a_file(s3_lake: Lake) -> None:
    """Why it is not used: if this fails, Arrow has learned to abort, and the copy on the local disk can go."""
    key = s3_lake.key(f"{s3_lake.root}/half")

    def fail() -> None:
        with s3_lake.filesystem.open_output_stream(key) as stream:
            stream.write(b"half")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail()
    with s3_lake.filesystem.open_input_file(key) as found:
        assert found.read() == b"half"


def test_a_bucket_that_is_not_there_is_said(s3_lake: Lake, noon: datetime) -> None:
    """By writing and by listing, which would otherwise look like an empty lake."""
    elsewhere = Lake("s3://nobodys-bucket/lake")
    wanted = "the bucket nobodys-bucket does not exist: make it, or set KALSHI_LAKE_URL"
    with pytest.raises(StorageError, match=wanted):
        write_partition(elsewhere, DELTAS, noon, [])
    with pytest.raises(StorageError, match=wanted):
        elsewhere.starts(DELTAS)
    assert s3_lake.starts(DELTAS) == []


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("AWS_SECRET_ACCESS_KEY", "a-wrong-s3cret", "refuses the secret key: check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "nobody", "does not know the key: check AWS_ACCESS_KEY_ID"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "http://127.0.0.1:1 cannot be reached"),
    ],
    ids=["wrong secret", "wrong key", "nobody there"],
)
@pytest.mark.parametrize("store", ["rclone_store"], indirect=True)  # moto takes any key
def test_what_is_wrong_is_said_without_a_secret(
    s3_root: str, monkeypatch: pytest.MonkeyPatch, noon: datetime, name: str, value: str, wanted: str
) -> None:
    """Reading and writing name the setting to look at; no key is in the text."""
    monkeypatch.setenv(name, value)
    lake = Lake(s3_root)
    for use in (lambda: write_partition(lake, DELTAS, noon, []), lambda: lake.starts(DELTAS)):
        with pytest.raises(StorageError, match=wanted) as caught:
            use()
        assert not {SECRET, "a-wrong-s3cret", "nobody"} & set(str(caught.value).split())
        assert SECRET not in str(caught.value)


def test_keys_do_not_belong_into_the_address() -> None:
    """An address stands in logs; the error does not repeat it."""
    with pytest.raises(ConfigurationError, match="must not hold keys") as caught:
        Lake("s3://key:s3cret@bucket/lake")
    assert "s3cret" not in str(caught.value)


def test_a_file_can_be_read_in_pieces(s3_lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Parquet's readers jump; one column is one request."""
    facts = write_partition(s3_lake, DELTAS, noon, [deltas({}, {"position": 1})])
    table = pq.read_table(s3_lake.key(facts.path), filesystem=s3_lake.filesystem, columns=["ticker"], partitioning=None)
    assert table.to_pylist() == [{"ticker": "KXA"}] * 2


def test_the_bucket_is_the_first_name(s3_root: str) -> None:
    """With or without a prefix, and whatever slashes are around it."""
    assert Lake(f"s3://{BUCKET}").root == f"s3://{BUCKET}"
    assert Lake(f"{s3_root}/").root == s3_root
    assert Lake(Path("lake")).bucket is None
