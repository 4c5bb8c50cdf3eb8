"""The command line: help worth reading, and no traceback for a user's mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_COMMANDS = [
    "demo", "gather", "deduplicate", "simulate", "migrate", "backfill", "record", "replay", "verify", "markets",
    "settings",
]  # fmt: skip


def _run(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KALSHI_")}
    return subprocess.run(
        [sys.executable, "-m", "kalshi_platform.cli", *arguments],
        cwd=folder, env={**environment, **settings}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_says_what_a_command_does(tmp_path: Path, command: str) -> None:
    """More than its name."""
    done = _run(tmp_path, command, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 200


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (["gather"], {}, "KALSHI_GATHERER_DATABASE_URL is not set"),
        (["gather"], {"KALSHI_METRICS_PORT": "x"}, "KALSHI_METRICS_PORT"),
        (["gather"], {"KALSHI_GATHERER_DATABASE_URL": "postgresql://u:s3cret@h/k", "KALSHI_API_KEY_ID": "k",
                      "KALSHI_PRIVATE_KEY_PATH": "absent.pem"}, "cannot read the private key at absent.pem"),
        (["deduplicate"], {}, "KALSHI_PRODUCTION_DATABASE_URL is not set"),
        (["deduplicate"], {"KALSHI_PRODUCTION_DATABASE_URL": "postgresql://u:s3cret@h/k", "KALSHI_GATHERERS": "x"},
         "KALSHI_GATHERERS must read"),
        (["migrate", "gatherer", "--url", "mysql://u:s3cret@h/k"], {}, "postgresql"),
        (["migrate", "production"], {}, "KALSHI_PRODUCTION_DATABASE_URL is not set"),
        (["replay", "absent"], {"KALSHI_GATHERER_DATABASE_URL": "postgresql://u:s3cret@h/k"}, "absent does not exist"),
        (["replay", "absent", "--to", "socket"], {}, "absent does not exist"),
        (["backfill", "--all", "--start", "2026-09-02", "--end", "2026-09-01"], {}, "turn them round"),
        (["backfill", "--all", "--start", "yesterday"], {}, "--start takes a day or a time with its zone"),
        (["backfill", "--all", "--start", "2026-09-01T10:00"], {}, "names no time zone"),
        (["backfill", "--start", "2026-09-01"], {}, "choose one of the three"),
        (["backfill", "--all", "--start", "2026-09-01"], {}, "KALSHI_PRODUCTION_DATABASE_URL is not set"),
        (["record", "tapes"], {}, "KALSHI_API_KEY_ID is not set"),
        (["record", "tapes", "--channel", "gossip"], {}, "--channel takes orderbook_delta"),
        (["verify", "absent"], {}, "say which database"),
        (["verify", "absent", "postgresql://u:s3cret@h/k"], {}, "absent"),
        (["simulate", "--key", "nonsense"], {}, "--key takes KEY_ID=public.pem"),
        (["simulate", "--replay", "absent.ndjson"], {}, "absent.ndjson does not exist"),
        (["simulate", "--speed", "fast"], {}, "--speed takes a number above 0, or max"),
        (["simulate", "--start", "yesterday"], {}, "--start takes a time with its zone"),
        (["simulate", "--pause", "soon"], {}, "a pause is AFTER=SECONDS"),
        (["simulate", "--rest-failure", "5"], {}, "--rest-failure takes N=STATUS"),
        (["simulate", "--rest-tier", "gold"], {}, "tier must be one of"),
        (["simulate", "--fault", "explode@3"], {}, "a fault is KIND@MESSAGE"),
        (["demo", "--live", "--no-dagster"], {}, "KALSHI_API_KEY_ID is not set"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line(tmp_path: Path, arguments: list[str], settings: dict[str, str], says: str) -> None:
    """Exit code 2, the remedy, no traceback, no secret."""
    done = _run(tmp_path, *arguments, **settings)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


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
