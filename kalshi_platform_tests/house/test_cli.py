"""The command line as a process; what goes wrong is tried command by command in `test_mistakes`."""

import os
import subprocess
import sys
from pathlib import Path


def _run(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KALSHI_")}
    return subprocess.run(
        [sys.executable, "-m", "kalshi_platform.cli", *arguments],
        cwd=folder, env={**environment, **settings}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_an_unreachable_database_is_said_plainly(tmp_path: Path) -> None:
    """The daemon names what it cannot reach, without the password."""
    done = _run(tmp_path, "migrate", "gatherer", "--url", "postgresql://u:s3cret@127.0.0.1:1/k")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr
    assert "127.0.0.1" in done.stderr


def test_settings_are_shown_with_secrets_masked(tmp_path: Path) -> None:
    """Value, source and meaning of each."""
    done = _run(tmp_path, "settings", KALSHI_PRODUCTION_DATABASE_URL="postgresql://dedup:s3cret@db/kalshi")
    assert done.returncode == 0
    assert "s3cret" not in done.stdout
    assert "environment" in done.stdout
