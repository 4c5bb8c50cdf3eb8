import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kalshi_platform.defs.partitions import partitions_of
from kalshi_platform.lake.datasets import DATASETS, Dataset, Period
from kalshi_platform.lake.glue import as_text, glue_template
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

FILE = Path(__file__).parents[2] / "deploy" / "athena" / "glue.json"


def test_the_template_is_the_one_that_the_datasets_make() -> None:
    """Write it anew with `python -m kalshi_platform.lake.glue > deploy/athena/glue.json`."""
    assert FILE.read_text() == as_text()


def test_each_dataset_is_a_table_where_its_files_are() -> None:
    """Location, partitions and columns follow the layout of the lake."""
    resources = glue_template()["Resources"]
    tables = {
        one["Properties"]["TableInput"]["Name"]: one["Properties"]["TableInput"]
        for one in json.loads(json.dumps(resources)).values()
        if one["Type"] == "AWS::Glue::Table"
    }
    assert len(tables) == len(resources) - 1 == len(DATASETS)
    for dataset in DATASETS:
        table = tables[f"{dataset.layer}_{dataset.name}"]
        assert [column["Name"] for column in table["StorageDescriptor"]["Columns"]] == dataset.schema.names
        is_hourly = dataset.period is Period.HOUR
        assert [key["Name"] for key in table["PartitionKeys"]] == ["date", "hour"][: 1 + is_hourly]
        place = table["Parameters"]["storage.location.template"]["Fn::Sub"]
        partition = "date=${!date}/hour=${!hour}/" if is_hourly else "date=${!date}/"
        assert place == f"${{LakeRoot}}/{dataset.layer}/{dataset.name}/{partition}"


def test_each_type_is_that_of_the_file(lake: Lake) -> None:
    """By what Parquet itself says of each column: a decimal of other digits would be read as another number."""
    resources = glue_template()["Resources"].values()
    tables = [one["Properties"]["TableInput"] for one in resources if one["Type"] == "AWS::Glue::Table"]
    for dataset, table in zip(DATASETS, tables, strict=True):
        assert table["Name"] == f"{dataset.layer}_{dataset.name}"
        schema = pq.read_metadata(write_partition(lake, dataset, NEW_YEAR, []).path).schema
        kinds = [(schema.column(nth), "list" in schema.column(nth).path) for nth in range(len(schema))]
        expected = [f"array<{_athenas(column)}>" if is_list else _athenas(column) for column, is_list in kinds]
        assert [column["Type"] for column in table["StorageDescriptor"]["Columns"]] == expected


def _athenas(column: Any) -> str:
    """What Athena calls a column of a Parquet file."""
    told = json.loads(column.logical_type.to_json())
    if told["Type"] == "Decimal":
        return f"decimal({told['precision']},{told['scale']})"
    if told["Type"] == "Timestamp":
        assert told["isAdjustedToUTC"]
        return "timestamp"
    kinds = {"INT32": "int", "INT64": "bigint", "BOOLEAN": "boolean", "BYTE_ARRAY": "binary"}
    return "string" if told["Type"] == "String" else kinds[column.physical_type]


@pytest.mark.parametrize("dataset", DATASETS, ids=str)
def test_no_partition_lies_before_what_is_projected(dataset: Dataset) -> None:
    """What Dagster may write, Athena looks for: a day before the first projected one is as if it were not there."""
    table = glue_template()["Resources"][f"{dataset.layer} {dataset.name}".title().translate({95: "", 32: ""})]
    first, last = table["Properties"]["TableInput"]["Parameters"]["projection.date.range"].split(",")
    assert date.fromisoformat(first) <= partitions_of(dataset).start.date()
    assert last == "NOW"


def test_types_are_what_athena_reads() -> None:
    """Prices are decimals, books are arrays of them, times are timestamps."""
    columns = {
        column["Name"]: column["Type"]
        for column in glue_template()["Resources"]["RawOrderbookSnapshots"]["Properties"]["TableInput"][
            "StorageDescriptor"
        ]["Columns"]
    }
    assert columns["snapshot_ts"] == "timestamp"
    assert columns["yes_prices"] == "array<decimal(9,6)>"
    assert columns["best_yes_bid"] == "decimal(9,6)"
