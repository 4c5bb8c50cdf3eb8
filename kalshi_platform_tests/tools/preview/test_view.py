"""A page fits the terminal, and uses what there is of it."""

from typing import Any

import pytest
from rich.console import Console

from kalshi_platform.tools.preview.pager import Page
from kalshi_platform.tools.preview.view import page_table

LONG = "a title that does not end so soon " * 5


@pytest.mark.parametrize(
    ("record", "width", "widest", "left_out"),
    [
        ({"ticker": "KXA-1", "title": LONG}, 80, 64, 0),  # there is room: cut less
        ({"ticker": "KXA-1", "title": LONG, "subtitle": LONG, "rules": LONG}, 80, 32, 1),  # a field more is worth more
        ({"ticker": "KXA-1", "title": LONG, "subtitle": LONG}, 200, 80, 0),
        ({"title": LONG}, 40, 32, 0),
    ],
)
def test_values_are_cut_no_more_than_they_must(record: dict[str, Any], width: int, widest: int, left_out: int) -> None:
    """As many fields as fit with narrow values, and then as much of each as fits."""
    table, others = page_table(Page(1, 1, [record] * 3), width)
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(table)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert len(others) == left_out
    assert LONG[: widest - 1] + "…" in lines[1]
