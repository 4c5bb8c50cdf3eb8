"""A production database, a lake and a Dagster instance that live for one test."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import dagster as dg
import pytest

from kalshi_platform.core.schema import SYNC_CURSORS, Table
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.defs.resources import CatalogueDatabase, Exchange, LakeFolder, ProductionDatabase
from kalshi_platform.lake.layout import Lake
from kalshi_platform.simulator import Simulator
from kalshi_platform_tests.defs.exchange_thread import ExchangeThread
from kalshi_platform_tests.defs.sensor_at_hand import TOLD, Sensor, Told

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

Fill = Callable[..., None]

Evaluate = Callable[..., dg.AssetCheckEvaluation]
"""Runs one check as its own page does, in a real run, of the partition of a moment; returns what it found."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake")


@pytest.fixture
def resources(production_database: str, lake: Lake) -> dict[str, Any]:
    """The resources of the code location, on this test's database and lake."""
    return {"production": ProductionDatabase(url=production_database), "lake": LakeFolder(root=str(lake.root))}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A quiet exchange with 25 markets."""
    with ExchangeThread() as exchange:
        yield exchange


@pytest.fixture
def resources_over_rest(resources: dict[str, Any], production_database: str, simulator: Simulator) -> dict[str, Any]:
    """The resources of the code location, this test's exchange among them."""
    return resources | {
        "catalogue": CatalogueDatabase(url=production_database), "exchange": Exchange(rest_url=simulator.rest_url)
    }  # fmt: skip


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance without a past."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def sensor(instance: dg.DagsterInstance, resources: dict[str, Any]) -> Callable[[Any], Sensor]:
    """Makes one; what it says to people is in `alerts`."""
    TOLD.clear()
    return lambda definition: Sensor(definition, instance, resources | {"alerts": Told()})


@pytest.fixture
def evaluate(resources: dict[str, Any], instance: dg.DagsterInstance) -> Evaluate:
    """On this test's database, lake and instance."""

    def evaluated(check: dg.AssetChecksDefinition, moment: datetime = NOON) -> dg.AssetCheckEvaluation:
        (spec,) = check.check_specs
        cut = spec.partitions_def
        key = moment.strftime(cut.fmt) if isinstance(cut, dg.TimeWindowPartitionsDefinition) else None
        job = dg.define_asset_job("one_check", selection=dg.AssetSelection.checks(check))
        definitions = dg.Definitions(asset_checks=[check], jobs=[job], resources=resources)
        result = definitions.resolve_job_def("one_check").execute_in_process(
            instance=instance, raise_on_error=False, tags={"dagster/partition": key} if key else None
        )
        (evaluation,) = result.get_asset_check_evaluations()
        assert evaluation.partition == key
        assert result.success is (evaluation.passed or not evaluation.blocking)
        return evaluation

    return evaluated


@pytest.fixture
def note(production_database: str) -> Fill:
    """Puts one row into any table of this test's production."""

    async def noted(table: str, row: dict[str, Any]) -> None:
        connection = await asyncpg.connect(production_database)
        try:
            places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
            query = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"  # noqa: S608 - a test's own names
            await connection.execute(query, *row.values())
        finally:
            await connection.close()

    return lambda table, **row: asyncio.run(noted(table, row))


@pytest.fixture
def fill(production_database: str) -> Fill:
    """Puts rows into a table of this test's production, by a way that the export does not share."""

    async def copied(table: Table, rows: tuple[dict[str, Any], ...]) -> None:
        connection = await asyncpg.connect(production_database)
        try:
            if table.time_column is not None:
                await ensure_partitions(connection, table, {row[table.time_column].date() for row in rows})
            records = [tuple(row.values()) for row in rows]
            await connection.copy_records_to_table(table.name, records=records, columns=list(rows[0]))
        finally:
            await connection.close()

    return lambda table, *rows: asyncio.run(copied(table, rows))


@pytest.fixture
def delta() -> Callable[..., dict[str, Any]]:
    """Makes a delta so many milliseconds after noon."""

    def made(milliseconds: int, **values: Any) -> dict[str, Any]:
        moment = NOON + timedelta(milliseconds=milliseconds)
        row = {"exchange_ts": moment, "ticker": "KXA", "side": True, "price": 560_000, "size_delta": 100}
        return row | {"occurrence": 0, "position": 0, "seq": 1, "received_at": moment} | values

    return made


@pytest.fixture
def merged_until(production_database: str) -> Callable[[Table, datetime], None]:
    """Says in production that its one gatherer has been merged up to a moment."""

    async def said(table: Table, mark: datetime) -> None:
        connection = await asyncpg.connect(production_database)
        try:
            await connection.execute(
                f"INSERT INTO {SYNC_CURSORS.name} "  # noqa: S608 - a name of the schema
                "(gatherer_id, table_name, source, next_xid, watermark, rows_read, rows_merged) "
                "VALUES ('gatherer-1', $1, '1/1/1', '1', $2, 0, 0) "
                "ON CONFLICT (gatherer_id, table_name, shard) DO UPDATE SET watermark = excluded.watermark",
                table.name,
                mark,
            )
        finally:
            await connection.close()

    return lambda table, mark: asyncio.run(said(table, mark))
