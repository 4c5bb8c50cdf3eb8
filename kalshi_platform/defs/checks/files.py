"""Files: no row twice, no value that cannot be, no price off its market's grid.

- Add here: checks of one file by itself, or against what the market's description allows.
- Keep out: comparing files with production's rows (`parity`) and with each other (`books`).
"""

from dataclasses import replace

import dagster as dg

from kalshi_platform.core.schema import MARKETS, STREAM_TABLES, Table
from kalshi_platform.defs.checks.partitioned import judged_files, partition_check
from kalshi_platform.defs.checks.spans import Span
from kalshi_platform.defs.checks.verdict import Verdict, clock
from kalshi_platform.defs.metadata_sync import last_sync
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.tables import production_key
from kalshi_platform.lake.quality import (
    TABLES_ON_GRID,
    Flaw,
    doubled_rows,
    impossible_rows,
    off_grid_rows,
    rows_with_grid,
    tickers_in,
)


def _unique_keys(table: Table) -> dg.AssetChecksDefinition:
    by = "trade_id" if table.name == "trades" else ", ".join(table.key)

    @partition_check(
        table,
        "unique_keys",
        f"No file has two rows with the same {by}.",
        "materialize the partition again; if it stays, look into `merge_conflicts`",
        blocking=True,
    )
    def unique_keys(context: dg.AssetCheckExecutionContext, lake: LakeFolder) -> dg.AssetCheckResult:
        """Groups every file of the run by its key."""
        folder = lake.lake()

        return judged_files(
            context, table, folder, lambda span: _verdict(span, doubled_rows(folder, table, span.start))
        )

    return unique_keys


def _possible_values(table: Table) -> dg.AssetChecksDefinition:
    @partition_check(
        table,
        "possible_values",
        "Prices lie between 0 and 1 dollar, sizes are what they can be, books are in order.",
        "look at the rows: the exchange or a gatherer erred; nothing is made of the file until they are right",
        blocking=True,
    )
    def possible_values(context: dg.AssetCheckExecutionContext, lake: LakeFolder) -> dg.AssetCheckResult:
        """Looks at every row of the run's files."""
        folder = lake.lake()

        return judged_files(
            context, table, folder, lambda span: _verdict(span, impossible_rows(folder, table, span.start))
        )

    return possible_values


def _tick_grid(table: Table) -> dg.AssetChecksDefinition:
    @partition_check(
        table,
        "tick_grid",
        "Prices stand on the grid that the exchange gave for the market. Looked at are rows since the market's "
        "description last changed and until the last sync of markets: a grid may have been finer before.",
        "run the job `metadata_full`, then materialize the partition again: the grid may have changed",
    )
    def tick_grid(
        context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.AssetCheckResult:
        """Asks production for the grids of the markets in each file."""
        folder, synced = lake.lake(), last_sync(context.instance, production_key(MARKETS))

        def judge(span: Span) -> Verdict:
            grids = production.grids(tickers_in(folder, table, span.start), synced)
            looked_at = rows_with_grid(folder, table, span.start, grids)
            found = _verdict(span, off_grid_rows(folder, table, span.start, grids), dg.AssetCheckSeverity.WARN)
            figures = {**found.figures, "rows_looked_at": looked_at}
            if span.rows and not looked_at:
                nothing = [f"of none of {span.rows:,} rows a grid is known for its time: nothing was looked at"]
                return Verdict(nothing, "", figures, dg.AssetCheckSeverity.WARN)
            return replace(found, figures=figures, well=f"{looked_at:,} of {span.rows or 0:,} rows are on their grid")

        return judged_files(context, table, folder, judge)

    return tick_grid


def _verdict(span: Span, flaws: list[Flaw], severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR) -> Verdict:
    """What is wrong in a file."""
    findings = [
        f"{flaw.ticker}: {flaw.what} ({flaw.rows:,} rows, first at {clock(flaw.first_at)})"
        for flaw in sorted(flaws, key=lambda one: -one.rows)
    ]
    figures = {
        "rows": span.rows or 0,
        "rows_wrong": sum(flaw.rows for flaw in flaws),
        "markets_wrong": len({flaw.ticker for flaw in flaws}),
    }
    return Verdict(findings, f"{span.rows or 0:,} rows are right", figures, severity)


FILE_CHECKS = [
    *(_unique_keys(table) for table in STREAM_TABLES),
    *(_possible_values(table) for table in STREAM_TABLES),
    *(_tick_grid(table) for table in TABLES_ON_GRID),
]
"""What each file of the raw layer is held to."""
