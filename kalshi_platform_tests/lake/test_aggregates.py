from datetime import UTC, datetime, timedelta

import pytest

from kalshi_platform.lake.aggregates import AGGREGATE_NAMES, aggregate_sql
from kalshi_platform.lake.datasets import AGGREGATES
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.reader import connect


def test_each_aggregate_of_the_lake_is_defined() -> None:
    """Neither a dataset without a definition nor a definition without a dataset."""
    assert set(AGGREGATE_NAMES) == set(AGGREGATES)
    with pytest.raises(KeyError, match="candles_1m"):
        aggregate_sql("candles", datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize("name", AGGREGATE_NAMES)
def test_a_definition_gives_the_columns_of_its_dataset(lake: Lake, name: str, noon: datetime) -> None:
    """Names and types, over a lake in which nothing is yet; times come with or without the zone, which is UTC."""
    rows = connect(lake).sql(aggregate_sql(name, noon, noon + timedelta(hours=1))).to_arrow_table()
    expected = AGGREGATES[name].schema
    assert set(rows.column_names) == set(expected.names)
    assert rows.select(expected.names).cast(expected.remove_metadata()).num_rows == 0
    decimals = {field.name: field.type for field in expected if str(field.type).startswith("decimal")}
    assert {field: rows.schema.field(field).type for field in decimals} == decimals
