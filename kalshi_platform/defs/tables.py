"""Production's tables as external assets: there for lineage, columns and freshness, filled by the deduplicator.

- Add here: tables that a daemon fills and assets read.
- Keep out: anything that Dagster makes itself.
- The hour of a stream table, or its day so far, is reported as materialized by the sensor `closed_hours`, once an hour
  is complete.
- Dagster's word: external assets, https://docs.dagster.io/guides/build/assets/external-assets
"""

import dagster as dg

from kalshi_platform.core.schema import EVENTS, MARKET_STATUSES, MARKETS, SERIES, Home, Table, tables_of
from kalshi_platform.defs.channels import merged_from
from kalshi_platform.defs.metadata import COLUMN_SCHEMA, OWNER, table_columns
from kalshi_platform.defs.partitions import partitions_of

SYNCED_TABLES = (SERIES, EVENTS, MARKETS)
"""Tables that Dagster fills itself (`metadata_sync`)."""


def production_key(table: Table) -> dg.AssetKey:
    """The asset that a table of production is."""
    return dg.AssetKey(["production", table.name])


def _external(table: Table) -> dg.AssetSpec:
    return dg.AssetSpec(
        production_key(table),
        deps=[production_key(MARKETS)] if table is MARKET_STATUSES else merged_from(table),
        description=table.comment,
        metadata={COLUMN_SCHEMA: table_columns(table, Home.PRODUCTION), "key": ", ".join(table.key)},
        group_name="production",
        owners=[OWNER],
        kinds={"postgres", "table"},
        partitions_def=partitions_of(table) if table.time_column else None,
    )


PRODUCTION_TABLES = [_external(table) for table in tables_of(Home.PRODUCTION) if table not in SYNCED_TABLES]
"""Every table of production that daemons fill."""
