"""Each check of files is seen to fail on the defect that it is for, and to pass without it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import pyarrow as pa
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, STREAM_TABLES, TICKERS, TRADES, Table
from kalshi_platform.defs.checks.files import FILE_CHECKS
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

Rows = Sequence[dict[str, Any]]
Publish = Callable[[Table, Rows], None]

DELTA = {
    "exchange_ts": NOON, "ticker": "KXA", "side": True, "price": 560_000, "size_delta": 100, "occurrence": 0,
    "position": 0, "seq": 1, "received_at": NOON,
}  # fmt: skip
TRADE = {
    "exchange_ts": NOON, "trade_id": str(UUID(int=1)), "ticker": "KXA", "price": 560_000, "size": 100,
    "taker_side": True, "is_block_trade": False, "received_at": NOON,
}  # fmt: skip
TICKER = {
    "exchange_ts": NOON,
    "ticker": "KXA",
    "yes_bid": 550_000,
    "yes_ask": 560_000,
    "digest": 7,
    "received_at": NOON,
}
SNAPSHOT = {
    "snapshot_ts": NOON, "ticker": "KXA", "source": "checkpoint", "gatherer_id": "", "yes_prices": [540_000, 550_000],
    "yes_sizes": [100, 200], "no_prices": [440_000], "no_sizes": [300], "best_yes_bid": 550_000,
    "best_yes_ask": 560_000, "received_at": NOON,
}  # fmt: skip
GOOD = {TRADES: TRADE, ORDERBOOK_DELTAS: DELTA, TICKERS: TICKER, ORDERBOOK_SNAPSHOTS: SNAPSHOT}
TWICE = {
    TRADES: {"exchange_ts": NOON + SECOND},
    ORDERBOOK_DELTAS: {"position": 1, "seq": 2},
    TICKERS: {"received_at": NOON + SECOND},
    ORDERBOOK_SNAPSHOTS: {"received_at": NOON + SECOND},
}
"""What may differ in a second copy of a row, which is still the same row."""


@pytest.fixture
def publish(lake: Lake) -> Publish:
    """Writes a file of the lake that production never had."""

    def published(table: Table, rows: Rows) -> None:
        dataset = RAW[table.name]
        schema = pa.schema([pa.field(f.name, _as_integers(f.type), nullable=True) for f in dataset.schema])
        complete = [{name: row.get(name) for name in schema.names} for row in rows]
        batch = pa.RecordBatch.from_pylist(complete, schema=schema)
        write_partition(lake, dataset, dataset.period.floor(NOON), [batch])

    return published


def _as_integers(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_as_integers(kind.value_type))
    return pa.int64() if pa.types.is_decimal(kind) else kind


def check_of(table: Table, name: str) -> dg.AssetChecksDefinition:
    """The check of one table by its name."""
    return next(one for one in FILE_CHECKS if one.check_key == dg.AssetCheckKey(raw_key(table), name))


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_a_row_that_is_there_twice_fails_the_file(table: Table, publish: Publish, evaluate: Any) -> None:
    """By its key: another receipt, another position and, of a trade, another time do not make it another row."""
    check = check_of(table, "unique_keys")
    publish(table, [GOOD[table]])
    assert evaluate(check).passed
    publish(table, [GOOD[table], GOOD[table] | TWICE[table]])
    found = evaluate(check)
    assert not found.passed
    assert found.blocking
    key = "2026-11-20-12:00" if table in (ORDERBOOK_DELTAS, TICKERS) else "2026-11-20"
    assert found.description == f"{key}: KXA: more than once (1 rows, first at 2026-11-20 12:00)"
    assert found.partition == key
    facts = {name: one.value for name, one in found.metadata.items()}
    assert "materialize the partition again" in facts.pop("what_to_do")
    assert facts == {"rows": 2, "rows_wrong": 1, "markets_wrong": 1}


@pytest.mark.parametrize(
    ("table", "defect", "reason"),
    [
        (TRADES, {"price": 1_000_001}, "price outside 0 to 1 dollar"),
        (TRADES, {"size": 0}, "size not above 0"),
        (ORDERBOOK_DELTAS, {"price": -1}, "price outside 0 to 1 dollar"),
        (ORDERBOOK_DELTAS, {"size_delta": 0}, "no change"),
        (TICKERS, {"yes_ask": 1_010_000}, "price outside 0 to 1 dollar"),
        (TICKERS, {"volume": -1}, "size below 0"),
        (ORDERBOOK_SNAPSHOTS, {"yes_sizes": [100]}, "prices without sizes"),
        (ORDERBOOK_SNAPSHOTS, {"no_prices": [1_440_000]}, "price outside 0 to 1 dollar"),
        (ORDERBOOK_SNAPSHOTS, {"yes_sizes": [100, 0]}, "level without contracts"),
        (ORDERBOOK_SNAPSHOTS, {"yes_prices": [550_000, 540_000]}, "levels not ascending"),
        (ORDERBOOK_SNAPSHOTS, {"best_yes_ask": 550_000}, "crossed book"),
    ],
    ids=lambda value: value.name if isinstance(value, Table) else "-".join(value) if isinstance(value, dict) else value,
)
def test_a_value_that_cannot_be_fails_the_file(
    table: Table, defect: dict[str, Any], reason: str, publish: Publish, evaluate: Any
) -> None:
    """The reason, the market and the partition are named."""
    publish(table, [GOOD[table], GOOD[table] | {"ticker": "KXB", **defect}])
    found = evaluate(check_of(table, "possible_values"))
    assert not found.passed
    assert found.blocking
    assert f": KXB: {reason} (1 rows" in str(found.description)
    assert found.metadata["markets_wrong"].value == 1


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_values_that_can_be_pass(table: Table, publish: Publish, evaluate: Any) -> None:
    """An empty file does too."""
    check = check_of(table, "possible_values")
    publish(table, [GOOD[table]])
    assert evaluate(check).passed
    publish(table, [])
    assert evaluate(check).passed


@pytest.mark.parametrize("table", [TRADES, ORDERBOOK_DELTAS], ids=lambda table: table.name)
def test_a_price_off_its_markets_grid_is_a_warning(table: Table, publish: Publish, evaluate: Any, note: Any) -> None:
    """Whole cents in the middle, tenths at the rims; a price of the no side is looked at in the frame of yes."""
    bands = [("0.0000", "0.1000", "0.0010"), ("0.1000", "0.9000", "0.0100"), ("0.9000", "1.0000", "0.0010")]
    ranges = ", ".join(f'{{"start": "{start}", "end": "{end}", "step": "{step}"}}' for start, end, step in bands)
    for ticker in ("KXA", "KXB"):
        note(
            "markets", ticker=ticker, event_ticker="E", status="active", seen_at=NOON + SECOND, updated_ts=NOON,
            object=f'{{"price_ranges": [{ranges}]}}',
        )  # fmt: skip
    check = check_of(table, "tick_grid")
    row = GOOD[table]
    off = [row | {"exchange_ts": NOON + 2 * SECOND, "price": 565_000}]  # since the last sync it may have changed
    fine = [row, row | {"price": 905_000}, row | {"ticker": "KXUNKNOWN", "price": 123_456}, *off]
    publish(table, fine)
    found = evaluate(check)
    assert found.passed
    assert found.metadata["rows_looked_at"].value == 2, "not the unknown market's, nor those since the last sync"
    publish(table, off)
    found = evaluate(check)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN), "green for nothing"
    assert "nothing was looked at" in str(found.description)
    publish(table, [*fine, row | {"ticker": "KXB", "price": 565_000}])
    found = evaluate(check)
    assert not found.passed
    assert not found.blocking
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert "KXB: price 0.565 is off the grid" in str(found.description)
    if table is ORDERBOOK_DELTAS:
        publish(table, [row | {"side": False, "price": 95_000}, row | {"side": False, "price": 905_000}])
        assert evaluate(check).passed
        publish(table, [row | {"side": False, "price": 435_000}])
        assert not evaluate(check).passed


def test_a_grid_is_known_until_the_last_sync_of_all_markets(
    publish: Publish, evaluate: Any, note: Any, instance: dg.DagsterInstance
) -> None:
    """What did not change is in no list of a sync; rows since then were looked at by nobody, so after each night."""
    ranges = '[{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]'
    note(
        "markets", ticker="KXA", event_ticker="E", status="active", seen_at=NOON, updated_ts=NOON,
        object=f'{{"price_ranges": {ranges}}}',
    )  # fmt: skip
    check = check_of(TRADES, "tick_grid")
    publish(TRADES, [GOOD[TRADES] | {"exchange_ts": NOON + 2 * SECOND, "price": 565_000}])
    assert "nothing was looked at" in str(evaluate(check).description)
    synced = {"synced_from": dg.MetadataValue.timestamp(NOON + 3 * SECOND)}
    instance.report_runless_asset_event(dg.AssetMaterialization(["production", "markets"], metadata=synced))
    assert "KXA: price 0.565 is off the grid" in str(evaluate(check).description)
