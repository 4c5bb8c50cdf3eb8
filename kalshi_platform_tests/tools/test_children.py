"""Children of the local stack."""

import os
import signal
import sys
from pathlib import Path

import pytest

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.tools.children import Child, plain_environment
from kalshi_platform_tests.waiting import wait_until

_FOREVER = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(600)"]


def _child(folder: Path, command: list[str], **options: bool) -> Child:
    return Child("child", command, plain_environment(), folder, **options)


def test_a_dead_child_is_started_again(tmp_path: Path) -> None:
    """As systemd would; its log goes on behind what it holds."""
    child = _child(tmp_path, _FOREVER)
    child.start()
    try:
        wait_until(lambda: "hello" in child.last_lines())
        assert not child.keep_running()
        child.send(signal.SIGKILL)
        wait_until(lambda: not child.is_running)
        assert child.keep_running()
        wait_until(lambda: child.last_lines().count("hello") == 2)
        assert child.restarts == 1
    finally:
        child.stop()
    assert not child.is_running


def test_who_gave_up_is_not_started_again_and_says_why(tmp_path: Path) -> None:
    """Exit code 2 means that a person must act; the end of the log tells what to do."""
    child = _child(tmp_path, [sys.executable, "-c", "import sys; sys.exit(print('set KALSHI_THIS') or 2)"])
    child.start()
    wait_until(lambda: not child.is_running)
    with pytest.raises(PlatformError, match="set KALSHI_THIS"):
        child.keep_running()


def test_what_may_not_begin_anew_is_not_started_again(tmp_path: Path) -> None:
    """Another exchange would begin another ledger."""
    child = _child(tmp_path, [sys.executable, "-c", "pass"], may_restart=False)
    child.start()
    wait_until(lambda: not child.is_running)
    with pytest.raises(PlatformError, match="child cannot run"):
        child.keep_running()


def test_stopping_takes_the_whole_family(tmp_path: Path) -> None:
    """A child's own children go with it, also where it ignores the polite way."""
    script = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(inner.pid, flush=True); time.sleep(600)"
    )
    child = _child(tmp_path, [sys.executable, "-c", script])
    child.start()
    wait_until(lambda: child.log_file.read_text().strip())
    inner = int(child.log_file.read_text())
    child.stop(patience=0.2)
    assert not child.is_running
    wait_until(lambda: not Path(f"/proc/{inner}").exists() or ") Z " in Path(f"/proc/{inner}/stat").read_text())


def test_the_environment_of_a_child_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of ours do not reach programs that they are not meant for."""
    monkeypatch.setenv("KALSHI_API_KEY_ID", "secret")
    environment = plain_environment(KALSHI_GATHERER_ID="g")
    assert environment["PATH"] == os.environ["PATH"]
    assert {name for name in environment if name.startswith("KALSHI_")} == {"KALSHI_GATHERER_ID"}
