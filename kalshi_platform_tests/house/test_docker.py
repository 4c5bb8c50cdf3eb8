"""Dockerfile and compose file, as far as a machine without Docker can tell: every command, setting and file exists."""

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
import yaml
from typer.main import get_command

from kalshi_platform.cli.app import app
from kalshi_platform.core.schema import Home
from kalshi_platform.database.roles import ROLES_OF, Role
from kalshi_platform.service.settings import OTHER_NAMES, PREFIX, Settings
from kalshi_platform.tools.doctor.findings import Level
from kalshi_platform.tools.doctor.settings_checks import check_settings

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "deploy" / "docker"
_GIVEN = {
    "DATABASE_PASSWORD": "pw",
    "KALSHI_API_KEY_ID": "key",
    "KEY_FILE": "/key.pem",
    "KALSHI_ALERT_SLACK_URL": "https://hooks.slack.com/services/x",
    "KALSHI_ALERT_PAGERDUTY_KEY": "key",
    "KALSHI_ALERT_SMTP_URL": "smtps://user:password@host",
    "KALSHI_ALERT_EMAIL_TO": "night@example.org",
}
_SETTINGS = {PREFIX + field.upper() for field in Settings.model_fields} | OTHER_NAMES


def _compose() -> dict[str, Any]:
    text = (_FOLDER / "compose.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{(\w+)[^}]*\}", lambda found: _GIVEN[found[1]], text))


def _services(image: str) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in _compose()["services"].items() if one["image"].startswith(image)}


def test_every_command_and_setting_exists() -> None:
    """What a container is told to run is ours or Dagster's, and so is each variable it is given."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, service in _services("kalshi-platform").items():
        program = service.get("entrypoint", ["kalshi-platform"])[0]
        assert program in {"kalshi-platform", "dagster-webserver", "/etc/kalshi/dagster-daemon.sh"}, name
        if program == "kalshi-platform":
            assert service["command"][0] in commands, name
        assert set(service["environment"]) <= _SETTINGS, name


def test_the_settings_of_each_container_fit() -> None:
    """The doctor has nothing against any."""
    for name, service in _services("kalshi-platform").items():
        values = {key.removeprefix(PREFIX).lower(): value for key, value in service["environment"].items()}
        findings = check_settings(Settings.model_validate(values), ())
        assert [one for one in findings if one.level is Level.SETTING] == [], name


def test_dagster_can_ask_the_exchange_and_tell_somebody() -> None:
    """The container whose children the runs are has key and alerts; every service but the page is asked how it is."""
    services = _compose()["services"]
    daemon = services["dagster-daemon"]
    assert {name for name in _GIVEN if name.startswith(PREFIX)} <= set(daemon["environment"])
    assert daemon["secrets"] == ["kalshi-key"]
    lasting = {name for name, one in services.items() if one.get("restart") != "no"}
    assert {name for name in lasting if "healthcheck" not in services[name]} == {"dagster-webserver"}


def test_everything_that_is_named_is_there() -> None:
    """Services that are waited for, hosts of addresses, volumes, secrets and files."""
    compose = _compose()
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        assert set(service.get("secrets", ())) <= set(compose["secrets"]), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (_FOLDER / source).is_file() if source.startswith("./") else source in compose["volumes"], name
        for value in service.get("environment", {}).values():
            for host in re.findall(r"@([\w-]+)/", str(value)):
                assert host in services, name
    gatherers = Settings(gatherers=services["deduplicator"]["environment"]["KALSHI_GATHERERS"]).gatherer_urls()
    assert set(gatherers) == {name for name, one in services.items() if one.get("command") == ["gather"]}
    assert all(urlsplit(url).hostname == f"{name}-db" for name, url in gatherers.items())


def test_the_image_is_made_of_files_that_are_there() -> None:
    """What is copied exists, is let through by the ignore file, and covers what the build needs."""
    text = (_FOLDER / "Dockerfile").read_text()
    let_through = {
        line[1:] for line in (_FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        copied |= {word for word in line.split()[:-1] if not word.startswith("--")}
    assert copied == let_through
    assert all((_ROOT / one).exists() for one in copied)
    assert set(re.findall(r"\b(KALSHI_\w+)=", text)) <= _SETTINGS
    assert {"pyproject.toml", "README.md", "LICENSE", "alembic"} <= copied, "the wheel is made of them"
    storage = yaml.safe_load((_FOLDER / "dagster-storage.yaml").read_text())
    assert set(storage).isdisjoint(yaml.safe_load((_ROOT / "dagster.yaml").read_text())), "one file behind the other"


@pytest.mark.skipif(shutil.which("psql") is None, reason="needs psql, as the containers have it")
async def test_logins_have_their_roles_and_no_more(gatherer_database: str, production_database: str) -> None:
    """The SQL of the compose file, run twice by psql on real databases."""
    password = "it's"
    environment = {**os.environ, "DATABASE_PASSWORD": password}
    expected = {
        Home.GATHERER: {"gatherer": Role.GATHERER, "sync": Role.SYNC},
        Home.PRODUCTION: {"dedup": Role.DEDUP, "export": Role.EXPORT, "catalogue": Role.CATALOGUE},
    }
    for home, url in ((Home.GATHERER, gatherer_database), (Home.PRODUCTION, production_database)):
        command = ["psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={_FOLDER}/logins-{home.value}.sql", url]
        for _ in range(2):
            await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, check=True)
        for login, role in expected[home].items():
            parts = urlsplit(url)
            own = parts._replace(netloc=f"{login}:{quote(password)}@{parts.hostname}:{parts.port}")
            connection = await asyncpg.connect(own.geturl())
            has = [one for one in ROLES_OF[home] if await connection.fetchval(_HAS, one.value)]
            assert has == [role]
            await connection.close()


_HAS = "SELECT pg_has_role(current_user, $1, 'MEMBER')"
