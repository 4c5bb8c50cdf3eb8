"""Files of a day that say how something stood, rather than what happened: one asset a table, written anew as it lasts.

- Add here: what such assets share.
- Keep out: when each is written, and what (`raw_state`, `raw_coverage`).
- Dagster's word: assets, https://docs.dagster.io/guides/build/assets
"""

from collections.abc import Callable, Sequence

import dagster as dg

from kalshi_platform.core.schema import Table
from kalshi_platform.defs.lake import PRODUCTION_READS, raw_key
from kalshi_platform.defs.metadata import COLUMN_SCHEMA, OWNER, lake_columns, partition_metadata
from kalshi_platform.defs.partitions import DAILY
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.steps import attempting
from kalshi_platform.defs.tables import production_key
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.schema import SCHEMA_VERSION
from kalshi_platform.lake.writer import PartitionFacts

Write = Callable[[Table, str, ProductionDatabase, LakeFolder], PartitionFacts]
"""Writes the file of a table and a partition key."""


def day_asset(
    table: Table,
    dataset: Dataset,
    description: str,
    condition: dg.AutomationCondition[dg.AssetKey],
    write: Write,
    after: Sequence[dg.AssetKey] = (),
) -> dg.AssetsDefinition:
    """An asset of the raw layer with one file a day, made of a table of production and after some other assets."""

    @dg.asset(
        key=raw_key(table),
        deps=[production_key(table), *after],
        description=description,
        metadata={COLUMN_SCHEMA: lake_columns(dataset)},
        group_name="raw",
        owners=[OWNER],
        kinds={"parquet"},
        code_version=str(SCHEMA_VERSION),
        partitions_def=DAILY,
        automation_condition=condition,
        pool=PRODUCTION_READS,
    )
    def day(
        context: dg.AssetExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.MaterializeResult[None]:
        """Writes the day as it is known now."""
        with attempting(context, context.partition_key):
            facts = write(table, context.partition_key, production, lake)
        context.log.info(f"{context.partition_key}: {facts.rows} rows, {facts.bytes} bytes, {facts.path}")
        return dg.MaterializeResult(metadata=partition_metadata(dataset, facts))

    return day
