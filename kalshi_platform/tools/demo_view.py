"""How the demo looks: live numbers and the verdict.

Everything here turns facts into `rich` renderables; nothing is measured or decided. Kept out: work, and how a market
looks (`market_view`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kalshi_platform.tools.verify import Verdict


@dataclass(frozen=True, slots=True)
class GathererNumbers:
    """One gatherer at one moment; rates per second since the last look."""

    name: str
    markets: int
    connections: int
    frames_per_second: float
    rows: int
    gaps: int
    lag_seconds: float | None
    restarts: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """The whole platform at one moment."""

    elapsed: float
    remaining: float | None
    gatherers: Sequence[GathererNumbers]
    rows_read: int
    rows_merged: int
    merged_per_second: float
    lag_seconds: float | None
    deduplicator_restarts: int

    @property
    def duplicate_share(self) -> float:
        """Share of the rows read that production had already; two thirds with three gatherers."""
        return 1 - self.rows_merged / self.rows_read if self.rows_read else 0.0


def show_numbers(numbers: Numbers) -> RenderableType:
    """The live table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "markets", "conns", "msg/s", "rows", "gaps", "lag p50", "restarts"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for one in numbers.gatherers:
        table.add_row(
            one.name,
            f"{one.markets:,}",
            f"{one.connections}",
            f"{one.frames_per_second:,.0f}",
            f"{one.rows:,}",
            f"{one.gaps}",
            _lag(one.lag_seconds),
            f"{one.restarts}",
        )
    table.add_row(
        "production",
        "",
        "",
        f"{numbers.merged_per_second:,.0f}",
        f"{numbers.rows_merged:,}",
        "",
        _lag(numbers.lag_seconds),
        f"{numbers.deduplicator_restarts}",
    )
    shares = Text(f"merged {numbers.rows_read:,} rows into {numbers.rows_merged:,}: ")
    shares.append(f"{numbers.duplicate_share:.1%} duplicates", style="cyan")
    left = "" if numbers.remaining is None else f", {numbers.remaining:.0f} s to go"
    return Panel(Group(table, shares), title=f"capturing, {numbers.elapsed:.0f} s{left}", title_align="left")


def numbers_line(numbers: Numbers) -> str:
    """The same in one line, where there is no terminal to draw on."""
    rates = "+".join(f"{one.frames_per_second:,.0f}" for one in numbers.gatherers)
    gaps = sum(one.gaps for one in numbers.gatherers)
    return (
        f"{numbers.elapsed:4.0f} s  {rates} msg/s  {numbers.rows_merged:,} merged  "
        f"{numbers.duplicate_share:.0%} duplicates  {gaps} gaps  lag {_lag(numbers.lag_seconds)}"
    )


def show_verdict(verdict: Verdict, files: Mapping[str, int]) -> RenderableType:
    """What was sent against what is kept, and the one word."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "sent", "in production", "missing", "doubled or invented"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for rows in verdict.rows:
        table.add_row(f"{rows.kind}s", *(f"{n:,}" for n in (rows.sent, rows.kept, rows.missing, rows.surplus)))
    lines: list[RenderableType] = [table]
    lines.extend(
        Text(
            f"books at {books.when:%H:%M:%S} UTC: {books.compared:,} rebuilt from Parquet, {books.differing:,} differ"
            + (f", {books.unknown:,} not known yet" if books.unknown else "")
        )
        for books in verdict.books
    )
    lines.append(Text(f"Parquet: {len(files)} files, {sum(files.values()):,} rows"))
    lines.extend(Text(f"  {sample}", style="red") for one in verdict.rows for sample in one.samples)
    lines.extend(Text(f"  book differs: {ticker}", style="red") for one in verdict.books for ticker in one.samples)
    word = Text("verdict: exact", style="bold green") if verdict.is_exact else Text("verdict: NOT exact", "bold red")
    return Panel(Group(*lines, word), title="verdict", title_align="left")


def _lag(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"≤{seconds * 1000:,.0f} ms" if seconds < 1 else f"≤{seconds:,.1f} s"
