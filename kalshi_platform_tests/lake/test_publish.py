import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kalshi_platform.lake.publish import replacing

KILLED = """
import os, signal, sys
from pathlib import Path
from kalshi_platform.lake.publish import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_appears_whole_with_its_size_and_hash(tmp_path: Path) -> None:
    """Folders are made on the way; nothing else is left in them."""
    path = tmp_path / "a" / "b.parquet"
    with replacing(path) as file:
        file.write(b"one")
        file.write(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"onetwo"
    assert (file.bytes, file.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())
    assert [entry.name for entry in path.parent.iterdir()] == ["b.parquet"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Half a file never stands under the name."""
    path = tmp_path / "b.parquet"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_kill_leaves_the_old_file(tmp_path: Path) -> None:
    """Not even SIGKILL in the middle harms what was there; the remnant is hidden and not named like a partition."""
    path = tmp_path / "b.parquet"
    path.write_bytes(b"old")
    process = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (remnant,) = (entry.name for entry in tmp_path.iterdir() if entry != path)
    assert remnant.startswith(".")
    assert not remnant.endswith(".parquet")


def test_the_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    """Others may read the lake as far as the umask lets them."""
    with replacing(tmp_path / "b.parquet"):
        umask = os.umask(0)
        os.umask(umask)
    assert (tmp_path / "b.parquet").stat().st_mode & 0o777 == 0o666 & ~umask
