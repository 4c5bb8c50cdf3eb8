"""Production's tables as external assets: there for lineage, columns and freshness, filled by the deduplicator.

- Add here: tables that a daemon fills and assets read.
- Keep out: anything that Dagster makes itself.
- The hour of a stream table, or its day so far, is reported as materialized by the sensor `closed_hours`, once an hour
  is complete.
- Dagster's word: external assets, https://docs.dagster.io/guides/build/assets/external-assets
"""

import dagster as dg

from kalshi_platform.core.schema import Home, Table, tables_of
from kalshi_platform.defs.metadata import COLUMN_SCHEMA, production_columns
from kalshi_platform.defs.partitions import partitions_of

OWNER = "team:market-data"


def production_key(table: Table) -> dg.AssetKey:
    """The asset that a table of production is."""
    return dg.AssetKey(["production", table.name])


def _external(table: Table) -> dg.AssetSpec:
    return dg.AssetSpec(
        production_key(table),
        description=table.comment,
        metadata={COLUMN_SCHEMA: production_columns(table), "key": ", ".join(table.key)},
        group_name="production",
        owners=[OWNER],
        kinds={"postgres", "table"},
        partitions_def=partitions_of(table) if table.time_column else None,
    )


PRODUCTION_TABLES = [_external(table) for table in tables_of(Home.PRODUCTION)]
"""Every table of production."""
