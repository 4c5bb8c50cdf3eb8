"""The lake's upper layers: `processed`, each stream with its events and series, and `aggregates`, what is reckoned.

- Add here: assets that are made of files of the lake alone, or of files and what production knows of markets.
- Keep out: what a row is (`kalshi_platform.lake`), and whether it is right (`checks`).
- A partition is asked for when what it is made of was written, however long ago its hour was, and again when that is
  written again; not before the blocking checks of a source have ended, nor while one of them fails.
- A day is reckoned from the hours that there are: the first day of a capture begins when it began. What a file says of
  its window stands in its footer.
- Dagster's word: partition mappings, https://docs.dagster.io/guides/build/partitions-and-backfills
"""

import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import dagster as dg
import pyarrow as pa

from kalshi_platform.core.schema import EVENTS, MARKETS, STREAM_TABLES, TICKERS, Table
from kalshi_platform.defs.lake import REPORTED, raw_key
from kalshi_platform.defs.metadata import COLUMN_SCHEMA, OWNER, lake_columns, partition_metadata
from kalshi_platform.defs.partitions import partitions_of, window_of
from kalshi_platform.defs.pictures import spread
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.steps import Facts, each_partition
from kalshi_platform.defs.tables import production_key
from kalshi_platform.lake.aggregate import SOURCES, write_aggregate
from kalshi_platform.lake.datasets import AGGREGATES, PROCESSED, RAW, Dataset, Period
from kalshi_platform.lake.enrich import write_processed
from kalshi_platform.lake.figures import spreads
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.schema import SCHEMA_VERSION
from kalshi_platform.lake.writer import PartitionFacts

LAKE_WORK = "lake_work"
"""The pool of runs that read and write the lake alone; its limit stands in dagster.yaml."""

_WAITED_FOR = {"best_bid_offer": ("orderbook_deltas",), "settlements": ("markets",)}
"""Where not every source asks for the aggregate: the day of whole books is written every hour, and an hour of best
prices needs only the checkpoints at its ends; events change with their markets. The others are waited for."""

_NOT_PASSED: Any = dg.AutomationCondition.check_failed() | dg.AutomationCondition.in_progress()
_REFUSED: Any = dg.AutomationCondition.any_deps_match(
    dg.AutomationCondition.any_checks_match(_NOT_PASSED, blocking_only=True)
)
"""Or not judged yet: a file is there before its checks are. Not "all passed": what never ran, because its table is
silent, refuses nothing."""

_FACTS_OF_MARKETS = (production_key(MARKETS), production_key(EVENTS))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # hours have partitions since 2026, days since 2021
    _ANY_PART = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
    _AND_THE_NEXT = dg.TimeWindowPartitionMapping(end_offset=1, allow_nonexistent_upstream_partitions=True)
_TOLD_LATER = ("best_bid_offer", "settlements")
"""Written again with the next partition of what it is made of: the checkpoints at an hour's end, by which a market is
known that was quiet before, are exported with the next hour; a market that was settled in a day's last minutes is
first seen in the state of the day after."""


def processed_key(table: Table) -> dg.AssetKey:
    """The asset that a stream of the processed layer is."""
    return dg.AssetKey(["processed", table.name])


def aggregate_key(name: str) -> dg.AssetKey:
    """The asset that an aggregate is."""
    return dg.AssetKey(["aggregates", name])


def _following(ignored: Sequence[dg.AssetKey]) -> dg.AutomationCondition[dg.AssetKey]:
    """When what a partition is made of was written; parts that nobody ever wrote are not waited for."""
    followed = dg.AutomationCondition.any_deps_updated()
    updated = REPORTED.without(~dg.AutomationCondition.any_deps_missing())
    # else a partition that begins to exist is asked for at once, before what it is made of is there
    updated = updated.replace(dg.AutomationCondition.newly_missing(), followed)  # type: ignore[arg-type] # typed too tightly
    return updated.ignore(dg.AssetSelection.assets(*ignored)) if ignored else updated


def _after(others: Sequence[dg.AssetKey]) -> Any:
    """When what does not ask is not being written either: its file of an hour ago would not reach far enough.

    Both are reported at once, so the aggregate is not asked for in one run with what asks for it, but a look later.
    """
    is_written: Any = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.in_progress())
    is_asked_now: Any = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested())
    return ~is_written.allow(dg.AssetSelection.assets(*others)) & ~is_asked_now


def _layer_asset(
    dataset: Dataset,
    deps: Sequence[dg.AssetDep],
    condition: dg.AutomationCondition[dg.AssetKey],
    write: Callable[[Lake, datetime, pa.Table | None], PartitionFacts],
    *,
    with_markets: bool = False,
    pictures: Callable[[Lake, str], dict[str, dg.MarkdownMetadataValue]] = lambda _lake, _key: {},
) -> dg.AssetsDefinition:
    """An asset that writes one dataset."""

    @dg.asset(
        key=dg.AssetKey([dataset.layer.value, dataset.name]),
        deps=deps,
        description=f"{dataset.comment} One Parquet file {'an hour' if dataset.period is Period.HOUR else 'a day'}.",
        metadata={COLUMN_SCHEMA: lake_columns(dataset)},
        group_name=dataset.layer.value,
        owners=[OWNER],
        kinds={"parquet", "duckdb"} if dataset.name in AGGREGATES else {"parquet"},
        code_version=str(SCHEMA_VERSION),
        partitions_def=partitions_of(dataset),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=24),
        automation_condition=condition,
        pool=LAKE_WORK,
    )
    def layer(context: dg.AssetExecutionContext, production: ProductionDatabase, lake: LakeFolder) -> None:
        """Writes every partition of the run, and says of each what was written."""
        families = cache(production.families)  # asked for within a partition: its failure is to name the partition

        def make(key: str) -> Facts:
            facts = write(lake.lake(), window_of(dataset, key)[0], families() if with_markets else None)
            context.log.info(f"{key}: {facts.rows} rows, {facts.bytes} bytes, {facts.path}")
            drawn = pictures(lake.lake(), key) if len(context.partition_keys) == 1 else {}
            return {**drawn, **partition_metadata(dataset, facts)}

        each_partition(context, make, report=True)

    return layer


def _processed(table: Table) -> dg.AssetsDefinition:
    def write(lake: Lake, start: datetime, markets: pa.Table | None) -> PartitionFacts:
        assert markets is not None  # noqa: S101 - asked for below
        return write_processed(lake, table, start, markets)

    deps = [dg.AssetDep(raw_key(table)), *(dg.AssetDep(key) for key in _FACTS_OF_MARKETS)]
    condition = _following(_FACTS_OF_MARKETS) & ~_REFUSED  # with its raw partition in one run, checks between them
    return _layer_asset(PROCESSED[table.name], deps, condition, write, with_markets=True)


def _aggregate(name: str) -> dg.AssetsDefinition:
    dataset, mapping = AGGREGATES[name], _AND_THE_NEXT if name in _TOLD_LATER else _ANY_PART
    sources = {source: dg.AssetKey(["raw", source]) for source in SOURCES[name]}
    ignored = [key for source, key in sources.items() if source not in _WAITED_FOR.get(name, SOURCES[name])]
    asked = _following(ignored) & ~_REFUSED
    return _layer_asset(
        dataset,
        [dg.AssetDep(key, partition_mapping=mapping) for key in sources.values()],
        asked & _after(ignored) if ignored else asked,
        lambda lake, start, _: write_aggregate(lake, dataset, start),
        pictures=_spread_of_day if name == "market_days" else lambda _lake, _key: {},
    )


def _spread_of_day(lake: Lake, key: str) -> dict[str, dg.MarkdownMetadataValue]:
    """The spread through the day, from the tickers of its hours."""
    window = window_of(AGGREGATES["market_days"], key)
    there = set(lake.starts(RAW[TICKERS.name]))
    hours = [start for number in range(24) if (start := window[0] + number * HOUR) in there]
    quotes = spreads(lake, RAW[TICKERS.name], hours)
    return {"spread": spread(f"spread, {key} UTC", window, quotes.moments, quotes.median, quotes.widest)}


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy, without which 72 hours are 72 runs
    PROCESSED_ASSETS = [_processed(table) for table in STREAM_TABLES]
    """The processed layer, one asset a stream."""

    AGGREGATE_ASSETS = [_aggregate(name) for name in AGGREGATES]
    """The aggregates."""
