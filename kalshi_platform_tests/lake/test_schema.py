import pyarrow as pa
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, STREAM_TABLES, TRADES, Table
from kalshi_platform.lake.schema import lake_schema, source_schema


def test_prices_are_dollars_and_sizes_contracts() -> None:
    """Units become decimals that show dollars and contracts."""
    schema = lake_schema(ORDERBOOK_DELTAS)
    assert schema.field("price").type == pa.decimal128(9, 6)
    assert schema.field("size_delta").type == pa.decimal128(18, 2)
    assert schema.field("exchange_ts").type == pa.timestamp("us", "UTC")
    assert schema.field("side").type == pa.bool_()


def test_levels_are_lists_of_decimals() -> None:
    """A snapshot's arrays are lists without empty places."""
    levels = lake_schema(ORDERBOOK_SNAPSHOTS).field("yes_prices").type
    assert levels.value_type == pa.decimal128(9, 6)
    assert not levels.value_field.nullable


def test_trade_id_is_text_and_taker_side_may_be_missing() -> None:
    """Types and nullability follow the schema."""
    schema = lake_schema(TRADES)
    assert schema.field("trade_id").type == pa.string()
    assert schema.field("taker_side").nullable
    assert not schema.field("price").nullable


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_every_column_explains_itself_in_the_units_of_the_lake(table: Table) -> None:
    """No comment speaks of the integers that stay inside."""
    for field in lake_schema(table):
        comment = field.metadata[b"comment"].decode()
        assert comment
        if pa.types.is_decimal(field.type) or pa.types.is_list(field.type):
            assert "micro" not in comment
            assert "hundredth" not in comment


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_only_what_production_has_is_kept(table: Table) -> None:
    """Columns that belong to gatherers alone stay there."""
    names = source_schema(table).names
    assert names == lake_schema(table).names
    assert not {"ingest_xid", "sid"} & set(names)
