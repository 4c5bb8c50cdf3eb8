"""Row parity: each file has as many rows as production has in its window.

- Add here: comparisons of counts between production and files.
- Keep out: what is inside the rows (`files`, `books`).
"""

import dagster as dg

from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.defs.checks.spans import Span, spans
from kalshi_platform.defs.checks.verdict import verdict
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase


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
        counts = [
            (span, production.count_window(table, span.start, span.end)) for span in spans(context, table, lake.lake())
        ]
        wrong = [_said(span, rows) for span, rows in counts if rows != span.rows]
        figures = {
            "partitions": len(counts),
            "partitions_wrong": len(wrong),
            "production_rows": sum(rows for _, rows in counts),
            "parquet_rows": sum(span.rows or 0 for span, _ in counts),
        }
        return verdict(wrong, f"{len(counts)} partitions agree", figures)

    return row_parity


def _said(span: Span, rows: int) -> str:
    parquet = f"has {span.rows} rows" if span.has_file else "has no file"
    return f"{span.key}: production has {rows} rows, Parquet {parquet}"


PARITY_CHECKS = [_row_parity(table) for table in STREAM_TABLES]
"""Row parity of every table of the raw layer."""
