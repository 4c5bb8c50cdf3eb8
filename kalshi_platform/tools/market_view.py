"""How a market looks in a terminal: its book as depth bars, its last trades. 80 columns do, colour only repeats.

Kept out: where books and trades come from.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

Levels = Sequence[tuple[Decimal, Decimal]]
"""Price in dollars and size in contracts of each level."""

TradeLine = tuple[datetime, str, Decimal, Decimal, bool | None]
"""Time, market, yes price, contracts, what the taker bought."""

_BAR = 16
_DEPTH = 6


def show_book(ticker: str, when: datetime, yes: Levels, no: Levels) -> RenderableType:
    """A book as depth around its spread: yes bids on the left, yes asks (a dollar less the no bids) on the right."""
    table = plain_table(("size", "right"), ("yes bid", "right"), ("yes ask", "left"), ("size", "left"))
    bids = sorted(yes, reverse=True)[:_DEPTH]
    asks = sorted((Decimal(1) - price, size) for price, size in no)[:_DEPTH]
    largest = max((size for _, size in [*bids, *asks]), default=Decimal(1))
    for row in range(max(len(bids), len(asks))):
        bid = bids[row] if row < len(bids) else None
        ask = asks[row] if row < len(asks) else None
        table.add_row(
            Text(f"{_bar(bid[1], largest)} {bid[1]:,}", style="green") if bid else "",
            f"{bid[0]:.4f}" if bid else "",
            f"{ask[0]:.4f}" if ask else "",
            Text(f"{ask[1]:,} {_bar(ask[1], largest)}", style="red") if ask else "",
        )
    return titled(table, f"{ticker} at {when:%H:%M:%S.%f}"[:-3] + " UTC")


def show_trades(trades: Sequence[TradeLine]) -> RenderableType:
    """The last trades."""
    table = plain_table("time (UTC)", "market", ("yes price", "right"), ("contracts", "right"), "taker")
    for when, ticker, price, size, side in trades:
        taker = "" if side is None else Text("yes" if side else "no", style="green" if side else "red")
        table.add_row(f"{when:%H:%M:%S.%f}"[:-3], ticker, f"{price:.4f}", f"{size:,}", taker)
    return titled(table, "last trades")


def plain_table(*columns: str | tuple[str, str]) -> Table:
    """A table without lines; a column is a heading, or a heading and `right`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        heading, justify = (column, "left") if isinstance(column, str) else column
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    return table


def titled(content: RenderableType, title: str) -> Panel:
    """Something under a title; the title is not read as markup."""
    return Panel(content, title=Text(title), title_align="left")


def _bar(size: Decimal, largest: Decimal) -> str:
    return "█" * max(1, round(_BAR * float(size / largest)))
