"""Servers of the oldest and the newest PostgreSQL at hand, for what must hold on all of them."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

OLD_BINARIES = Path("/usr/lib/postgresql/15/bin")

_numbers = count(1)


@pytest.fixture(scope="session")
def old_cluster(roomy_place: Path | None) -> Iterator[EmbeddedPostgres]:
    """The system's PostgreSQL 15."""
    if not OLD_BINARIES.exists():
        pytest.skip(f"needs PostgreSQL 15 in {OLD_BINARIES}")
    with tempfile.TemporaryDirectory(prefix="kalshi-tests-", dir=roomy_place) as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "postgres", binaries=OLD_BINARIES, settings={"fsync": "off"})
        try:
            with server:
                yield server
        finally:
            server.delete()


@pytest.fixture(params=["18", "15"])
def server(request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """PostgreSQL 18 and, where it is installed, 15."""
    found = request.getfixturevalue("cluster" if request.param == "18" else "old_cluster")
    assert isinstance(found, EmbeddedPostgres)
    return found


@pytest.fixture
def new_empty_database(server: EmbeddedPostgres) -> Iterator[Callable[[], str]]:
    """Call it for as many empty databases as a test needs; returns their URLs."""
    made: list[str] = []

    def make() -> str:
        made.append(f"empty_{next(_numbers)}")
        server.create_database(made[-1])
        return server.url(made[-1])

    yield make
    for name in made:
        server.drop_database(name)


@pytest.fixture
def empty_database(new_empty_database: Callable[[], str]) -> str:
    """The URL of an empty database."""
    return new_empty_database()
