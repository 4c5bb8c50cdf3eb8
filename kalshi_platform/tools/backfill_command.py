"""`kalshi-platform backfill`: a backfill with its progress on standard error and its report on standard output.

Kept out: the backfill itself (backfill).
"""

import sys
from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from kalshi_platform.backfill import BackfillReport, BackfillRequest, run_backfill
from kalshi_platform.backfill import Progress as HowFar
from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.units import contracts_from_size
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.credentials import signer_of

_COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.description:<8}"),
    BarColumn(bar_width=8),
    TextColumn("{task.fields[done]}, {task.fields[trades]:,} trades, {task.fields[rate]:,.0f}/s"),
    TimeElapsedColumn(),
)
_GAPS_SHOWN = 20


def moment_of(text: str, option: str) -> datetime:
    """A day ("2026-09-01", its UTC midnight) or a moment with its zone ("2026-09-01T12:00:00Z").

    Raises:
        ConfigurationError: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option} takes a day or a time with its zone, as 2026-09-01, not {text!r}") from None
    if moment.tzinfo is None:
        if moment.time() != time():
            raise ConfigurationError(f"{option} {text!r} names no time zone: add Z for UTC")
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).replace(microsecond=0)


def next_midnight() -> datetime:
    """The end of today, UTC: the same all day, so that the same command is the same job."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


async def backfill_with_progress(settings: Settings, request: BackfillRequest) -> BackfillReport:
    """Fetch, and show on standard error how far it is.

    Raises:
        ConfigurationError: As `run_backfill`, or the key cannot be used.
        ExchangeUnavailable: As `run_backfill`.
        DatabaseUnreachableError: As `run_backfill`.
    """
    url = settings.required("production_database_url")
    console = Console(stderr=True)
    async with RestClient(settings.rest_url, signer_of(settings)) as rest:
        with Progress(*_COLUMNS, console=console) as bar:
            task = bar.add_task("", total=None, done="", trades=0, rate=0.0)

            def show(how_far: HowFar) -> None:
                total = how_far.total or None
                done = f"{how_far.done:,}/{total:,} chunks" if total else f"{how_far.done:,} markets"
                rate = how_far.trades / max(how_far.seconds, 1e-9)
                bar.update(
                    task, description=how_far.stage, total=total, completed=how_far.done if total else None,
                    done=done, trades=how_far.trades, rate=rate,
                )  # fmt: skip
                if how_far.trouble:
                    console.print(how_far.trouble, markup=False, highlight=False, soft_wrap=True)

            return await run_backfill(rest, url, request, show)


def show_report(report: BackfillReport, *, as_json: bool) -> None:
    """The report on standard output, for people or as one line of JSON."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(_raw(report)).decode() + "\n")
        return
    until = report.fetched_until.strftime("%Y-%m-%d %H:%M:%SZ")
    span = f", from {report.first_at:%Y-%m-%d %H:%M} to {report.last_at:%Y-%m-%d %H:%M}" if report.first_at else ""
    lines = [
        f"job {report.job_id}, fetched up to {until}, in {report.seconds:,.1f} s",
        f"  {report.inserted:,} trades inserted, {report.known:,} known{span}",
        f"  {report.chunks:,} chunks of {f'{report.markets:,} markets' if report.markets else 'every market'}",
        f"  {report.checked:,} days of markets compared with candles: {len(report.gaps):,} incomplete",
    ]
    lines += [
        f"    {gap.ticker} {gap.day}: {contracts_from_size(gap.found)} of {contracts_from_size(gap.expected)} contracts"
        for gap in report.gaps[:_GAPS_SHOWN]
    ]
    if len(report.gaps) > _GAPS_SHOWN:
        lines.append(f"    and {len(report.gaps) - _GAPS_SHOWN:,} more: --json names them all")
    if report.gaps:
        lines.append("  they are queued: the same command fetches them again")
    lines += [f"  {count:,} {name}" for name, count in _oddities(report) if count]
    sys.stdout.write("\n".join(lines) + "\n")


def _oddities(report: BackfillReport) -> tuple[tuple[str, int], ...]:
    return (
        ("trades disagree with production: see merge_conflicts", report.conflicts),
        ("trades could not be used: see the log", report.rejected),
        ("markets have no candles to compare with", report.unchecked),
        ("days hold more than their candles say", report.surplus),
    )


def _raw(report: BackfillReport) -> dict[str, Any]:
    return asdict(report) | {"is_complete": report.is_complete}
