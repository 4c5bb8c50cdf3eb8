"""Series, events and markets: synced from the exchange into production.

- Add here: assets that are tables of production and that Dagster fills itself.
- Keep out: the walks (`kalshi_platform.metadata`), when they are due (`schedules`), and their snapshots (`raw_state`).
- An incremental sync begins where the last one that ended well began: Dagster's own record of it is the memory. Without
  one, the first sync is full.
- Dagster's word: assets and jobs, https://docs.dagster.io/guides/build/jobs
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from kalshi_platform.core.schema import EVENTS, MARKETS, SERIES, Home, Table
from kalshi_platform.defs.channels import REST_KEY
from kalshi_platform.defs.metadata import COLUMN_SCHEMA, OWNER, ROW_COUNT, table_columns
from kalshi_platform.defs.resources import CatalogueDatabase, Exchange, ProductionDatabase
from kalshi_platform.defs.steps import attempting, run_async
from kalshi_platform.defs.tables import production_key
from kalshi_platform.metadata.report import Kind, MetadataReport, Mode, Step
from kalshi_platform.metadata.sync import sync_metadata

METADATA = "metadata"
"""The group of these assets."""

SYNCED_FROM = "synced_from"
"""Metadata of a materialization: when its sync began, from which on the next one asks."""

_TELL_SECONDS = 5.0
_SHOWN = 10
_TABLES = {SERIES: Kind.SERIES, EVENTS: Kind.EVENTS, MARKETS: Kind.MARKETS}
_PARENTS = {EVENTS: SERIES, MARKETS: EVENTS}


class SyncConfig(dg.Config):
    """How much to ask for."""

    mode: Mode = Mode.INCREMENTAL


def _synced(table: Table) -> dg.AssetsDefinition:
    parents = [production_key(_PARENTS[table])] if table in _PARENTS else []

    @dg.asset(
        key=production_key(table),
        deps=[REST_KEY, *parents],
        description=f"{table.comment} Synced over REST: what changed every five minutes, all of it every night.",
        metadata={COLUMN_SCHEMA: table_columns(table, Home.PRODUCTION), "key": ", ".join(table.key)},
        group_name=METADATA,
        owners=[OWNER],
        kinds={"postgres", "table"},
    )
    def synced(
        context: dg.AssetExecutionContext,
        config: SyncConfig,
        exchange: Exchange,
        catalogue: CatalogueDatabase,
        production: ProductionDatabase,
    ) -> dg.MaterializeResult[None]:
        """Walks, stores page by page, and tells what came of it."""
        since = last_sync(context.instance, production_key(table))
        with attempting(context):
            report = run_async(_sync(_TABLES[table], config.mode, since, exchange, catalogue, _teller(context)))
        context.log.info(f"{report.seen} rows seen, {report.stored} stored, {report.new} new, {report.seconds:.1f} s")
        return dg.MaterializeResult(metadata=_metadata(report, production.count_rows(table)))

    return synced


async def _sync(
    kind: Kind,
    mode: Mode,
    since: datetime | None,
    exchange: Exchange,
    catalogue: CatalogueDatabase,
    on_step: Callable[[Step], None],
) -> MetadataReport:
    async with exchange.client() as rest:
        return await sync_metadata(
            rest, catalogue.address(), kind, mode, since=since, combos=exchange.lists_combos, on_step=on_step
        )


def last_sync(instance: dg.DagsterInstance, key: dg.AssetKey) -> datetime | None:
    """When the last sync that ended well began; None where there is no record of one."""
    event = instance.get_latest_materialization_event(key)
    entry = event.asset_materialization.metadata.get(SYNCED_FROM) if event and event.asset_materialization else None
    return datetime.fromtimestamp(entry.value, UTC) if isinstance(entry, dg.TimestampMetadataValue) else None


def _teller(context: dg.AssetExecutionContext) -> Callable[[Step], None]:
    """Writes how far a walk has come, not more than once every few seconds."""
    told = time.monotonic()

    def tell(step: Step) -> None:
        nonlocal told
        if time.monotonic() < told + _TELL_SECONDS:
            return
        told = time.monotonic()
        of = f" of {step.total:,}" if step.total else ""
        context.log.info(f"{step.what}: {step.rows:,}{of}")

    return tell


def _metadata(report: MetadataReport, rows: int) -> dict[str, dg.MetadataValue]:
    figures = {
        ROW_COUNT: rows,
        "seen": report.seen,
        "stored": report.stored,
        "new": report.new,
        "status_changes": report.statuses,
        "orphans": report.orphans,
        "orphans_unknown": len(report.unknown),
    }
    metadata: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(value) for name, value in figures.items()}
    metadata["mode"] = dg.MetadataValue.text(report.mode.value)
    metadata["seconds"] = dg.MetadataValue.float(round(report.seconds, 3))
    metadata[SYNCED_FROM] = dg.MetadataValue.timestamp(report.started_at)
    if report.unknown:
        metadata["unknown_tickers"] = dg.MetadataValue.text(", ".join(report.unknown[:_SHOWN]))
    return metadata


METADATA_ASSETS = [_synced(table) for table in _TABLES]
"""Series, events, markets."""

METADATA_JOBS = [
    dg.define_asset_job(
        f"metadata_{mode.value}",
        selection=dg.AssetSelection.assets(*METADATA_ASSETS),
        config={"ops": {asset.node_def.name: {"config": {"mode": mode.name}} for asset in METADATA_ASSETS}},
        description=description,
    )
    for mode, description in (
        (Mode.INCREMENTAL, "What changed since the last sync, statuses and orphans of trades included."),
        (Mode.FULL, "Everything that the exchange lists, and what is in no list any more."),
        (Mode.ARCHIVE, "The same, and every market under /historical: once, when the database is new."),
    )
]
"""Jobs by hand or by schedule."""
