"""Whatever happens to a writer, a name holds a whole file: the old one or the new one. With real processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from kalshi_platform.lake.evidence import read_again
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.manifest import describe, read_manifest
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.stores import Store, new_root
from kalshi_platform_tests.lake.writing import DELTAS, NOON, batches

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@contextmanager
def writer(root: str, seq: int, rows: int, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that writes a partition."""
    command = [sys.executable, "-m", "kalshi_platform_tests.lake.writing", root, str(seq), str(rows), *options]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def who_wrote(lake: Lake) -> set[int]:
    """The writers of the rows of the one file, every byte of which is read; its manifest is true or away."""
    facts = read_again(lake, DELTAS, NOON)
    manifest = read_manifest(lake, DELTAS, NOON)
    assert manifest is None or manifest == describe(lake, DELTAS, NOON)
    with lake.open(facts.path) as file:
        table = pq.ParquetFile(file).read(columns=["seq"])
    assert table.num_rows == facts.tally.rows > 0
    return set(table["seq"].unique().to_pylist())


def says(process: subprocess.Popen[str], wanted: str) -> str:
    """What a process says next, which must be this."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert re.match(wanted, line), line
    return line


@pytest.fixture(autouse=True)
def _sorted_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed writer was sorting goes with the test's folder."""
    (tmp_path / "sorting").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "sorting"))


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, rclone_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty lake, once in a folder and once in a bucket."""
    return Lake(tmp_path / "lake" if request.param == "folder" else new_root(rclone_store, monkeypatch))


def test_a_writer_that_is_killed_leaves_the_old_file(place: Lake) -> None:
    """By SIGKILL, with half of its rows in hand; the next one writes as if nothing had been."""
    write_partition(place, DELTAS, NOON, batches(1, 1_000))
    with writer(place.root, 2, 200_000, "stop") as process:
        says(process, "half")
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    assert who_wrote(place) == {1}
    assert place.starts(DELTAS) == [NOON]
    with writer(place.root, 3, 40_000) as process:
        says(process, "wrote")
    assert who_wrote(place) == {3}


def test_an_hour_of_one_busy_market_is_sorted_in_little_memory(tmp_path: Path) -> None:
    """Four million changes of one market in an hour, out of order: under 600 MiB, and the file is in order."""
    lake = Lake(tmp_path / "lake")
    with writer(lake.root, 1, 4_000_000, "busy") as process:
        told = says(process, "wrote 4000000 rows, ")
    assert int(told.split()[3]) < 600, told
    with lake.open(lake.path(DELTAS, NOON)) as file:
        times = pq.ParquetFile(file).read(columns=["exchange_ts"])["exchange_ts"].combine_chunks()
    assert len(times) == 4_000_000
    assert pc.all(pc.less_equal(times[:-1], times[1:])).as_py()


def test_two_writers_leave_the_file_of_one(place: Lake) -> None:
    """Both hold half of their rows at once; whoever ends last has written the whole file."""
    with writer(place.root, 1, 60_000, "stop") as one, writer(place.root, 2, 80_000, "stop") as other:
        for process in (one, other):
            says(process, "half")
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, other):
            says(process, "wrote")
    assert len(who_wrote(place)) == 1
    assert who_wrote(place) <= {1, 2}


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """On a file system of 4 MiB: while rows go to it, and at its last byte; what is left over is taken away."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    try:
        lake = Lake(small)
        write_partition(lake, DELTAS, NOON, batches(1, 1_000))
        for temporary in (tmp_path, small):  # where runs are sorted: elsewhere, or on the full disk too
            with writer(lake.root, 2, 400_000, TMPDIR=str(temporary)) as process:
                says(process, f"failed: cannot write {lake.root}.*: no space left on device: make room in {small}")
                assert process.wait(30) == 1
            assert who_wrote(lake) == {1}
        left = [path.name for path in small.rglob("*") if path.is_file()]
        assert [name for name in left if name.endswith((".tmp", ".arrow"))] == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


class Cut:
    """A way to a store that breaks, or stands still, after so many bytes, and is whole again when it is told so.

    Attributes:
        port: Where it listens.
        broke: Set once it has broken, or stands still.
    """

    def __init__(self, store: Store, after: int, *, holds: bool = False) -> None:
        self._store = int(store.url.rpartition(":")[2])
        self._left: float = after
        self._may_go_on = threading.Event()
        if not holds:
            self._may_go_on.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.broke = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def mend(self) -> None:
        """Let everything through from now on."""
        self._left = float("inf")
        self._may_go_on.set()

    def close(self) -> None:
        """Listen no more."""
        self._may_go_on.set()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self._left <= 0:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._store))
            for source, target, counts in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._carry, args=(source, target, counts), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(65_536):
                if counts:
                    self._left -= len(data)
                if self._left <= 0:
                    self.broke.set()
                    self._may_go_on.wait()
                    break
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # wakes the other direction, which waits for it
                end.close()


def test_a_connection_that_is_lost_in_an_upload_leaves_the_old_object(s3_lake: Lake, store: Store) -> None:
    """In the second of several parts, for good: the writer says so; the same bytes go through once it is back."""
    write_partition(s3_lake, DELTAS, NOON, batches(1, 1_000))
    way = Cut(store, after=10 * 2**20)
    try:
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{way.port}"}
        with writer(s3_lake.root, 2, 1_500_000, **endpoint) as process:
            says(process, "failed: cannot write s3://.* cannot be reached: check the network and AWS_ENDPOINT_URL")
            assert process.wait(30) == 1
        assert way.broke.is_set()
        assert who_wrote(s3_lake) == {1}
        way.mend()
        with writer(s3_lake.root, 3, 40_000, **endpoint) as process:
            says(process, "wrote")
        assert who_wrote(s3_lake) == {3}
    finally:
        way.close()


def test_a_writer_that_is_killed_in_an_upload_leaves_the_old_object(s3_lake: Lake, store: Store) -> None:
    """By SIGKILL in the second of several parts, the first of which the store has: nobody ever sees them."""
    write_partition(s3_lake, DELTAS, NOON, batches(1, 1_000))
    way = Cut(store, after=10 * 2**20, holds=True)
    try:
        with writer(s3_lake.root, 2, 1_500_000, AWS_ENDPOINT_URL=f"http://127.0.0.1:{way.port}") as process:
            assert way.broke.wait(60)
            process.send_signal(signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL
        assert who_wrote(s3_lake) == {1}
        way.mend()
        assert who_wrote(s3_lake) == {1}
        assert s3_lake.starts(DELTAS) == [NOON]
        with writer(s3_lake.root, 3, 40_000) as process:
            says(process, "wrote")
        assert who_wrote(s3_lake) == {3}
    finally:
        way.close()
