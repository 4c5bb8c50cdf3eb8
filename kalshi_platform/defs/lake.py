"""The lake's raw layer: each stream table as one Parquet file an hour or a day, exactly as production has it.

- Add here: assets that are files of the lake.
- Keep out: how a file is written (`kalshi_platform.lake`) and whether it is whole (`checks`).
- A partition is asked for when `closed_hours` reports it, however long ago it was, and again when it is reported
  again: a day that is going on is written anew as far as each closed hour goes.
- Dagster's word: assets, https://docs.dagster.io/guides/build/assets
"""

import warnings
from contextlib import suppress
from datetime import UTC, datetime

import dagster as dg

from kalshi_platform.core.errors import IntegrityError, PlatformError
from kalshi_platform.core.schema import STREAM_TABLES, TICKERS, Table
from kalshi_platform.database.quality import MOST
from kalshi_platform.defs.channels import CHANNEL_OF
from kalshi_platform.defs.metadata import COLUMN_SCHEMA, OWNER, lake_columns, partition_metadata
from kalshi_platform.defs.partitions import partitions_of, window_of
from kalshi_platform.defs.pictures import coverage, per_minute, spread
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.steps import Facts, each_partition
from kalshi_platform.defs.tables import production_key
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.figures import rows_per_minute, spreads
from kalshi_platform.lake.footer import Footer, read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.manifest import Coverage, Uncovered
from kalshi_platform.lake.schema import SCHEMA_VERSION
from kalshi_platform.lake.writer import PartitionFacts, write_partition

PRODUCTION_READS = "production_reads"
"""The pool of runs that read production; its limit stands in dagster.yaml."""

_EACH = {Period.HOUR: "an hour", Period.DAY: "a day"}
_PICTURED = 3
"""A run of more partitions is a backfill, which has other things to do than to draw."""

REPORTED = dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window())
"""Asks for what was reported or written, of any age, once; and again when it is reported again."""


def raw_key(table: Table) -> dg.AssetKey:
    """The asset that a table of the raw layer is."""
    return dg.AssetKey(["raw", table.name])


def _raw_asset(table: Table) -> dg.AssetsDefinition:
    @dg.asset(
        key=raw_key(table),
        deps=[production_key(table)],
        description=f"{table.comment} One Parquet file {_EACH[RAW[table.name].period]}, sorted by ticker and time, in "
        "dollars and contracts.",
        metadata={COLUMN_SCHEMA: lake_columns(RAW[table.name])},
        group_name="raw",
        owners=[OWNER],
        kinds={"parquet"},
        code_version=str(SCHEMA_VERSION),
        partitions_def=partitions_of(table),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=24),
        automation_condition=REPORTED,
        pool=PRODUCTION_READS,
    )
    def raw(context: dg.AssetExecutionContext, production: ProductionDatabase, lake: LakeFolder) -> None:
        """Writes every partition of the run, and says of each what was written."""
        is_pictured = len(context.partition_keys) <= _PICTURED

        def make(key: str) -> Facts:
            facts = _exported(table, key, production, lake)
            context.log.info(f"{key}: {facts.rows} rows, {facts.bytes} bytes, {facts.path}")
            pictures = _pictures(table, key, production, lake) if is_pictured else {}
            return {**pictures, **partition_metadata(RAW[table.name], facts)}  # what a person looks at comes first

        each_partition(context, make, report=False)

    return raw


def _exported(table: Table, partition_key: str, production: ProductionDatabase, folder: LakeFolder) -> PartitionFacts:
    start, end = window_of(table, partition_key)
    lake = folder.lake()
    until = _known_until(table, start, end, production, lake)
    with production.read_window(table, start, until) as batches:
        production.refuse_dropped(table, start, end)  # while reading, which nothing is dropped under
        _refuse_fewer(table, start, production, lake)
        return write_partition(lake, RAW[table.name], start, batches, until, _heard(table, start, until, production))


def _refuse_fewer(table: Table, start: datetime, production: ProductionDatabase, lake: Lake) -> None:
    """Make sure that production has every row of the file that is there.

    Rows are only ever added, so one that has fewer was restored or begun anew, and the file may be the only copy.

    Raises:
        IntegrityError: Where it has not.
    """
    footer = _footer(table, start, lake)
    if footer is None:
        return
    rows = production.count_window(table, footer.window_start, footer.window_end)
    if rows < footer.source_rows:
        path = lake.path(RAW[table.name], start)
        raise IntegrityError(
            f"{path} holds {footer.source_rows} rows, production {rows}: it has lost some, so the file stays as it is; "
            "move it away first if it really shall be written anew"
        )


def _footer(table: Table, start: datetime, lake: Lake) -> Footer | None:
    """What the file that is there says of itself; None for one that cannot be read, which may be replaced."""
    with suppress(IntegrityError):
        return read_footer(lake, RAW[table.name], start)
    return None


def _heard(table: Table, start: datetime, until: datetime, production: ProductionDatabase) -> Coverage | None:
    """How completely the window was heard, as far as that is reckoned; None where an hour of it is not yet.

    An hour with holes is reported again by their repair, so a file is not left without them for long.
    """
    channel = CHANNEL_OF[table.name]
    hours, not_yet = production.coverage(channel, start, until)
    holes = production.uncovered(channel, start, until)
    if not_yet or not hours or len(holes) >= MOST:  # a list that is cut off would call the rest heard
        return None
    lost = [Uncovered(one.ticker, max(one.from_at, start), min(one.until_at, until)) for one in holes]
    return Coverage(max(hour.markets for hour in hours), sorted(lost, key=lambda one: (one.from_at, one.ticker)))


def _known_until(table: Table, start: datetime, end: datetime, production: ProductionDatabase, lake: Lake) -> datetime:
    """How far a window is complete; only a day that is going on ends before its end, and never before its file does.

    Raises:
        PlatformError: Nobody knows, because a gatherer's rows are merged and one of them has no watermark yet.
    """
    if RAW[table.name].period is Period.HOUR:
        return end
    footer = _footer(table, start, lake)
    written = footer.window_end if footer else start
    if (mark := production.watermark([table])[table.name]) is not None:
        return min(end, max(written, Period.HOUR.floor(mark)))
    if production.is_merged(table):
        raise PlatformError(f"nobody knows how far {table.name} are merged yet: is the deduplicator running?")
    return end if end <= datetime.now(UTC) else written  # nobody's rows are waited for: all came over REST


def _pictures(
    table: Table, partition_key: str, production: ProductionDatabase, folder: LakeFolder
) -> dict[str, dg.MarkdownMetadataValue]:
    """What an operator would rather look at than read."""
    start, end = window_of(table, partition_key)
    lake, dataset, window = folder.lake(), RAW[table.name], (start, end)
    minutes = rows_per_minute(lake, dataset, start, end)
    drawn = {"per_minute": per_minute(f"{dataset}, {partition_key} UTC", window, minutes.moments, minutes.counts)}
    if channel := CHANNEL_OF.get(table.name):
        listening = production.listening(channel, start, end)
        title = f"who listened to {channel}, {partition_key} UTC"
        drawn["coverage"] = coverage(title, window, listening.heard, listening.lost)
    if table is TICKERS:
        quotes = spreads(lake, dataset, [start])
        drawn["spread"] = spread(f"spread, {partition_key} UTC", window, quotes.moments, quotes.median, quotes.widest)
    return drawn


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy, without which 72 hours are 72 runs
    RAW_ASSETS = [_raw_asset(table) for table in STREAM_TABLES]
    """The raw layer, one asset a table."""
