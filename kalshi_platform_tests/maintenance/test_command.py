"""`kalshi-platform maintain` as its users start it: a process."""

import signal
import subprocess
from pathlib import Path

from kalshi_platform.tools.children import plain_environment, platform_command


def test_the_command_as_a_service(production_database: str, gatherer_database: str, tmp_path: Path) -> None:
    """Production every second until SIGTERM, which ends it well; a gatherer's database once."""
    settings = {
        "KALSHI_METRICS_PORT": "0", "KALSHI_LAKE_URL": str(tmp_path / "lake"), "KALSHI_GATHERER_ID": "g",
        "KALSHI_PRODUCTION_DATABASE_URL": production_database, "KALSHI_GATHERER_DATABASE_URL": gatherer_database,
    }  # fmt: skip
    command = platform_command("maintain", "production", "--every", "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=plain_environment(**settings)) as service:
        assert service.stdout is not None
        first = service.stdout.readline()
        assert first.startswith("metrics on port ")
        assert service.stdout.readline().startswith("made ")
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
    once = subprocess.run(
        platform_command("maintain", "gatherer"),
        env=plain_environment(**settings), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (once.returncode, once.stderr) == (0, "")
    assert once.stdout.startswith("made ")
