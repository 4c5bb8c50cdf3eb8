"""Running a program that refuses root: as whom, and from where that user can reach it.

Here belongs what root must do before such a program runs: pick a user, test what that user can reach, and place copies
where it can. Kept out: what the program is; changing the permissions of folders that are not ours.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalshi_platform.core.errors import ConfigurationError

ELSEWHERE = Path("/var/tmp")  # noqa: S108 - each folder made in it is checked to be ours alone
"""Where copies go when the folder asked for lies behind a door that only root may pass."""

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and group that a child process runs as."""

    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Give a file or folder to this user."""
        os.chown(path, self.uid, self.gid)

    def run(self, command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
        """Run a command as this user, who is not told our environment, and wait for it."""
        return run_quietly(command, user=self.uid, group=self.gid, extra_groups=[])

    def can_enter(self, folder: Path) -> bool:
        """Whether this user can reach the folder and write in it."""
        script = 'cd "$1" && test -w .'
        return self.run(["/bin/sh", "-c", script, "sh", folder]).returncode == 0

    def can_run(self, program: Path) -> bool:
        """Whether this user can reach and start the program."""
        try:
            return self.run([program, "--version"]).returncode == 0
        except OSError:
            return False


def run_quietly(command: Sequence[str | Path], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command with its output kept and nothing of our environment, keys least of all."""
    return subprocess.run(  # noqa: S603 - callers name programs of ours
        command, cwd="/", env=bare_environment(), capture_output=True, text=True, check=False, **options
    )


def bare_environment() -> dict[str, str]:
    """An environment that says nothing about us, in plain English and UTC."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def stand_in(*existing: Path) -> Identity | None:
    """Who works in root's place: the owner of the first existing path, else postgres or nobody; None when not root."""
    if os.geteuid() != 0:
        return None
    for path in existing:
        if path.exists() and path.stat().st_uid != 0:
            return Identity(path.stat().st_uid, path.stat().st_gid)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "root needs a user 'postgres' or 'nobody' to run PostgreSQL as; add one, or be another user"
    )


def folder_elsewhere(subject: str) -> Path:
    """The path that stands for a subject (a path, say) in the place that everybody can reach; not made yet."""
    return ELSEWHERE / f"kalshi-platform-{hashlib.sha256(subject.encode()).hexdigest()[:12]}"


def make_reachable(folder: Path) -> None:
    """Make a folder that everybody may enter and only we may change; refuse one that another user has put there."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ConfigurationError(f"{folder} was made by somebody else; remove it and try again")
    folder.chmod(0o755)


def reachable_copy(package: Path) -> Path:
    """A copy of an installed package and its `.libs` neighbour where everybody can reach it, made once."""
    found = package.stat()
    home = folder_elsewhere(f"{package} {found.st_ino} {found.st_mtime_ns}")
    copy = home / package.name
    if not copy.exists():
        make_reachable(home)
        _copy_open(package.with_name(f"{package.name}.libs"), home)
        _copy_open(package, home)
    return copy


def _copy_open(source: Path, home: Path) -> None:
    """Copy a folder so that everybody may read it; it appears under its name only when it is whole."""
    if not source.is_dir():
        return
    fresh = home / f"{source.name}.{os.getpid()}"
    shutil.copytree(
        source, fresh, symlinks=True, ignore=shutil.ignore_patterns("*.py", "__pycache__", "include", "doc")
    )
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    if (home / source.name).exists():
        shutil.rmtree(fresh)
    else:
        fresh.rename(home / source.name)
