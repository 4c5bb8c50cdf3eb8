"""The lake for Athena: a CloudFormation template with a Glue table for each dataset, made from `datasets`.

Partitions are projected from the dates and hours that can be, so that nothing crawls and no partition is ever added.
`python -m kalshi_platform.lake.glue > deploy/athena/glue.json` writes it; a test holds the file against this module.
Kept out: the bucket, workgroups and who may read, which belong to whoever runs it.
"""

import json
import sys
from typing import Any

import pyarrow as pa

from kalshi_platform.lake.aggregates import checkpoint_levels_sql, emptied_books_sql
from kalshi_platform.lake.datasets import DATASETS, Dataset, Period

_TYPES: dict[pa.DataType, str] = {
    pa.timestamp("us", tz="UTC"): "timestamp",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.bool_(): "boolean",
    pa.int32(): "int",
    pa.int64(): "bigint",
}
_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"
_FIRST_DAYS = {Period.DAY: "2021-07-01", Period.HOUR: "2026-08-01"}
"""Trades can be had since the exchange opened, streams since they were recorded: what lies before a table's first day
is not there for Athena, and each day more is looked for where a query names none."""
_COMMENT_LENGTH = 255  # Glue's limit


def glue_template() -> dict[str, Any]:
    """The whole template."""
    tables = {_name(dataset): _table(dataset) for dataset in DATASETS}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Glue tables of the Kalshi lake, with partition projection, for Athena.",
        "Parameters": {
            "LakeRoot": {"Type": "String", "Description": "s3://bucket/prefix, without a slash at its end"},
            "Database": {"Type": "String", "Default": "kalshi"},
        },
        "Resources": {
            "GlueDatabase": {
                "Type": "AWS::Glue::Database",
                "Properties": {"CatalogId": {"Ref": "AWS::AccountId"}, "DatabaseInput": {"Name": {"Ref": "Database"}}},
            },
            **tables,
        },
        "Metadata": {
            "checkpoint_levels": checkpoint_levels_sql("athena", "raw_orderbook_snapshots"),
            "emptied_books": emptied_books_sql("athena", "raw_orderbook_snapshots"),
        },
    }


def _table(dataset: Dataset) -> dict[str, Any]:
    place = f"${{LakeRoot}}/{dataset.layer}/{dataset.name}"
    keys = [{"Name": "date", "Type": "date", "Comment": "Day, UTC."}]
    projection = {
        "projection.enabled": "true",
        "projection.date.type": "date",
        "projection.date.format": "yyyy-MM-dd",
        "projection.date.range": f"{_FIRST_DAYS[dataset.period]},NOW",
    }
    partition = "date=${!date}"
    if dataset.period is Period.HOUR:
        keys.append({"Name": "hour", "Type": "int", "Comment": "Hour of the day, UTC."})
        projection |= {
            "projection.hour.type": "integer",
            "projection.hour.range": "0,23",
            "projection.hour.digits": "2",
        }
        partition += "/hour=${!hour}"
    parameters: dict[str, Any] = {"classification": "parquet", **projection}
    parameters["storage.location.template"] = {"Fn::Sub": f"{place}/{partition}/"}
    storage = {
        "Location": {"Fn::Sub": f"{place}/"},
        "InputFormat": f"{_PARQUET}.MapredParquetInputFormat",
        "OutputFormat": f"{_PARQUET}.MapredParquetOutputFormat",
        "SerdeInfo": {"SerializationLibrary": f"{_PARQUET}.serde.ParquetHiveSerDe"},
        "Columns": [_column(field) for field in dataset.schema],
    }
    table = {
        "Name": f"{dataset.layer}_{dataset.name}",
        "Description": dataset.comment,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "PartitionKeys": keys,
        "StorageDescriptor": storage,
    }
    properties = {"CatalogId": {"Ref": "AWS::AccountId"}, "DatabaseName": {"Ref": "GlueDatabase"}, "TableInput": table}
    return {"Type": "AWS::Glue::Table", "Properties": properties}


def _name(dataset: Dataset) -> str:
    """A name that CloudFormation takes: letters and digits."""
    return f"{dataset.layer}_{dataset.name}".title().replace("_", "")


def _column(field: pa.Field) -> dict[str, str]:
    comment = (field.metadata or {}).get(b"comment", b"").decode()
    return {"Name": field.name, "Type": glue_type(field.type), "Comment": comment[:_COMMENT_LENGTH]}


def glue_type(arrow: pa.DataType) -> str:
    """What Glue calls a type."""
    if pa.types.is_list(arrow):
        return f"array<{glue_type(arrow.value_type)}>"
    if pa.types.is_decimal(arrow):
        return f"decimal({arrow.precision},{arrow.scale})"
    return _TYPES[arrow]


def as_text() -> str:
    """The file in `deploy/athena`."""
    return json.dumps(glue_template(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_text())
