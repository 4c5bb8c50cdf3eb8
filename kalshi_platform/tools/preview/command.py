"""`kalshi-platform preview`: one page on standard output, or pages turned by keys.

Kept out: reading, and what a page looks like.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.status import Status

from kalshi_platform.core.errors import ConfigurationError, PlatformError
from kalshi_platform.tools.keys import single_keys
from kalshi_platform.tools.preview.pager import Page, Pager
from kalshi_platform.tools.preview.records import records, shape_of
from kalshi_platform.tools.preview.sources import open_source, shown
from kalshi_platform.tools.preview.view import fields_line, json_lines, page_table

_HELP = "n next, p previous, q quit"


def preview(source: str, path: str, size: int, number: int, *, as_json: bool, interactive: bool) -> None:
    """Show one page of a source, or let a person turn pages.

    Args:
        source: A file, http(s)://… or s3://….
        path: Keys separated by dots, below which the records are; empty to look for them.
        size: Records a page.
        number: The page to show first, from 1.
        as_json: Records as JSON lines instead of a table.
        interactive: Whether keys turn pages; needs a terminal.

    Raises:
        ConfigurationError: The source, the path or the page is not there, or is not JSON; said with line and byte.
        SourceError: The source broke off.
    """
    if interactive and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError("--interactive needs a terminal; --page turns pages without one")
    opener, name = partial(open_source, source), shown(source)
    shape = shape_of(opener, name, [key for key in path.split(".") if key])
    console, told = Console(), Console(stderr=True)
    with _reading(told) as note:
        pager = Pager(lambda: records(opener, name, shape), size, note)
        page = pager.page(number)
    if page is None:
        raise ConfigurationError(f"{name} ends before page {number}: it has {size * (number - 1)} records or fewer")
    if interactive:
        with single_keys() as next_key:
            _turn(pager, page, f"{name}, {shape.meaning}", console, next_key)
        return
    if as_json:
        sys.stdout.buffer.write(json_lines(page))
        sys.stdout.flush()
    else:
        _draw(page, console)
    last = page.first + len(page.records) - 1
    told.print(f"{name}: {shape.meaning}, {page.first:,} to {last:,}", markup=False, highlight=False, soft_wrap=True)
    pager.page(number + 1)  # a page that an error cut short says why it is


def _draw(page: Page, console: Console) -> None:
    table, hidden = page_table(page, console.width)
    console.print(table)
    if hidden:
        console.print(fields_line(hidden, console.width), markup=False, highlight=False, style="dim")


def _turn(pager: Pager, page: Page, title: str, console: Console, next_key: Callable[[], str]) -> None:
    """Until q: draw, wait for a key, turn."""
    said = ""
    while True:
        console.clear()
        console.print(title, markup=False, highlight=False, style="bold", soft_wrap=False, overflow="ellipsis")
        _draw(page, console)
        console.print(f"page {page.number:,}: {said or _HELP}", markup=False, highlight=False)
        match next_key():
            case "q" | "\x03" | "\x04" | "":
                return
            case "n" | " " | "\r" | "\n":
                said, page = _turned(pager, page, 1)
            case "p" | "b":
                said, page = _turned(pager, page, -1)
            case _:
                said = _HELP


def _turned(pager: Pager, page: Page, step: int) -> tuple[str, Page]:
    """The page that a key leads to, or why it leads nowhere."""
    if page.number + step < 1:
        return "this is the first page", page
    try:
        found = pager.page(page.number + step)
    except PlatformError as error:
        return str(error), page
    return ("", found) if found else ("this is the last page", page)


@contextmanager
def _reading(console: Console) -> Iterator[Callable[[int], None]]:
    """Tell how far it has come, where somebody watches."""
    status = Status("reading", console=console)
    with status:
        yield lambda number: status.update(f"reading page {number:,}") if number % 100 == 0 else None
