"""A gatherer that fills QuestDB besides PostgreSQL: both hold the same rows of every stream, key by key."""

from pathlib import Path

import pytest

from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.simulator import running
from kalshi_platform_tests.gatherer.exchange_at_hand import gatherer, gathering, keys, options, until
from kalshi_platform_tests.queries import fetch
from kalshi_platform_tests.questdb.server import serving

pytest.importorskip("questdb", reason="needs the extra [questdb]")


async def test_both_hold_the_same_rows(tmp_path: Path, gatherer_database: str) -> None:
    """Fed from the router; what waits at the end is sent before the gatherer ends."""
    private, public = keys(tmp_path)
    with serving() as questdb:
        async with running(options(tmp_path, public)) as simulator:
            one = gatherer(
                gatherer_database, simulator.rest_url, simulator.ws_url, private, questdb=questdb.configuration
            )
            async with gathering(one):
                await until(lambda: len(questdb.tables) == 4 and all(one.rows for one in questdb.tables.values()), 90)
        for table in STREAM_TABLES:
            columns = ", ".join(table.key)
            ours = {tuple(row) for row in await fetch(gatherer_database, f"SELECT {columns} FROM {table.name}")}  # noqa: S608
            theirs = questdb.tables[table.name].rows
            assert len(ours) > 0, table.name
            assert {tuple(map(str, key)) for key in ours} == {
                tuple("" if part is None else str(part) for part in key) for key in theirs
            }, table.name
    assert one.metrics.questdb_rows.labels("dropped")._value.get() == 0
