"""Real PostgreSQL for every test that asks for it: one server a session, one fresh migrated database a test."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
import structlog

from kalshi_platform.core.schema import Home
from kalshi_platform.database.migrations import migrate
from kalshi_platform.exchange import bucket
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

DatabaseFactory = Callable[[], str]
"""Makes another fresh migrated database and returns its URL; it is dropped when the test ends."""

_numbers = count(1)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that was run in this process has pointed its log at a stream that is closed by now."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _buckets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that comes again belongs to another exchange: what the last one said of its limits is forgotten."""
    monkeypatch.setattr(bucket, "_buckets", {})


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children inherit an ignored SIGINT, as that of a job in the background is; a handled one they do not inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def roomy_place() -> Path | None:
    """Where databases of tests lie: in memory where there is plenty, which is several times faster; else anywhere."""
    memory = Path("/dev/shm")  # noqa: S108 - folders in it are made with mkdtemp
    is_plenty = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 * 2**30
    return memory if is_plenty else None


@pytest.fixture(scope="session")
def cluster(roomy_place: Path | None) -> Iterator[EmbeddedPostgres]:
    """A server for the whole session; it forgets what a power cut would take, which no test makes."""
    with tempfile.TemporaryDirectory(prefix="kalshi-tests-", dir=roomy_place) as folder:
        Path(folder).chmod(0o711)  # so that the server, which is not root, may stay in it
        server = EmbeddedPostgres(
            Path(folder) / "postgres", settings={"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on"}
        )
        try:
            with server:
                yield server
        finally:
            server.delete()


@pytest.fixture(scope="session")
def gatherer_template(cluster: EmbeddedPostgres) -> str:
    """The name of a migrated gatherer database that nobody connects to."""
    return _migrated_template(cluster, Home.GATHERER)


@pytest.fixture(scope="session")
def production_template(cluster: EmbeddedPostgres) -> str:
    """The name of a migrated production database that nobody connects to."""
    return _migrated_template(cluster, Home.PRODUCTION)


@pytest.fixture
def new_gatherer_database(cluster: EmbeddedPostgres, gatherer_template: str) -> Iterator[DatabaseFactory]:
    """Call it for as many fresh gatherer databases as a test needs."""
    with ExitStack() as stack:
        yield lambda: _fresh(cluster, gatherer_template, stack)


@pytest.fixture
def new_production_database(cluster: EmbeddedPostgres, production_template: str) -> Iterator[DatabaseFactory]:
    """Call it for as many fresh production databases as a test needs."""
    with ExitStack() as stack:
        yield lambda: _fresh(cluster, production_template, stack)


@pytest.fixture
def gatherer_database(new_gatherer_database: DatabaseFactory) -> str:
    """The URL of a fresh gatherer database."""
    return new_gatherer_database()


@pytest.fixture
def production_database(new_production_database: DatabaseFactory) -> str:
    """The URL of a fresh production database."""
    return new_production_database()


@pytest.fixture
def shared_data() -> Path:
    """The recorded tape beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the recorded tape in ../shared/data")
    return folder


def _migrated_template(cluster: EmbeddedPostgres, home: Home) -> str:
    name = f"{home.value}_template"
    cluster.create_database(name)
    migrate(cluster.url(name), home)
    return name


def _fresh(cluster: EmbeddedPostgres, template: str, stack: ExitStack) -> str:
    name = f"{template.removesuffix('_template')}_{next(_numbers)}"
    cluster.create_database(name, template=template)
    stack.callback(cluster.drop_database, name)
    return cluster.url(name)
