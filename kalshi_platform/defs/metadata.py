"""Metadata: the facts of tables and files in the words that Dagster's pages understand.

- Add here: turning columns and facts into Dagster's metadata.
- Keep out: gathering the facts.
- The names `dagster/row_count` and `dagster/column_schema` are Dagster's own; it draws them specially.
- Dagster's word: metadata, https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

import dagster as dg

from kalshi_platform.core.schema import Home, Table
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.schema import SCHEMA_VERSION
from kalshi_platform.lake.writer import PartitionFacts

OWNER = "team:market-data"
"""Who answers for every asset of this location."""

COLUMN_SCHEMA = "dagster/column_schema"
ROW_COUNT = "dagster/row_count"


def table_columns(table: Table, home: Home) -> dg.TableSchema:
    """The columns of a table as one kind of database has them."""
    return dg.TableSchema(
        [_column(c.name, c.type.value, c.comment, nullable=c.nullable) for c in table.columns_of(home)]
    )


def lake_columns(dataset: Dataset) -> dg.TableSchema:
    """The columns of a dataset of the lake."""
    return dg.TableSchema(
        [_column(f.name, str(f.type), f.metadata[b"comment"].decode(), nullable=f.nullable) for f in dataset.schema]
    )


def partition_metadata(dataset: Dataset, facts: PartitionFacts) -> dict[str, dg.MetadataValue]:
    """What is known of one written partition."""
    metadata: dict[str, dg.MetadataValue] = {
        ROW_COUNT: dg.MetadataValue.int(facts.rows),
        COLUMN_SCHEMA: dg.MetadataValue.table_schema(lake_columns(dataset)),
        "bytes": dg.MetadataValue.int(facts.bytes),
        "sha256": dg.MetadataValue.text(facts.sha256),
        "path": dg.MetadataValue.path(facts.path),
        "schema_version": dg.MetadataValue.int(SCHEMA_VERSION),
    }
    if facts.min_ts is not None and facts.max_ts is not None:
        metadata["first_row"] = dg.MetadataValue.timestamp(facts.min_ts)
        metadata["last_row"] = dg.MetadataValue.timestamp(facts.max_ts)
        metadata["bytes_per_row"] = dg.MetadataValue.float(round(facts.bytes / facts.rows, 2))
    return metadata


def _column(name: str, type_name: str, comment: str, *, nullable: bool) -> dg.TableColumn:
    return dg.TableColumn(name, type_name, comment, dg.TableColumnConstraints(nullable=nullable))
