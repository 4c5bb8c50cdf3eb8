"""Trades of the past, fetched over REST: of any market, series or of all, for any days since the exchange opened.

- Add here: assets that fetch after the fact what nobody heard, or what was before anybody listened.
- Keep out: how it is fetched (`kalshi_platform.backfill`), and when a gap asks for it (`sensors`).
- A run of days is one job of production's; the same days with the same configuration are the same job, which goes on
  where it was: after a kill, a cancelled run, a budget that ran out.
- Days that got trades are reported as new days of `production/trades`, so that their files are written again.
- Dagster's word: backfills, https://docs.dagster.io/guides/build/partitions-and-backfills/backfilling-data
"""

import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from kalshi_platform.backfill import BackfillReport, BackfillRequest, Progress, run_backfill
from kalshi_platform.core.schema import TRADES, Home
from kalshi_platform.defs.channels import REST_KEY
from kalshi_platform.defs.metadata import COLUMN_SCHEMA, OWNER, ROW_COUNT, table_columns
from kalshi_platform.defs.partitions import DAILY, key_at
from kalshi_platform.defs.resources import CatalogueDatabase, Exchange
from kalshi_platform.defs.steps import attempting, run_async
from kalshi_platform.defs.tables import production_key
from kalshi_platform.metadata.report import MetadataReport
from kalshi_platform.metadata.sync import adopt_orphans

EXCHANGE_READS = "exchange_reads"
"""The pool of runs that spend the REST budget for long; its limit stands in dagster.yaml."""

BACKFILL_KEY = dg.AssetKey(["backfill", "trade_backfill"])

_TELL_SECONDS = 5.0
_SHOWN = 20
_DAY = timedelta(days=1)


class BackfillConfig(dg.Config):
    """Whose trades; every market's where neither series nor tickers are named."""

    series: list[str] = Field(default=[], description="Series tickers: every market of these, combos included.")
    tickers: list[str] = Field(default=[], description="Market tickers.")

    def request(self, start: datetime, end: datetime) -> BackfillRequest:
        """The same as a job of production's.

        Raises:
            ConfigurationError: Both series and tickers are named.
        """
        return BackfillRequest(
            start=start,
            end=end,
            tickers=tuple(self.tickers),
            series=tuple(self.series),
            all_markets=not self.tickers and not self.series,
        )


def _trade_backfill() -> dg.AssetsDefinition:
    @dg.asset(
        key=BACKFILL_KEY,
        deps=[REST_KEY],
        description="Trades fetched over REST, live and under /historical, into production's trades; compared with the "
        "exchange's own daily candles. Resumable; configure series or tickers, else every market's.",
        metadata={COLUMN_SCHEMA: table_columns(TRADES, Home.PRODUCTION)},
        group_name="backfill",
        owners=[OWNER],
        kinds={"rest", "postgres"},
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=31),
        pool=EXCHANGE_READS,
    )
    def trade_backfill(
        context: dg.AssetExecutionContext, config: BackfillConfig, exchange: Exchange, catalogue: CatalogueDatabase
    ) -> None:
        """Fetches the days of the run as one job, and says of it what is whole and what is not."""
        window = context.partition_time_window
        with attempting(context):
            report, adopted = run_async(_run(context, config, window, exchange, catalogue))
        for key in context.partition_keys:
            context.add_asset_metadata(_metadata(report, adopted), partition_key=key)
        for key in _days_with_trades(report):
            context.log_event(dg.AssetMaterialization(production_key(TRADES), partition=key, description="Backfilled."))
        context.log.info(
            f"job {report.job_id}: {report.inserted:,} trades were missing, {report.known:,} known; "
            f"{len(report.gaps)} days of a market still lack some; {report.seconds:.1f} s"
        )

    return trade_backfill


async def _run(
    context: dg.AssetExecutionContext,
    config: BackfillConfig,
    window: dg.TimeWindow,
    exchange: Exchange,
    catalogue: CatalogueDatabase,
) -> tuple[BackfillReport, MetadataReport]:
    request, url = config.request(window.start, window.end), catalogue.address()
    async with exchange.client() as rest:
        report = await run_backfill(rest, url, request, _teller(context))
        return report, await adopt_orphans(rest, url, window.start, window.end)


def _teller(context: dg.AssetExecutionContext) -> Callable[[Progress], None]:
    """Writes each stage, each trouble, and every few seconds how far the run is."""
    stage, told = "", 0.0

    def tell(progress: Progress) -> None:
        nonlocal stage, told
        if progress.stage == stage and not progress.trouble and time.monotonic() < told + _TELL_SECONDS:
            return
        stage, told = progress.stage, time.monotonic()
        of = f" of {progress.total:,}" if progress.total else ""
        line = f"{progress.stage}: {progress.done:,}{of}, {progress.trades:,} trades, {progress.inserted:,} new"
        context.log.info(f"{line}; {progress.trouble}" if progress.trouble else line)

    return tell


def _days_with_trades(report: BackfillReport) -> Iterator[str]:
    """Days whose files are out of date now; a day more or less costs no more than an export."""
    if report.first_at is None or report.last_at is None or not report.inserted:
        return
    day = report.first_at.astimezone(UTC)
    while day.date() <= report.last_at.astimezone(UTC).date():
        yield key_at(TRADES, day)
        day += _DAY


def _metadata(report: BackfillReport, adopted: MetadataReport) -> dict[str, dg.MetadataValue]:
    figures = {
        ROW_COUNT: report.inserted,
        "already_known": report.known,
        "conflicts": report.conflicts,
        "rejected": report.rejected,
        "markets": report.markets,
        "days_compared_with_candles": report.checked,
        "days_incomplete": len(report.gaps),
        "days_with_more_than_candles": report.surplus,
        "markets_without_candles": report.unchecked,
        "orphans": adopted.orphans,
        "orphans_unknown": len(adopted.unknown),
    }
    metadata: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(value) for name, value in figures.items()}
    metadata["job_id"] = dg.MetadataValue.text(report.job_id)
    metadata["seconds"] = dg.MetadataValue.float(round(report.seconds, 3))
    metadata["fetched_until"] = dg.MetadataValue.timestamp(report.fetched_until)
    metadata["completeness"] = dg.MetadataValue.md(_completeness(report))
    return metadata


def _completeness(report: BackfillReport) -> str:
    """What is whole and what is not, for a person to read."""
    if not report.checked:
        return (
            "Nothing was compared: the exchange's candles say of no market that it traded in a whole hour of the range."
        )
    if report.is_complete:
        return f"Whole: {report.checked:,} days of a market agree with the exchange's candles."
    rows = [
        f"| {gap.ticker} | {gap.day} | {gap.expected / 100:,.2f} | {gap.found / 100:,.2f} |"
        for gap in report.gaps[:_SHOWN]
    ]
    more = [f"… and {len(report.gaps) - _SHOWN:,} more"] if len(report.gaps) > _SHOWN else []
    return "\n".join(
        ["| market | day | contracts by candles | contracts here |", "|---|---|---|---|", *rows, "", *more]
    )


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy
    BACKFILL_ASSETS = [_trade_backfill()]
    """Assets that fetch the past."""
