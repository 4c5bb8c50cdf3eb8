from collections.abc import Callable
from urllib.parse import urlsplit

import asyncpg

from kalshi_platform.database.catalog import source_identity
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres


async def identity_of(url: str) -> str:
    """The identity of a database."""
    connection = await asyncpg.connect(url)
    try:
        return await source_identity(connection)
    finally:
        await connection.close()


async def test_identity_tells_databases_and_clusters_apart(new_empty_database: Callable[[], str]) -> None:
    """The same for the same database; another for its neighbour, and when it is made anew under its name."""
    first, second = new_empty_database(), new_empty_database()
    identity = await identity_of(first)
    assert identity == await identity_of(first)
    system, timeline, oid = identity.split("/")
    assert int(system) > 0
    assert timeline == "1"
    assert (await identity_of(second)).split("/")[:2] == [system, timeline]
    assert (await identity_of(second)).split("/")[2] != oid


async def test_database_made_anew_is_another(cluster: EmbeddedPostgres) -> None:
    """A gatherer rebuilt under its name gives out other transaction ids for other rows."""
    identities = set()
    for _ in range(2):
        cluster.create_database("rebuilt")
        assert urlsplit(cluster.url("rebuilt")).path == "/rebuilt"
        identities.add(await identity_of(cluster.url("rebuilt")))
        cluster.drop_database("rebuilt")
    assert len(identities) == 2
