"""How a page of records looks: a table of the columns that fit the terminal; nothing is coloured that must be.

Kept out: which records stand on a page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from kalshi_platform.tools.preview.pager import Page

_encoder = msgspec.json.Encoder(decimal_format="number")
_NARROW, _WIDER = 24, (160, 120, 80, 64, 56, 48, 40, 32)
_GAP = 2
_UNPRINTABLE = dict.fromkeys((*range(32), *range(127, 160)), "·")


def page_table(page: Page, width: int) -> tuple[Table, Sequence[str]]:
    """A table no wider than `width`, and the fields that found no room."""
    rows = [one if isinstance(one, Mapping) else {"value": one} for one in page.records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    left = width - len(f"{page.first + len(rows) - 1}")
    cells, shown = _fitted(rows, names, left, _NARROW)
    for widest in _WIDER:  # where there is room for as many fields, values are cut less
        wider, also = _fitted(rows, names, left, widest)
        if widest + _GAP <= left and len(also) == len(shown):
            cells = wider
            break
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    table.add_column("", justify="right", style="dim", no_wrap=True)
    for name in shown:
        table.add_column(Text(_cell(name)), no_wrap=True, overflow="ellipsis")
    for index in range(len(rows)):
        table.add_row(str(page.first + index), *(Text(cells[name][index]) for name in shown))
    return table, names[len(shown) :]


def _fitted(
    rows: Sequence[Mapping[Any, Any]], names: Sequence[str], left: int, widest: int
) -> tuple[Mapping[str, Sequence[str]], Sequence[str]]:
    """Cells of this width at the most, and the fields that fit then; the first always does."""
    cells = {name: [_cell(row.get(name), widest) for row in rows] for name in names}
    shown: list[str] = []
    for name in names:
        left -= max(len(_cell(name)), *map(len, cells[name])) + _GAP
        if left < 0 and shown:
            break
        shown.append(name)
    return cells, shown


def json_lines(page: Page) -> bytes:
    """The records as they are, one a line; numbers keep every digit."""
    return _encoder.encode_lines(page.records)


def fields_line(names: Sequence[str], width: int) -> str:
    """The fields without room, in one line."""
    line = f"and {len(names)} more fields: {', '.join(map(_cell, names))}"
    return line if len(line) <= width else line[: width - 1] + "…"


def _cell(value: Any, widest: int = _NARROW) -> str:
    """One value in one short line; what a terminal would obey is shown as a dot."""
    text = "" if value is None else value if isinstance(value, str) else _encoder.encode(value).decode()
    text = text[: widest + 1].translate(_UNPRINTABLE)
    return text if len(text) <= widest else text[: widest - 1] + "…"
