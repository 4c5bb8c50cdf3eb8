"""Files: no row twice, no value that cannot be, no price off its market's grid.

- Add here: checks of one file by itself, or against what the market's description allows.
- Keep out: comparing files with production's rows (`parity`) and with each other (`books`).
"""

from collections.abc import Callable

import dagster as dg

from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.defs.checks.spans import Span, spans
from kalshi_platform.defs.checks.verdict import clock, verdict
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.quality import (
    TABLES_ON_GRID,
    Flaw,
    doubled_rows,
    impossible_rows,
    off_grid_rows,
    tickers_in,
)

Look = Callable[[Lake, Table, Span], list[Flaw]]


def _unique_keys(table: Table) -> dg.AssetChecksDefinition:
    by = "trade_id" if table.name == "trades" else ", ".join(table.key)

    @dg.asset_check(
        asset=raw_key(table),
        name="unique_keys",
        description=f"No file has two rows with the same {by}.",
        blocking=True,
    )
    def unique_keys(context: dg.AssetCheckExecutionContext, lake: LakeFolder) -> dg.AssetCheckResult:
        """Groups every file of the run by its key."""
        return _looked_over(
            context, table, lake.lake(), lambda folder, _, span: doubled_rows(folder, table, span.start)
        )

    return unique_keys


def _possible_values(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw_key(table),
        name="possible_values",
        description="Prices lie between 0 and 1 dollar, sizes are what they can be, books are in order.",
        blocking=True,
    )
    def possible_values(context: dg.AssetCheckExecutionContext, lake: LakeFolder) -> dg.AssetCheckResult:
        """Looks at every row of the run's files."""
        return _looked_over(
            context, table, lake.lake(), lambda folder, _, span: impossible_rows(folder, table, span.start)
        )

    return possible_values


def _tick_grid(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw_key(table),
        name="tick_grid",
        description="Prices stand on the grid that the exchange gave for the market. Looked at are rows since the "
        "market's description last changed and until it was last synced: a grid may have been finer before.",
    )
    def tick_grid(
        context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.AssetCheckResult:
        """Asks production for the grids of the markets in each file."""

        def look(folder: Lake, _: Table, span: Span) -> list[Flaw]:
            grids = production.grids(tickers_in(folder, table, span.start))
            return off_grid_rows(folder, table, span.start, grids)

        return _looked_over(context, table, lake.lake(), look, dg.AssetCheckSeverity.WARN)

    return tick_grid


def _looked_over(
    context: dg.AssetCheckExecutionContext,
    table: Table,
    lake: Lake,
    look: Look,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """What is wrong in each file of the run; a missing one is `row_parity`'s to report."""
    there = [span for span in spans(context, table, lake) if span.has_file]
    found = [(span, flaw) for span in there for flaw in look(lake, table, span)]
    findings = [
        f"{span.key}: {flaw.ticker}: {flaw.what} ({flaw.rows:,} rows, first at {clock(flaw.first_at)})"
        for span, flaw in sorted(found, key=lambda one: -one[1].rows)
    ]
    figures = {
        "partitions": len(there),
        "rows": sum(span.rows or 0 for span in there),
        "rows_wrong": sum(flaw.rows for _, flaw in found),
        "markets_wrong": len({flaw.ticker for _, flaw in found}),
    }
    return verdict(
        findings, f"{figures['rows']:,} rows of {len(there)} partitions are right", figures, severity=severity
    )


FILE_CHECKS = [
    *(_unique_keys(table) for table in STREAM_TABLES),
    *(_possible_values(table) for table in STREAM_TABLES),
    *(_tick_grid(table) for table in TABLES_ON_GRID),
]
"""What each file of the raw layer is held to."""
