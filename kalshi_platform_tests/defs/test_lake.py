import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import dagster as dg
import pytest

from kalshi_platform.core.schema import (
    COVERAGE_HOURS,
    LAKE_PROOFS,
    ORDERBOOK_DELTAS,
    ORDERBOOK_SNAPSHOTS,
    STREAM_TABLES,
    TICKERS,
    TRADES,
    UNCOVERED_INTERVALS,
    Table,
)
from kalshi_platform.database.export import ExportError
from kalshi_platform.defs.checks.parity import PARITY_CHECKS
from kalshi_platform.defs.lake import RAW_ASSETS, raw_key
from kalshi_platform.defs.partitions import key_at
from kalshi_platform.defs.resources import ProductionDatabase
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.manifest import read_manifest
from kalshi_platform.lake.reader import connect

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = "2026-11-20-12:00"
RANGE = {
    "dagster/asset_partition_range_start": "2026-11-20-11:00",
    "dagster/asset_partition_range_end": "2026-11-20-13:00",
}

Export = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def export(resources: dict[str, Any], instance: dg.DagsterInstance) -> Export:
    """Makes a table's raw partitions and runs their check."""

    def exported(table: Table, **where: Any) -> dg.ExecuteInProcessResult:
        asset = next(asset for asset in RAW_ASSETS if asset.key == raw_key(table))
        check = next(c for c in PARITY_CHECKS if next(iter(c.check_keys)).asset_key == raw_key(table))
        return dg.materialize([asset, check], resources=resources, instance=instance, **where)

    return exported


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str | None, dict[str, Any]]:
    """What was recorded of each partition."""
    return {
        event.materialization.partition: {key: entry.value for key, entry in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        for event in [event.step_materialization_data]
    }


def test_deltas_in_the_lake_equal_those_in_production(export: Export, fill: Any, delta: Any, lake: Lake) -> None:
    """Equal deltas of one millisecond, negative ones, extremes of price and size: each row, exactly, in order."""
    rows = [
        delta(5, position=1, occurrence=1),
        delta(5),
        delta(5, position=2, side=False, price=1, size_delta=-(10**18) + 1),
        delta(3_599_999, ticker="KXÅ", price=1_000_000, size_delta=-1),
    ]
    fill(ORDERBOOK_DELTAS, *rows, delta(-1), delta(3_600_000))
    assert export(ORDERBOOK_DELTAS, partition_key=KEY).success
    relation = connect(lake).sql("SELECT * EXCLUDE (date, hour) FROM orderbook_deltas ORDER BY ticker, position")
    found = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    scaled = [
        row | {"price": Decimal(row["price"]).scaleb(-6), "size_delta": Decimal(row["size_delta"]).scaleb(-2)}
        for row in (rows[1], rows[0], rows[2], rows[3])
    ]
    assert found == scaled


def test_trades_tickers_and_snapshots_are_exact_too(export: Export, fill: Any, lake: Lake) -> None:
    """Ids, missing values and lists of levels come through."""
    trade = {"exchange_ts": NOON, "trade_id": UUID(int=7), "ticker": "KXA", "price": 999_999, "size": 1}
    trade |= {"taker_side": None, "is_block_trade": True, "received_at": NOON}
    ticker = {"exchange_ts": NOON, "ticker": "KXA", "last_price": None, "volume": 12_345, "digest": -(2**63)}
    ticker |= {"dollar_volume": 2**62, "received_at": NOON}
    book = {"snapshot_ts": NOON, "ticker": "KXA", "source": "checkpoint", "gatherer_id": "", "yes_prices": [1, 560_000]}
    book |= {"yes_sizes": [100, 250], "no_prices": [], "no_sizes": [], "best_yes_bid": 560_000, "received_at": NOON}
    for table, row in ((TRADES, trade), (TICKERS, ticker), (ORDERBOOK_SNAPSHOTS, book)):
        fill(table, row)
        assert export(table, partition_key=key_at(table, NOON)).success
    connection = connect(lake)
    trades = connection.execute("SELECT trade_id, price, size, taker_side, is_block_trade FROM trades").fetchall()
    assert trades == [(str(UUID(int=7)), Decimal("0.999999"), Decimal("0.01"), None, True)]
    tickers = connection.execute("SELECT last_price, volume, dollar_volume, digest FROM tickers").fetchall()
    assert tickers == [(None, Decimal("123.45"), 2**62, -(2**63))]
    levels = "SELECT yes_prices, yes_sizes, no_prices, best_yes_bid FROM orderbook_snapshots"
    expected = ([Decimal("0.000001"), Decimal("0.56")], [Decimal("1.00"), Decimal("2.50")], [], Decimal("0.56"))
    assert connection.execute(levels).fetchall() == [expected]


def test_a_second_run_gives_the_same_bytes(export: Export, fill: Any, delta: Any) -> None:
    """What a partition holds does not depend on when or how often it was made."""
    fill(ORDERBOOK_DELTAS, *(delta(n % 100, position=n, occurrence=n, ticker=f"KX{n % 5}") for n in range(2_000)))
    runs = [export(ORDERBOOK_DELTAS, partition_key=KEY) for _ in range(2)]
    first, second = (metadata_of(run)[KEY] for run in runs)
    assert first == second
    assert len(first["sha256"]) == 64


def test_a_run_of_several_hours_tells_of_each(export: Export, fill: Any, delta: Any, lake: Lake) -> None:
    """Each partition has its own facts; an hour without rows is an empty file, not a missing one."""
    fill(ORDERBOOK_DELTAS, delta(0), delta(1), delta(3_600_000))
    result = export(ORDERBOOK_DELTAS, tags=RANGE)
    facts = metadata_of(result)
    assert {key: of["dagster/row_count"] for key, of in facts.items()} == {
        "2026-11-20-11:00": 0, "2026-11-20-12:00": 2, "2026-11-20-13:00": 1,
    }  # fmt: skip
    for start, of in zip((NOON + timedelta(hours=n) for n in (-1, 0, 1)), facts.values(), strict=True):
        path = lake.path(RAW[ORDERBOOK_DELTAS.name], start)
        assert of["path"] == path
        assert of["bytes"] == Path(path).stat().st_size
        assert of["dagster/column_schema"].columns
    *each, together = result.get_asset_check_evaluations()
    assert [one.partition for one in each] == list(facts)
    assert together.passed
    assert together.metadata["partitions"].value == 3


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_an_hour_of_silence_is_exported(export: Export, lake: Lake, table: Table) -> None:
    """Production without a row, or without the day's partition, still gives a file."""
    assert export(table, partition_key=key_at(table, NOON)).success
    assert lake.starts(RAW[table.name]) == [RAW[table.name].period.floor(NOON)]


def test_a_day_is_written_as_far_as_it_is_complete_and_then_whole(
    export: Export, fill: Any, merged_until: Any, lake: Lake
) -> None:
    """What follows the watermark waits; a watermark that went back takes nothing away."""
    trade = {"exchange_ts": NOON, "trade_id": UUID(int=7), "ticker": "KXA", "price": 1, "size": 1}
    trade |= {"is_block_trade": False, "received_at": NOON}
    fill(TRADES, trade, trade | {"exchange_ts": NOON + HOUR, "trade_id": UUID(int=8)})
    found = []
    for mark in (NOON + HOUR + timedelta(minutes=5), NOON, NOON + 12 * HOUR):
        merged_until(TRADES, mark)
        assert export(TRADES, partition_key="2026-11-20").success
        footer = read_footer(lake, RAW["trades"], NOON.replace(hour=0))
        assert footer is not None
        found.append((footer.source_rows, footer.window_end))
    assert found == [(1, NOON + HOUR), (1, NOON + HOUR), (2, NOON + 12 * HOUR)]


def test_a_day_of_which_nobody_knows_how_far_it_is_merged_is_not_closed(
    export: Export, fill: Any, note: Any, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the clock: a gatherer that was not read yet may have rows of any hour. Of none, nothing is awaited."""
    monkeypatch.setattr("kalshi_platform.defs.steps._TRIES_AGAIN", 0)
    trade = {"exchange_ts": NOON, "trade_id": UUID(int=7), "ticker": "KXA", "price": 1, "size": 1}
    fill(TRADES, trade | {"is_block_trade": False, "received_at": NOON})
    note(
        "sync_cursors",
        gatherer_id="gatherer-1",
        table_name="trades",
        source="1/1/1",
        next_xid=1,
        rows_read=0,
        rows_merged=0,
    )
    result = export(TRADES, partition_key="2026-11-20", raise_on_error=False)
    assert not result.success
    assert lake.starts(RAW["trades"]) == []
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "nobody knows how far trades are merged" in str(failure.step_failure_data.error)
    today = datetime.now(UTC)
    assert export(ORDERBOOK_SNAPSHOTS, partition_key=key_at(ORDERBOOK_SNAPSHOTS, today)).success
    footer = read_footer(lake, RAW["orderbook_snapshots"], today.replace(hour=0, minute=0, second=0, microsecond=0))
    assert footer is not None
    assert footer.window_end == footer.window_start, "a day that lasts is closed by a watermark alone"


def test_a_partition_that_cannot_be_made_takes_no_other_along(
    export: Export, fill: Any, delta: Any, lake: Lake
) -> None:
    """The first of three was dropped: the others are in the lake, and the error names it."""
    fill(ORDERBOOK_DELTAS, delta(0), delta(3_600_000))
    dropped = {"table_name": ORDERBOOK_DELTAS.name, "window_start": NOON - HOUR, "window_end": NOON, "row_count": 2}
    fill(LAKE_PROOFS, dropped | {"sha256": "", "path": "", "checked_at": NOON, "dropped_at": NOON})
    result = export(ORDERBOOK_DELTAS, tags=RANGE, raise_on_error=False)
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "1 of 3 partitions failed, the others are made: 2026-11-20-11:00: production has dropped" in str(
        failure.step_failure_data.error
    )
    assert lake.starts(RAW[ORDERBOOK_DELTAS.name]) == [NOON, NOON + HOUR]


class Away(ProductionDatabase):
    """Cannot be read of one hour, so many times."""

    times: int

    def read_window(self, table: Table, start: datetime, end: datetime) -> Any:
        """Refuse, or read."""
        if start == NOON and len(_refused) < self.times:
            _refused.append(start)
            raise ExportError("the server closed the connection")
        return super().read_window(table, start, end)


_refused: list[datetime] = []


@pytest.mark.parametrize(("times", "made"), [(1, 3), (9, 2)], ids=["for a moment", "for good"])
def test_what_may_recover_is_tried_again_and_at_last_takes_no_other_along(
    times: int, made: int, resources: dict[str, Any], instance: dg.DagsterInstance, lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A run waits for its database as a whole; where one hour stays unreadable, the last try makes the rest."""
    monkeypatch.setattr("kalshi_platform.defs.steps._FIRST_WAIT_SECONDS", 0)
    _refused.clear()
    asset = next(asset for asset in RAW_ASSETS if asset.key == raw_key(ORDERBOOK_DELTAS))
    away = resources | {"production": Away(url=resources["production"].url, times=times)}
    result = dg.materialize([asset], tags=RANGE, resources=away, instance=instance, raise_on_error=False)
    assert result.success is (made == 3)
    assert len(_refused) == min(times, 4)
    assert len(lake.starts(RAW[ORDERBOOK_DELTAS.name])) == made


def test_an_hour_that_production_dropped_is_not_written_again(
    export: Export, fill: Any, delta: Any, lake: Lake, production_database: str
) -> None:
    """A straggler after the drop must not take the place of the only copy."""
    fill(ORDERBOOK_DELTAS, delta(0), delta(1))
    assert export(ORDERBOOK_DELTAS, partition_key=KEY).success
    file = Path(lake.path(RAW[ORDERBOOK_DELTAS.name], NOON))
    before = file.read_bytes()
    fill(LAKE_PROOFS, {"table_name": ORDERBOOK_DELTAS.name, "window_start": NOON, "window_end": NOON + HOUR}
         | {"row_count": 2, "sha256": "", "path": "", "checked_at": NOON, "dropped_at": NOON})  # fmt: skip
    fill(ORDERBOOK_DELTAS, delta(2))
    assert not export(ORDERBOOK_DELTAS, partition_key=KEY, raise_on_error=False).success
    assert file.read_bytes() == before


class Dropping(ProductionDatabase):
    """Retention drops the rows in the moment before they are read."""

    def read_window(self, table: Table, start: datetime, end: datetime) -> Any:
        """Drop, note it, read."""
        asyncio.run(self._drop(table, start, end))
        return super().read_window(table, start, end)

    async def _drop(self, table: Table, start: datetime, end: datetime) -> None:
        connection = await asyncpg.connect(self.address())
        try:
            async with connection.transaction():
                await connection.execute(f"DELETE FROM {table.name}")  # noqa: S608 - a name of the schema
                await connection.execute(
                    "INSERT INTO lake_proofs (table_name, window_start, window_end, row_count, sha256, path, "
                    "checked_at, dropped_at) VALUES ($1, $2, $3, 2, '', '', now(), now())",
                    table.name, start, end,
                )  # fmt: skip
        finally:
            await connection.close()


def test_an_hour_that_is_dropped_just_before_it_is_read_stays_in_the_lake(
    export: Export, fill: Any, delta: Any, lake: Lake, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    """Between looking whether it was dropped and reading it, it may be: nothing is read then, and nothing written."""
    fill(ORDERBOOK_DELTAS, delta(0), delta(1))
    assert export(ORDERBOOK_DELTAS, partition_key=KEY).success
    file = Path(lake.path(RAW[ORDERBOOK_DELTAS.name], NOON))
    before = file.read_bytes()
    asset = next(asset for asset in RAW_ASSETS if asset.key == raw_key(ORDERBOOK_DELTAS))
    dropping = resources | {"production": Dropping(url=resources["production"].url)}
    result = dg.materialize([asset], partition_key=KEY, resources=dropping, instance=instance, raise_on_error=False)
    assert not result.success
    assert file.read_bytes() == before


async def _lose(url: str, row: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"DELETE FROM {row}")  # noqa: S608 - ours
    await connection.close()


def test_a_production_that_lost_rows_leaves_fuller_files_alone(
    export: Export, fill: Any, delta: Any, lake: Lake, production_database: str
) -> None:
    """It was restored from a backup, and gatherers do not go back that far: the lake has the only copy."""
    fill(ORDERBOOK_DELTAS, delta(0), delta(1))
    assert export(ORDERBOOK_DELTAS, partition_key=KEY).success
    file = Path(lake.path(RAW[ORDERBOOK_DELTAS.name], NOON))
    before = file.read_bytes()
    asyncio.run(_lose(production_database, "orderbook_deltas WHERE exchange_ts = (SELECT max(exchange_ts) FROM "
                                           "orderbook_deltas)"))  # fmt: skip
    assert not export(ORDERBOOK_DELTAS, partition_key=KEY, raise_on_error=False).success
    assert file.read_bytes() == before
    file.write_bytes(before[: len(before) // 2])  # what cannot be read is no copy
    assert export(ORDERBOOK_DELTAS, partition_key=KEY).success


def test_what_nobody_heard_stands_beside_the_file(export: Export, fill: Any, delta: Any, lake: Lake) -> None:
    """Holes of the hour as production reckoned them; before it has, nobody claims anything."""
    fill(ORDERBOOK_DELTAS, delta(0))
    assert export(ORDERBOOK_DELTAS, partition_key=KEY).success
    manifest = read_manifest(lake, RAW["orderbook_deltas"], NOON)
    assert manifest is not None
    assert manifest.markets is None
    reckoned = {"hour": NOON, "channel": "orderbook_delta"}
    fill(COVERAGE_HOURS, reckoned | {"markets": 7, "uncovered_markets": 1, "uncovered_us": 60_000_000}
         | {"gatherers": "gatherer-1", "behind": "{}", "is_stale": False})  # fmt: skip
    hole = {"from_at": NOON + timedelta(minutes=5), "until_at": NOON + timedelta(minutes=6)}
    fill(UNCOVERED_INTERVALS, reckoned | {"ticker": "KXA"} | hole)
    assert export(ORDERBOOK_DELTAS, partition_key=KEY).success
    manifest = read_manifest(lake, RAW["orderbook_deltas"], NOON)
    assert manifest is not None
    assert manifest.markets == 7
    assert [(one.ticker, one.from_at, one.until_at) for one in manifest.uncovered] == [("KXA", *hole.values())]
