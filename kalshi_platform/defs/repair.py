"""Repair: what the exchange still gives of an interval that nobody heard, and plain words for what it does not.

- Add here: what can be done about a gap after the fact.
- Keep out: noticing gaps (`sensors.gaps`), and fetching (`kalshi_platform.backfill`).
- Trades come again over REST. Changes of books are gone for good, so books are taken as they stand now, and the
  interval stays in `uncovered_intervals`: whoever reads the record can see it.
- Dagster's word: jobs, https://docs.dagster.io/guides/build/jobs
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.backfill import BackfillReport, BackfillRequest, Progress, run_backfill
from kalshi_platform.backfill.books import fetch_books
from kalshi_platform.backfill.run import SETTLE_SECONDS
from kalshi_platform.core.schema import ORDERBOOK_SNAPSHOTS, STREAM_TABLES, TRADES, UNCOVERED_INTERVALS
from kalshi_platform.database.quality import GapHour, Uncovered
from kalshi_platform.defs.channels import CHANNEL_OF
from kalshi_platform.defs.partitions import HOUR, key_at
from kalshi_platform.defs.resources import CatalogueDatabase, Exchange, ProductionDatabase
from kalshi_platform.defs.steps import attempting, run_async
from kalshi_platform.defs.tables import production_key

HOUR_TAG, CHANNEL_TAG = "kalshi/hour", "kalshi/channel"

_MOST_TICKERS = 200
"""More markets than this are asked for all at once: one walk over all trades of some minutes costs less."""

_CLOCKS = timedelta(seconds=5)
"""How far the gatherers' clocks, which bound the intervals, may be from the exchange's."""

_TELL_EVERY = timedelta(seconds=5)

Tell = Callable[[str], None]


class RepairConfig(dg.Config):
    """Which hour of which channel: `orderbook_delta`, `trade` or `ticker`."""

    hour: str
    channel: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Intervals that touch, widened by what clocks may differ; no tickers are all markets."""

    start: datetime
    end: datetime
    tickers: frozenset[str]


@dataclass(slots=True)
class Outcome:
    """What became of the intervals.

    Attributes:
        trades: Trades that production did not have.
        days: Days of trades that have more rows now.
        books: Books that were taken as they stand now.
        missing: Days of markets of which the exchange's candles say that trades are missing still.
    """

    trades: int = 0
    days: set[datetime] = field(default_factory=set)
    books: int = 0
    missing: int = 0

    def add(self, report: BackfillReport) -> None:
        """Count one backfill."""
        self.trades += report.inserted
        self.missing += len(report.gaps)


def repair_request(hour: GapHour) -> dg.RunRequest:
    """The run that an hour with gaps asks for; the same intervals never ask for a second one."""
    moment = hour.hour.astimezone(UTC).isoformat()
    return dg.RunRequest(
        run_key=f"{hour.channel} {moment} {hour.fingerprint}",
        run_config={"ops": {"repair_gaps": {"config": {"hour": moment, "channel": hour.channel}}}},
        tags={HOUR_TAG: moment, CHANNEL_TAG: hour.channel},
    )


def stretches(gaps: Sequence[Uncovered]) -> list[Stretch]:
    """Whole seconds around intervals; what overlaps is one stretch, so that nothing is fetched twice."""
    found: list[Stretch] = []
    for gap in sorted(gaps, key=lambda one: one.from_at):
        start = (gap.from_at - _CLOCKS).replace(microsecond=0)
        end = (gap.until_at + _CLOCKS).replace(microsecond=0) + timedelta(seconds=1)
        if found and start <= found[-1].end:
            last = found.pop()
            is_all = not gap.ticker or not last.tickers
            tickers = frozenset() if is_all else last.tickers | {gap.ticker}
            found.append(Stretch(last.start, max(last.end, end), tickers))
        else:
            found.append(Stretch(start, end, frozenset({gap.ticker} - {""})))
    return [Stretch(s.start, s.end, s.tickers if len(s.tickers) <= _MOST_TICKERS else frozenset()) for s in found]


@dg.op(
    description="Fetches trades of exactly the intervals that nobody heard, and the books that they concern as they "
    "stand now; says what cannot be had any more.",
)
def repair_gaps(
    context: dg.OpExecutionContext,
    config: RepairConfig,
    production: ProductionDatabase,
    catalogue: CatalogueDatabase,
    exchange: Exchange,
) -> None:
    """Repairs one hour of one channel; every piece is committed by itself, so a killed run is just run again."""
    hour = datetime.fromisoformat(config.hour)
    gaps = [gap for gap in production.uncovered(config.channel, hour, hour + HOUR) if gap.hour == hour]
    if not gaps:
        context.log.info("these intervals are covered by now: there is nothing to repair")
        return
    context.log.info(f"{config.channel}, {hour:%Y-%m-%d %H:%M}: {len(gaps)} intervals that nobody heard")
    if not context.retry_number:
        _report_holes(context, config.channel, hour)
    _wait_settled(gaps)
    with attempting(context):
        outcome = run_async(_repair(config.channel, gaps, exchange, catalogue, context.log.info))
    summary = told(config.channel, gaps, outcome)
    context.log.info(summary)
    context.log_event(_observed(config, gaps, outcome, summary))
    for day in sorted(outcome.days):  # what is made from these days is made again
        context.log_event(dg.AssetMaterialization(production_key(TRADES), partition=key_at(TRADES, day)))
    if outcome.books:
        day = datetime.now(UTC)
        context.log_event(
            dg.AssetMaterialization(production_key(ORDERBOOK_SNAPSHOTS), partition=key_at(ORDERBOOK_SNAPSHOTS, day))
        )


def _report_holes(context: dg.OpExecutionContext, channel: str, hour: datetime) -> None:
    """Have the hour's files written again: they may be older than what is known of their holes since."""
    for table in STREAM_TABLES:
        if CHANNEL_OF[table.name] == channel:
            context.log_event(dg.AssetMaterialization(production_key(table), partition=key_at(table, hour)))


def _wait_settled(gaps: Sequence[Uncovered]) -> None:
    """Come again later where the end of an interval is too young to be fetched: REST may still gain trades of it."""
    settled = max(gap.until_at for gap in gaps) + _CLOCKS + timedelta(seconds=SETTLE_SECONDS + 2)
    left = (settled - datetime.now(UTC)).total_seconds()
    if left > 0:
        raise dg.RetryRequested(max_retries=3, seconds_to_wait=left)


async def _repair(
    channel: str, gaps: Sequence[Uncovered], exchange: Exchange, catalogue: CatalogueDatabase, tell: Tell
) -> Outcome:
    outcome = Outcome()
    if channel == "ticker":
        return outcome
    async with exchange.client() as rest:
        for stretch in stretches(gaps):
            request = BackfillRequest(
                start=stretch.start,
                end=stretch.end,
                tickers=tuple(sorted(stretch.tickers)),
                all_markets=not stretch.tickers,
            )
            report = await run_backfill(rest, catalogue.address(), request, _teller(tell))
            outcome.add(report)
            if report.inserted:
                outcome.days |= {stretch.start, stretch.end}
        if channel == "orderbook_delta":
            tickers = sorted({gap.ticker for gap in gaps} - {""})
            outcome.books = await fetch_books(rest, catalogue.address(), tickers)
    return outcome


def _teller(tell: Tell) -> Callable[[Progress], None]:
    """Writes how far it is, not more than once every few seconds."""
    last = datetime.min.replace(tzinfo=UTC)

    def progress(step: Progress) -> None:
        nonlocal last
        now = datetime.now(UTC)
        if now - last < _TELL_EVERY:
            return
        last = now
        tell(f"{step.stage}: {step.done} of {step.total}, {step.trades:,} trades, {step.inserted:,} new {step.trouble}")

    return progress


def told(channel: str, gaps: Sequence[Uncovered], outcome: Outcome) -> str:
    """What was repaired and what cannot be, in plain words."""
    markets = len({gap.ticker for gap in gaps if gap.ticker})
    of = f"{markets} markets" if markets else "every market"
    seconds = sum((gap.until_at - gap.from_at).total_seconds() for gap in gaps)
    trades = f"repaired: {outcome.trades:,} trades that nobody heard were fetched over REST"
    if outcome.missing:
        trades += f", and {outcome.missing} days of markets lack some still; the next run asks again"
    if channel == "trade":
        return f"{trades}; nothing of this channel is lost"
    if channel == "ticker":
        return f"not repaired: ticker updates of {of} ({seconds:,.0f} s) are gone; the next ones carry all values"
    return (
        f"{trades}; {outcome.books:,} books were taken as they stand now. Not repaired: changes of the books of {of} "
        f"({seconds:,.0f} s) are gone, for the exchange keeps none; books are whole again from each interval's end"
    )


def _observed(config: RepairConfig, gaps: Sequence[Uncovered], outcome: Outcome, summary: str) -> dg.AssetObservation:
    """What the page of `uncovered_intervals` shows of it."""
    rows = [
        dg.TableRecord({"market": gap.ticker or "every market", "from": str(gap.from_at), "until": str(gap.until_at)})
        for gap in gaps[:100]
    ]
    return dg.AssetObservation(
        production_key(UNCOVERED_INTERVALS),
        description=summary,
        metadata={
            "channel": config.channel,
            "hour": config.hour,
            "intervals": len(gaps),
            "trades_repaired": outcome.trades,
            "books_taken": outcome.books,
            "days_incomplete": outcome.missing,
            "said": dg.MetadataValue.md(summary),
            "lost": dg.MetadataValue.table(rows),
        },
    )


@dg.job(
    name="repair",
    description="Fetches what can be had of an hour's uncovered intervals; `uncovered_gaps` asks for it, or a person.",
    tags={"dagster/priority": "-1", "dagster/max_retries": "2"},
    executor_def=dg.in_process_executor,
)
def repair() -> None:
    """One hour of one channel."""
    repair_gaps()


REPAIR = repair
"""The job."""
