from datetime import UTC, datetime

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, TRADES, Home
from kalshi_platform.defs.metadata import lake_columns, partition_metadata, table_columns
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.writer import PartitionFacts

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_columns_are_shown_as_each_side_has_them() -> None:
    """Integers in production, decimals in the lake, the same names in the same order."""
    production = {column.name: column.type for column in table_columns(ORDERBOOK_DELTAS, Home.PRODUCTION).columns}
    lake = {column.name: column.type for column in lake_columns(RAW["orderbook_deltas"]).columns}
    assert list(production) == list(lake)
    assert (production["price"], lake["price"]) == ("int32", "decimal128(9, 6)")


def test_columns_that_may_be_missing_say_so() -> None:
    """Nullability is a constraint that the page shows."""
    nullable = {column.name: column.constraints.nullable for column in table_columns(TRADES, Home.PRODUCTION).columns}
    assert nullable["taker_side"]
    assert not nullable["price"]


def test_a_written_partition_tells_its_facts() -> None:
    """Rows, size, hash, place and span; an hour without rows has no span."""
    facts = PartitionFacts("/lake/x", rows=4, bytes=50, sha256="ab", min_ts=NOON, max_ts=NOON)
    shown = {name: value.value for name, value in partition_metadata(RAW["trades"], facts).items()}
    assert shown["dagster/row_count"] == 4
    assert (shown["bytes"], shown["bytes_per_row"], shown["sha256"]) == (50, 12.5, "ab")
    assert shown["first_row"] == NOON.timestamp()
    empty = PartitionFacts("/lake/x", rows=0, bytes=50, sha256="ab", min_ts=None, max_ts=None)
    assert not {"first_row", "bytes_per_row"} & set(partition_metadata(RAW["trades"], empty))
