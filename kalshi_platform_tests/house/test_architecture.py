"""What holds for the whole house."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PACKAGE = _ROOT / "kalshi_platform"
_LONGEST_FILE = 400


@pytest.mark.parametrize("daemon", ["gatherer.daemon", "deduplicator.daemon", "tools.demo", "simulator", "cli"])
def test_daemons_do_not_import_dagster(daemon: str) -> None:
    """Dagster costs seconds and 67 MiB that a daemon must not carry."""
    code = f"import sys, kalshi_platform.{daemon}; print([name for name in sys.modules if name.startswith('dagster')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_say_what_they_are_and_what_they_are_not() -> None:
    """Each begins with its purpose and what is kept out."""
    silent = []
    for path in _PACKAGE.rglob("*.py"):
        opening = path.read_text().split('"""')[1:2]
        if not opening or len(opening[0].strip()) < 20:
            silent.append(path)
    assert silent == []


def test_files_are_rooms_and_not_halls() -> None:
    """A file that grows past this length is two."""
    lengths = {path: len(path.read_text().splitlines()) for path in _PACKAGE.rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > _LONGEST_FILE} == {}


def test_only_settings_read_our_environment() -> None:
    """Environment is read once; the local stack hands it on, Dagster resolves names of its own."""
    readers = {
        str(path.relative_to(_PACKAGE))
        for path in _PACKAGE.rglob("*.py")
        if re.search(r"os\.environ|getenv", path.read_text())
    }
    assert readers <= {"service/settings.py", "tools/local_stack.py", "tools/children.py"}


def test_nothing_names_a_machine_or_a_registry() -> None:
    """Tracked text works anywhere."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=_ROOT, capture_output=True, check=True).stdout
    pattern = re.compile(
        rb"/" + rb"work/main|files\.python" + rb"hosted|pypi\.org/" + rb"simple|registry\.npm" + rb"js"
    )
    named = [
        name
        for name in filter(None, tracked.decode().split("\0"))
        if (_ROOT / name).is_file() and pattern.search((_ROOT / name).read_bytes())
    ]
    assert named == []
