import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import dagster as dg
import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.catalogue import EventFacts, MarketFacts, SeriesFacts
from kalshi_platform.core.schema import MARKETS
from kalshi_platform.database.metadata import upsert
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.raw_state import STATE_ASSETS
from kalshi_platform.defs.tables import production_key
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
KEY = f"{TODAY:%Y-%m-%d}"

Export = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def export(resources: dict[str, Any], instance: dg.DagsterInstance) -> Export:
    """Writes all three for a day."""
    return lambda key: dg.materialize(
        STATE_ASSETS, resources=resources, instance=instance, partition_key=key, raise_on_error=False
    )


@pytest.fixture
def known(production_database: str) -> MarketFacts:
    """One series, event and market of production."""
    market = MarketFacts(
        ticker="M", event_ticker="E", status="finalized", floor_strike=Decimal("70000.5"), settlement_value=1_000_000,
        open_time=TODAY, seen_at=TODAY + timedelta(seconds=1), object={"title": "Über 3°", "n": Decimal("1.10")},
    )  # fmt: skip

    async def store() -> None:
        connection = await asyncpg.connect(production_database)
        for facts in (
            SeriesFacts(ticker="S", fee_multiplier=Decimal("0.07"), seen_at=TODAY, object={}),
            EventFacts(event_ticker="E", series_ticker="S", mutually_exclusive=True, seen_at=TODAY, object={}),
            market,
        ):
            await upsert(connection, [facts])
        await connection.close()

    asyncio.run(store())
    return market


def test_what_production_knows_is_in_the_lake(export: Export, known: MarketFacts, lake: Lake) -> None:
    """Decimals exact, prices in dollars, the object as text; no more than production knew."""
    assert export(KEY).success
    (row,) = pq.read_table(lake.path(RAW["markets"], TODAY), partitioning=None).to_pylist()
    assert (row["ticker"], row["floor_strike"], row["settlement_value"]) == ("M", Decimal("70000.5"), Decimal(1))
    assert row["open_time"] == known.open_time
    assert '"Über 3°"' in row["object"]
    assert '"n": 1.10' in row["object"]
    (series,) = pq.read_table(lake.path(RAW["series"], TODAY), partitioning=None).to_pylist()
    assert series["fee_multiplier"] == Decimal("0.07")


def test_the_same_state_gives_the_same_bytes(export: Export, known: MarketFacts, lake: Lake) -> None:
    """However much later it is written."""
    contents = []
    for _ in range(2):
        assert export(KEY).success
        with open(lake.path(RAW["markets"], TODAY), "rb") as file:  # noqa: PTH123 - paths of the lake are text
            contents.append(file.read())
    assert contents[0] == contents[1]


def test_a_day_that_is_over_is_not_written(export: Export, known: MarketFacts, lake: Lake) -> None:
    """Today's state is no evidence of last week's."""
    result = export(f"{TODAY - timedelta(days=7):%Y-%m-%d}")
    assert not result.success
    assert lake.starts(RAW["markets"]) == []


def test_an_empty_table_is_an_empty_file(export: Export, lake: Lake) -> None:
    """Nothing is known yet, and that is what the file says."""
    assert export(KEY).success
    assert pq.read_table(lake.path(RAW["events"], TODAY), partitioning=None).num_rows == 0


def test_today_is_asked_for_every_hour_and_no_other_day(
    resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    """Not before the first sync; then at once; then once an hour, however often the sync comes."""
    defs = build_defs(resources)
    everything = dg.AssetSelection.all()
    clock = TODAY + timedelta(hours=6, minutes=10)
    cursor: Any = None

    def tick(minutes: int) -> set[str | None]:
        nonlocal clock, cursor
        clock += timedelta(minutes=minutes)
        result = dg.evaluate_automation_conditions(defs, instance, everything, evaluation_time=clock, cursor=cursor)
        cursor = result.cursor
        asked = set(result.get_requested_partitions(raw_key(MARKETS)))
        for partition in asked:
            instance.report_runless_asset_event(dg.AssetMaterialization(raw_key(MARKETS), partition=partition))
        return asked

    def synced() -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(production_key(MARKETS)))

    assert tick(0) == set()
    synced()
    assert tick(5) == {KEY}
    asked = []
    for _ in range(24):  # two hours of syncs
        synced()
        asked.append(tick(5))
    assert [one for one in asked if one] == [{KEY}, {KEY}]
