"""Walks over pages that come from a list."""

import pytest

from kalshi_platform.exchange.pages import CursorRepeated, Page, Pages, Progress, Walk


def book_of(pages: dict[str | None, Page[int]], asked: list[str | None]):
    """A fetch that opens a page by its cursor and notes what was asked for."""

    async def fetch(cursor: str | None) -> Page[int]:
        asked.append(cursor)
        return pages[cursor]

    return fetch


async def test_rows_of_all_pages_and_the_progress() -> None:
    """A missing cursor ends the walk as an empty one does; an empty page in the middle does not."""
    pages = {None: Page([1, 2], "a"), "a": Page([], "b"), "b": Page([3], None)}
    told: list[Progress] = []
    asked: list[str | None] = []
    assert [row async for row in Pages(book_of(pages, asked), Walk(on_progress=told.append))] == [1, 2, 3]
    assert asked == [None, "a", "b"]
    assert [(one.rows, one.pages, one.cursor) for one in told] == [(2, 1, "a"), (2, 2, "b"), (3, 3, None)]


async def test_a_walk_goes_on_from_a_cursor_and_keeps_its_own() -> None:
    """The cursor is that of the page whose rows are not all handed out."""
    pages = {"a": Page([1, 2], "b"), "b": Page([3, 4], None)}
    walk = Pages(book_of(pages, []), Walk(cursor="a"))
    async for row in walk:
        if row == 3:
            break
    assert walk.cursor == "b"


@pytest.mark.parametrize("length", [1, 2, 3, 7])
async def test_a_circle_is_found(length: int) -> None:
    """However long it is, a walk that comes back to a page ends with an error and not never."""
    pages: dict[str | None, Page[int]] = {None: Page([0], "0"), "0": Page([1], "1")}
    pages |= {str(n): Page([n], str(1 + n % length)) for n in range(1, length + 1)}
    asked: list[str | None] = []
    with pytest.raises(CursorRepeated, match="walked already"):
        _ = [row async for row in Pages(book_of(pages, asked), Walk())]
    assert len(asked) < 3 * length + 4
