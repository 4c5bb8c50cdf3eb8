"""Freshness: production is not far behind the exchange, and the lake not far behind production.

- Add here: checks of the time of the newest, against thresholds from the settings.
- Keep out: alarms while nobody checks: the sensor `sync_lag` looks every half minute.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.core.schema import STREAM_TABLES, Table
from kalshi_platform.defs.checks.verdict import WHAT_TO_DO, Verdict, clock
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.partitions import HOUR
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase
from kalshi_platform.defs.tables import production_key
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.service.settings import load_settings

_EXPORT = timedelta(minutes=30)
"""How long an hour may be over before its file must be there."""

_UNKNOWN = "nobody knows how far it is merged: no gatherer was read to a first watermark"
_MERGING = "see to the deduplicator: `kalshi-platform status` and its log say what it waits for"
_EXPORTING = "see to Dagster: its page *Runs* says what fails, or what waits in the queue"


def _merged(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=production_key(table),
        name="freshness",
        description="All live gatherers are merged up to a moment ago: later than KALSHI_LAG_WARN_SECONDS is a "
        "warning, later than KALSHI_LAG_ERROR_SECONDS an error.",
        metadata={WHAT_TO_DO: _MERGING},
    )
    def freshness(production: ProductionDatabase) -> dg.AssetCheckResult:
        """Compares the watermark with the clock."""
        settings = load_settings()
        mark = production.watermark([table])[table.name]
        if mark is None:
            return Verdict([_UNKNOWN], "", {}).result(_MERGING)
        lag = max(0.0, (datetime.now(UTC) - mark).total_seconds())
        findings = [f"merged up to {clock(mark)}, {lag:,.0f} s ago"] if lag > settings.lag_warn_seconds else []
        is_bad = lag > settings.lag_error_seconds
        severity = dg.AssetCheckSeverity.ERROR if is_bad else dg.AssetCheckSeverity.WARN
        figures = {"lag_seconds": round(lag, 1)}
        return Verdict(findings, f"merged up to {clock(mark)}", figures, severity).result(_MERGING)

    return freshness


def _exported(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw_key(table),
        name="freshness",
        description="The newest file reaches to the last hour that was over for half an hour by the watermark.",
        metadata={WHAT_TO_DO: _EXPORTING},
    )
    def freshness(production: ProductionDatabase, lake: LakeFolder) -> dg.AssetCheckResult:
        """Compares the newest file's end with the watermark."""
        mark = production.watermark([table])[table.name]
        if mark is None and production.is_merged(table):
            return Verdict([_UNKNOWN], "", {}, dg.AssetCheckSeverity.WARN).result(_MERGING)
        reached = _reached(table, lake.lake())
        due = mark and (mark - _EXPORT).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        first = production.earliest(table)
        if due is None or first is None or due < first + HOUR:
            return Verdict([], "no hour is due", {}).result(_EXPORTING)
        hours = (due - reached) / HOUR if reached else (due - first) // HOUR
        findings = (
            [f"files reach to {clock(reached) if reached else 'nowhere'}, due is {clock(due)}"] if hours > 0 else []
        )
        well = f"files reach to {clock(reached or due)}"
        return Verdict(findings, well, {"hours_behind": max(0.0, float(hours))}).result(_EXPORTING)

    return freshness


def _reached(table: Table, lake: Lake) -> datetime | None:
    dataset = RAW[table.name]
    starts = lake.starts(dataset)
    footer = read_footer(lake, dataset, starts[-1]) if starts else None
    return footer.window_end if footer else None


PRODUCTION_FRESHNESS = [_merged(table) for table in STREAM_TABLES]
"""Production against the clock; the job `freshness` runs them."""

LAKE_FRESHNESS = [_exported(table) for table in STREAM_TABLES]
"""The lake against production; they run with every export, and in the job `freshness`."""
