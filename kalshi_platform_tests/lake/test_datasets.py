from datetime import UTC, datetime

import pyarrow as pa
import pytest

from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.lake.datasets import DATASETS, PROCESSED, RAW, Dataset, Layer, Period
from kalshi_platform.lake.schema import lake_schema

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_streams_are_cut_by_how_much_they_hold() -> None:
    """Deltas and tickers by the hour; trades, whole books and the state of markets by the day."""
    assert {name: dataset.period for name, dataset in RAW.items()} == {
        "trades": Period.DAY, "orderbook_deltas": Period.HOUR, "orderbook_snapshots": Period.DAY,
        "tickers": Period.HOUR, "series": Period.DAY, "events": Period.DAY, "markets": Period.DAY,
    }  # fmt: skip


def test_deltas_are_ordered_by_market_time_and_position() -> None:
    """Position comes before the rest of the key, so that a market's changes stand in the order they happened."""
    assert RAW["orderbook_deltas"].sort == (
        "ticker", "exchange_ts", "position", "side", "price", "size_delta", "occurrence",
    )  # fmt: skip


def test_tables_without_position_are_ordered_by_their_key() -> None:
    """Ticker, time, then what makes a row unique."""
    assert RAW["trades"].sort == ("ticker", "exchange_ts", "trade_id")


@pytest.mark.parametrize("dataset", DATASETS, ids=str)
def test_every_dataset_is_whole(dataset: Dataset) -> None:
    """It is ordered by columns that it has, knows its time, and explains itself and each column."""
    assert set(dataset.sort) <= set(dataset.schema.names)
    assert dataset.time is None or dataset.schema.field(dataset.time).type == pa.timestamp("us", tz="UTC")
    assert dataset.comment
    assert all(field.metadata[b"comment"] for field in dataset.schema)
    assert dataset.schema.metadata[b"comment"]


def test_names_are_used_once_in_a_layer() -> None:
    """A path is one dataset's."""
    for layer in Layer:
        names = [dataset.name for dataset in DATASETS if dataset.layer is layer]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_processed_rows_are_raw_rows_and_two_columns_more(table: object) -> None:
    """What reads one reads the other."""
    for name, dataset in PROCESSED.items():
        assert dataset.schema.names == [*RAW[name].schema.names, "event_ticker", "series_ticker"]
        assert dataset.sort == RAW[name].sort


@pytest.mark.parametrize(
    "moment",
    [datetime(2026, 11, 21, 1, 30, tzinfo=UTC), datetime(2026, 11, 21, 1)],  # noqa: DTZ001
)
def test_a_period_begins_at_its_start(moment: datetime) -> None:
    """A moment inside an hour, or one without a zone, names no partition."""
    with pytest.raises(ValueError, match="not the start of an hour"):
        Period.HOUR.start(moment)


def test_a_day_begins_at_midnight_of_utc() -> None:
    """Noon is no day's start; its day is found."""
    with pytest.raises(ValueError, match="not the start of a day"):
        Period.DAY.start(NOON)
    assert Period.DAY.floor(NOON) == NOON.replace(hour=0)
    assert RAW["trades"].end(NOON.replace(hour=0)) == datetime(2026, 11, 21, tzinfo=UTC)


def test_schemas_are_those_of_the_tables() -> None:
    """Nothing is written twice."""
    for table in STREAM_TABLES:
        assert RAW[table.name].schema == lake_schema(table)
