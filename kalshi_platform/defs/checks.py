"""Checks: whether what the lake holds is what production holds.

- Add here: checks that look at assets of this location; blocking ones where bad data must not flow on.
- Keep out: repairing what they find.
- A run of several partitions has one evaluation of each check, so a check says itself which of them is wrong.
- Dagster's word: asset checks, https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.partitions import key_at, window_of
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake

_LATEST = 24
"""Partitions that are looked at when a check runs alone, without partitions."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class PartitionCount:
    """Rows of one hour or day in production and in its file; None where there is no file."""

    partition_key: str
    production: int
    parquet: int | None

    def __str__(self) -> str:
        parquet = "has no file" if self.parquet is None else f"has {self.parquet} rows"
        return f"{self.partition_key}: production has {self.production} rows, Parquet {parquet}"


def _row_parity(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw_key(table),
        name="row_parity",
        description="Each file has as many rows as production has in its window.",
        blocking=True,
    )
    def row_parity(
        context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.AssetCheckResult:
        """Counts on both sides, after the run's files were written."""
        folder = lake.lake()
        counts = [_counted(table, key, production, folder) for key in _partition_keys(context, table, folder)]
        return _verdict(counts)

    return row_parity


def _partition_keys(context: dg.AssetCheckExecutionContext, table: Table, lake: Lake) -> Sequence[str]:
    """The partitions of the run; of a run without any, the latest that the lake has."""
    run = context.op_execution_context
    if run.has_partitions:
        return list(run.partition_keys)
    return [key_at(table, start) for start in lake.starts(RAW[table.name])[-_LATEST:]]


def _counted(table: Table, partition_key: str, production: ProductionDatabase, lake: Lake) -> PartitionCount:
    start, end = window_of(table, partition_key)
    footer = read_footer(lake, RAW[table.name], start)
    rows = production.count_window(table, start, footer.window_end if footer else end)
    return PartitionCount(partition_key, rows, None if footer is None else footer.source_rows)


def _verdict(counts: Sequence[PartitionCount]) -> dg.AssetCheckResult:
    wrong = [count for count in counts if count.production != count.parquet]
    more = f" … and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(str(count) for count in wrong[:_SHOWN]) + more or f"{len(counts)} partitions agree",
        metadata={
            "partitions": len(counts),
            "partitions_wrong": len(wrong),
            "production_rows": sum(count.production for count in counts),
            "parquet_rows": sum(count.parquet or 0 for count in counts),
        },
    )


ROW_PARITY_CHECKS = [_row_parity(table) for table in STREAM_TABLES]
"""Row parity of every table of the raw layer."""
