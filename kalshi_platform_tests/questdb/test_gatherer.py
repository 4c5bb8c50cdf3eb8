"""A gatherer that fills QuestDB besides PostgreSQL: both hold the same rows of every stream, key by key."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.simulator import running
from kalshi_platform_tests.gatherer.exchange_at_hand import gatherer, gathering, keys, options
from kalshi_platform_tests.queries import fetch
from kalshi_platform_tests.questdb.server import serving
from kalshi_platform_tests.waiting import until

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
                await until(lambda: all(table.name in questdb.tables for table in STREAM_TABLES), 90)
                await until(lambda: all(questdb.tables[table.name].rows for table in STREAM_TABLES), 90)
        for table in STREAM_TABLES:
            columns = ", ".join(table.key)
            ours = {tuple(row) for row in await fetch(gatherer_database, f"SELECT {columns} FROM {table.name}")}  # noqa: S608
            theirs = questdb.tables[table.name].rows
            assert len(ours) > 0, table.name
            assert {tuple(map(str, key)) for key in ours} == {
                tuple("" if part is None else str(part) for part in key) for key in theirs
            }, table.name
    assert one.metrics.questdb_rows.labels("dropped")._value.get() == 0


class LateSink:
    """A second sink that looks into PostgreSQL when it is asked to end."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._closed = asyncio.Event()
        self.sessions: list[Any] = []
        self.rows = 0

    def add(self, row: object) -> None:
        """Rows are counted alone."""
        self.rows += 1

    def close(self) -> None:
        """Asked to end."""
        self._closed.set()

    async def run(self) -> None:
        """Until then."""
        await self._closed.wait()
        query = "SELECT count(*), count(*) FILTER (WHERE ended_at IS NULL) FROM capture_sessions"
        self.sessions = await fetch(self._database, query)


async def test_postgresql_has_everything_before_the_second_sink_ends(
    tmp_path: Path, gatherer_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take seconds to end: they are not claimed as heard, and a kill then loses no row of the record."""
    private, public = keys(tmp_path)
    async with running(options(tmp_path, public)) as simulator:
        late = LateSink(gatherer_database)
        monkeypatch.setattr("kalshi_platform.gatherer.daemon._second_sink", lambda *_: late)
        one = gatherer(gatherer_database, simulator.rest_url, simulator.ws_url, private)
        async with gathering(one):
            await until(lambda: late.rows > 500)
    ((sessions, still_open),) = late.sessions
    assert sessions > 0
    assert still_open == 0
