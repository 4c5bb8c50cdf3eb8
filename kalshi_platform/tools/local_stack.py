"""The whole platform on this machine: databases, exchange simulator, three gatherers, deduplicator.

Each part is a process of its own, as in production; this room starts them, it does not import them. Everything lies
in one folder. Kept out: what is done with the running platform (demo).
"""

import asyncio
import json
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import asyncpg

from kalshi_platform.core.schema import Home
from kalshi_platform.database.migrations import migrate
from kalshi_platform.database.roles import ROLES_OF, Role, create_login
from kalshi_platform.tools.children import Child, plain_environment, platform_command
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform.tools.own_exchange import wait_ready, write_keys

GATHERERS = ("gatherer-1", "gatherer-2", "gatherer-3")
PRODUCTION = "production"
DEDUPLICATOR = "deduplicator"
SIMULATOR = "simulator"
_DATABASE = "kalshi"
_DRAIN_SECONDS = 45.0  # longer than a gatherer gives itself
_BOOK_CONNECTIONS = 4
_LIVE_BOOK_CONNECTIONS = 14  # room for 105,000 markets; three gatherers stay below 200 connections a key


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What to start.

    Attributes:
        folder: Holds everything: databases, logs, ledger, lake.
        live: Capture the exchange that the settings name instead of a simulator.
        markets: Markets of the simulator.
        rate: Messages a second of the simulator, in total.
        seed: Of the simulator's traffic.
        port_base: First of the ports used; None takes free ones.
        checkpoint_seconds: Interval of book checkpoints.
        settle_seconds: How late a message may come.
    """

    folder: Path
    live: bool = False
    markets: int = 200
    rate: int = 500
    seed: int = 1
    port_base: int | None = None
    checkpoint_seconds: int = 5
    settle_seconds: float = 1.0


class LocalStack:
    """The running platform; use as a context manager, from the main thread."""

    def __init__(self, options: StackOptions) -> None:
        self.options = options
        self.folder = options.folder
        self.ledger = options.folder / "ledger.ndjson"
        self.lake = options.folder / "lake"
        self.children: list[Child] = []
        self.metrics_ports: dict[str, int] = {}
        self.exchange: Mapping[str, str] = {}
        self._ports = _ports(options.port_base)
        self._databases: dict[str, EmbeddedPostgres] = {}
        self._passwords: dict[tuple[str, Role], str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self) -> Iterator[str]:
        """Start everything in order; yields what is being done, for a person to read."""
        for folder in (self.folder, self._folder("logs"), self._folder("keys"), self.lake):
            folder.mkdir(parents=True, exist_ok=True)
        for name in (*GATHERERS, PRODUCTION):
            yield f"database of {name}"
            self._start_database(name)
        yield "tables and roles"
        asyncio.run(self._create_logins())
        exchange = dict(_settings_of(os.environ)) if self.options.live else {}
        if not self.options.live:
            yield "exchange simulator"
            exchange = self._start_simulator()
        self.exchange = exchange
        yield "gatherers and deduplicator"
        for name in GATHERERS:
            self._start_gatherer(name, exchange)
        self._start_deduplicator()
        self._note_processes()

    def production_url(self) -> str:
        """Production's database, to read."""
        return self._url(PRODUCTION, Role.EXPORT)

    def catalogue_url(self) -> str:
        """Production's database, to write what Dagster fetches over REST."""
        return self._url(PRODUCTION, Role.CATALOGUE)

    def gatherer_url(self, name: str) -> str:
        """A gatherer's database, to read."""
        return self._url(name, Role.SYNC)

    def places(self) -> list[Path]:
        """Where the data is: one folder, and for root the databases' own where PostgreSQL may not enter that."""
        away = {database.data_folder.parent for database in self._databases.values()}
        return [self.folder, *sorted(one for one in away if not one.is_relative_to(self.folder))]

    def keep_running(self) -> list[str]:
        """Start again whatever died; returns the names.

        Raises:
            PlatformError: Where something cannot run.
        """
        restarted = [child.name for child in self.children if child.keep_running()]
        if restarted:
            self._note_processes()
        return restarted

    def stop_traffic(self) -> None:
        """Let the simulator finish its tape; sockets stay open."""
        next(child for child in self.children if child.name == SIMULATOR).send(signal.SIGUSR1)

    def stop_gatherers(self) -> None:
        """Let the gatherers write what they have heard, and end for good."""
        leaving = [child for child in self.children if child.name in GATHERERS]
        self.children = [child for child in self.children if child.name not in GATHERERS]
        for child in leaving:
            child.stop(_DRAIN_SECONDS)

    def free_port(self) -> int:
        """The next port of this stack."""
        return next(self._ports)

    def _folder(self, name: str) -> Path:
        return self.folder / name

    def _start_database(self, name: str) -> None:
        database = EmbeddedPostgres(self._folder("databases") / name, next(self._ports))
        self._stack.enter_context(database)
        database.create_database(_DATABASE)
        migrate(database.url(_DATABASE), _home_of(name))
        self._databases[name] = database

    async def _create_logins(self) -> None:
        """A login for each role, with no more than the role may do."""
        for name, database in self._databases.items():
            connection = await asyncpg.connect(database.url(_DATABASE))
            for role in ROLES_OF[_home_of(name)]:
                password = self._passwords[name, role] = secrets.token_urlsafe(24)
                await create_login(connection, _login_of(role), password, role)
                if role is Role.CATALOGUE:  # Dagster's own login: it fetches missed trades too
                    await create_login(connection, _login_of(role), password, Role.DEDUP)
            await connection.close()

    def _url(self, name: str, role: Role) -> str:
        port = self._databases[name].port
        return f"postgresql://{_login_of(role)}:{quote(self._passwords[name, role])}@127.0.0.1:{port}/{_DATABASE}"

    def _start_simulator(self) -> dict[str, str]:
        port, key_id = next(self._ports), "demo"
        private, public = write_keys(self._folder("keys"))
        options = self.options
        arguments = ["simulate", "--port", port, "--markets", options.markets, "--rate", options.rate]
        arguments += ["--seed", options.seed, "--ledger", self.ledger, "--key", f"{key_id}={public}"]
        ready = self.folder / "simulator.port"
        ready.unlink(missing_ok=True)
        simulator = self._start(SIMULATOR, [str(one) for one in [*arguments, "--ready-file", ready]], {})
        wait_ready(simulator, ready)
        return {
            "KALSHI_REST_URL": f"http://127.0.0.1:{port}/trade-api/v2",
            "KALSHI_WS_URL": f"ws://127.0.0.1:{port}/trade-api/ws/v2",
            "KALSHI_API_KEY_ID": key_id,
            "KALSHI_PRIVATE_KEY_PATH": str(private),
        }

    def _start_gatherer(self, name: str, exchange: Mapping[str, str]) -> None:
        books = _LIVE_BOOK_CONNECTIONS if self.options.live else _BOOK_CONNECTIONS
        counts = {"TICKER": 1, "TRADE": 1, "LIFECYCLE": 1, "ORDERBOOK": books}
        connections = {f"KALSHI_{role}_CONNECTIONS": str(count) for role, count in counts.items()}
        own = {
            "KALSHI_GATHERER_ID": name,
            "KALSHI_GATHERER_DATABASE_URL": self._url(name, Role.GATHERER),
            "KALSHI_CHECKPOINT_SECONDS": str(self.options.checkpoint_seconds),
            "KALSHI_SETTLE_SECONDS": str(self.options.settle_seconds),
            "KALSHI_SPOOL_DIRECTORY": str(self._folder("spool")),
        }
        self._start(name, ["gather"], {**connections, **exchange, **own, **self._metrics(name)})

    def _start_deduplicator(self) -> None:
        own = {
            "KALSHI_GATHERERS": ",".join(f"{name}={self._url(name, Role.SYNC)}" for name in GATHERERS),
            "KALSHI_PRODUCTION_DATABASE_URL": self._url(PRODUCTION, Role.DEDUP),
        }
        self._start(DEDUPLICATOR, ["deduplicate"], {**own, **self._metrics(DEDUPLICATOR)})

    def _metrics(self, name: str) -> dict[str, str]:
        self.metrics_ports[name] = next(self._ports)
        return {"KALSHI_METRICS_PORT": str(self.metrics_ports[name]), "KALSHI_LOG_FORMAT": "json"}

    def _start(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> Child:
        child = Child(
            name,
            platform_command(*arguments),
            plain_environment(**environment),
            self._folder("logs"),
            may_restart=name != SIMULATOR,  # another exchange would begin another ledger
        )
        child.start()
        self._stack.callback(child.stop)
        self.children.append(child)
        return child

    def _note_processes(self) -> None:
        """Who runs as what, for people and tests."""
        pids = {child.name: child.pid for child in self.children}
        pids |= {f"database of {name}": database.pid for name, database in self._databases.items()}
        fresh = self._folder("processes.json.new")
        fresh.write_text(json.dumps(pids, indent=2))
        fresh.rename(self._folder("processes.json"))


def _home_of(name: str) -> Home:
    return Home.PRODUCTION if name == PRODUCTION else Home.GATHERER


def _login_of(role: Role) -> str:
    """The one login of a role on this machine: gatherer, sync, dedup, export."""
    return role.value.removeprefix("kalshi_")


def _ports(base: int | None) -> Iterator[int]:
    while True:
        if base is not None:
            yield base
            base += 1
            continue
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        yield port


def _settings_of(environment: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("KALSHI_")}
