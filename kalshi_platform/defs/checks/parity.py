"""Row parity: each file has as many rows as production has in its window.

- Add here: comparisons of counts between production and files.
- Keep out: what is inside the rows (`files`, `books`).
"""

import dagster as dg

from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.defs.checks.partitioned import judged, partition_check
from kalshi_platform.defs.checks.spans import Span
from kalshi_platform.defs.checks.verdict import Verdict
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase


def _row_parity(table: Table) -> dg.AssetChecksDefinition:
    @partition_check(
        table,
        "row_parity",
        "Each file has as many rows as production has in its window.",
        "materialize the partition again; if it stays, read its run's log",
        blocking=True,
    )
    def row_parity(
        context: dg.AssetCheckExecutionContext, production: ProductionDatabase, lake: LakeFolder
    ) -> dg.AssetCheckResult:
        """Counts on both sides, after the run's files were written."""

        def judge(span: Span) -> Verdict:
            rows = production.count_window(table, span.start, span.end)
            parquet = f"{span.rows} rows" if span.has_file else "no file"
            findings = [f"production has {rows} rows, Parquet has {parquet}"] if rows != span.rows else []
            figures = {"production_rows": rows, "parquet_rows": span.rows or 0}
            return Verdict(findings, f"{rows:,} rows on both sides", figures)

        return judged(context, table, lake.lake(), judge)

    return row_parity


PARITY_CHECKS = [_row_parity(table) for table in STREAM_TABLES]
"""Row parity of every table of the raw layer."""
