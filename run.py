#!/usr/bin/env python3
"""Everything that one does with a clone, on a machine that has Python 3.11 or newer and git, and nothing else.

    python3 run.py demo [OPTIONS]   the whole path on this machine, judged at the end (--help: its options)
    python3 run.py test             every check and every test, as CI runs them
    python3 run.py check            ruff, mypy and the import contracts
    python3 run.py dev              Dagster on the settings in .env
    python3 run.py install          nothing but the environment in .venv
    python3 run.py clean            remove that environment

Each builds the environment first where it is missing, or was made for other versions.
"""

from __future__ import annotations  # an older Python gets as far as being told so

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
STAMP, SPARK_STAMP = VENV / ".installed", VENV / ".spark"
NEXT_DUCKDB, NEXT_DUCKDB_VERSION = VENV / "duckdb2", "2.0.0"
SPARKS_JAVA = 17
BIN = VENV / "bin"
EXTRAS = "simulator,local,dagster,notebooks,questdb,dev"
OLDEST = (3, 11)
PIP = (
    "-m",
    "pip",
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--constraint",
    "constraints.txt",
    "--editable",
)

CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",))
TESTS = (
    ("python", "-m", "pytest", "-n", "auto", "-m", "not slow"),
    ("python", "-m", "pytest", "-n", "auto", "-m", "slow"),
)


def main(arguments: list[str]) -> int:
    """Do what was asked for; the exit code says whether it went well."""
    what, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if what not in {"demo", "test", "check", "dev", "install", "clean"} or (rest and what not in {"demo", "dev"}):
        sys.stderr.write(__doc__ or "")
        return 0 if what in {"-h", "--help"} else 2
    os.chdir(HERE)
    if what == "clean":
        shutil.rmtree(VENV, ignore_errors=True)
        return 0
    install()
    if what == "test":
        install_spark()
        install_next_duckdb()
    if what in {"demo", "dev"}:
        command = [str(BIN / "kalshi-platform"), "demo"] if what == "demo" else [str(BIN / "dagster"), "dev"]
        os.execv(command[0], [*command, *rest])  # noqa: S606 - ours; signals shall reach it
    return first_failure({"check": CHECKS, "test": CHECKS + TESTS}.get(what, ()))


def first_failure(commands: Iterable[Sequence[str]]) -> int:
    """Run the environment's commands up to the first that fails; its exit code, or 0."""
    for program, *options in commands:
        sys.stderr.write(f"$ {program} {' '.join(options)}\n")
        code = subprocess.run([BIN / program, *options], check=False).returncode  # noqa: S603 - ours
        if code:
            return code
    return 0


def install() -> None:
    """Build the environment, unless the one that is there was made here of the same versions by the same Python."""
    if sys.version_info < OLDEST:
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: python3.11 run.py …")
    wanted = hashlib.sha256(f"{sys.version} {HERE}".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        wanted.update((HERE / name).read_bytes())
    if not STAMP.is_file() or STAMP.read_text() != wanted.hexdigest():
        sys.stderr.write("building the environment in .venv, which takes a minute\n")
        _build([Path(sys.executable).resolve(), "-m", "venv", "--clear", VENV])
        _build([BIN / "python", *PIP, f".[{EXTRAS}]"])
        STAMP.write_text(wanted.hexdigest())  # last: an installation that was interrupted is begun again


def install_spark() -> None:
    """Where there is a Java 17, the tests also hold Spark (430 MB) against DuckDB; elsewhere that one is skipped."""
    if _java() >= SPARKS_JAVA and not SPARK_STAMP.exists():  # a new environment is a new folder, without it
        if _succeeds([BIN / "python", *PIP, ".[spark]"]):
            SPARK_STAMP.touch()
        else:
            sys.stderr.write("Spark cannot be had here: its test will be skipped\n")


def install_next_duckdb() -> None:
    """The next DuckDB, in a folder where nothing but the test that asks both versions finds it."""
    stamp = NEXT_DUCKDB / NEXT_DUCKDB_VERSION
    if stamp.exists():
        return
    shutil.rmtree(NEXT_DUCKDB, ignore_errors=True)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target")
    if _succeeds([BIN / "python", *pip, NEXT_DUCKDB, f"duckdb=={NEXT_DUCKDB_VERSION}"]):
        stamp.touch()
    else:
        shutil.rmtree(NEXT_DUCKDB, ignore_errors=True)
        sys.stderr.write("DuckDB 2.0 cannot be had here: its test will be skipped\n")


def _java() -> int:
    """The version of the Java that is found; 0 where there is none, or one that only says where to get it."""
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S607
    except OSError:
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else 0


def _build(step: Sequence[str | Path]) -> None:
    if not _succeeds(step):
        sys.exit("the environment could not be built; what is above says why (Debian: apt install python3-venv)")


def _succeeds(step: Sequence[str | Path]) -> bool:
    return subprocess.run(step, check=False).returncode == 0  # noqa: S603 - ours


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
