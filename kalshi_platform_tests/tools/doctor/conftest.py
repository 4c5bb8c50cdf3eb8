"""An installation in which all is well: two real databases with logins of their own, a simulated exchange, a key."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from kalshi_platform.database.roles import Role, create_login
from kalshi_platform.simulator import SimulatorOptions, running, write_key_pair

KEY_ID = "key-1"


@dataclass(frozen=True)
class Installation:
    """Where it is, and its environment."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    gatherer_owner: str
    production_owner: str

    def set(self, **settings: str | None) -> None:
        """Change settings; None takes one away."""
        for name, value in settings.items():
            if value is None:
                self.monkeypatch.delenv(f"KALSHI_{name}", raising=False)
            else:
                self.monkeypatch.setenv(f"KALSHI_{name}", value)


@pytest.fixture
async def installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gatherer_database: str, production_database: str
) -> AsyncIterator[Installation]:
    """In a folder of its own, where commands find their settings."""
    monkeypatch.chdir(tmp_path)
    write_key_pair(tmp_path / "private.pem", tmp_path / "public.pem", "ed25519")
    (tmp_path / "private.pem").chmod(0o600)
    here = Installation(tmp_path, monkeypatch, gatherer_database, production_database)
    gatherer = await login(gatherer_database, Role.GATHERER)
    sync = await login(gatherer_database, Role.SYNC)
    production = await login(production_database, Role.EXPORT)
    options = SimulatorOptions(markets=10, rate=0.0, keys={KEY_ID: tmp_path / "public.pem"})
    async with running(options) as simulator:
        here.set(
            REST_URL=simulator.rest_url, WS_URL=simulator.ws_url, API_KEY_ID=KEY_ID,
            PRIVATE_KEY_PATH=str(tmp_path / "private.pem"), GATHERER_DATABASE_URL=gatherer,
            GATHERERS=f"gatherer-1={sync}", PRODUCTION_DATABASE_URL=production, METRICS_PORT="0",
            SPOOL_BYTES=str(2**20), LAKE_URL=str(tmp_path / "lake"),
        )  # fmt: skip
        yield here


async def login(url: str, role: Role) -> str:
    """An address for a user with this role only; users are the cluster's, so each database has its own."""
    parts = urlsplit(url)
    name = f"{role.value}_of{parts.path.replace('/', '_')}"
    connection = await asyncpg.connect(url)
    await create_login(connection, name, "s3cret", role)
    await connection.close()
    return parts._replace(netloc=f"{name}:s3cret@{parts.hostname}:{parts.port}").geturl()
