import json
from pathlib import Path

from kalshi_platform.lake.datasets import DATASETS, Period
from kalshi_platform.lake.glue import as_text, glue_template

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
