"""Walks over pages that come from a list."""

import pytest

from kalshi_platform.core.errors import ExchangeUnavailable
from kalshi_platform.exchange.rest.pages import CursorRepeated, Page, Pages, PatientPages, Progress, Walk


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


class Shaky:
    """A list of numbers in pages of two; some requests fail."""

    def __init__(self, rows: int, failures: set[int]) -> None:
        self._rows = rows
        self._failures = failures
        self.asked: list[str | None] = []

    def begin(self, walk: Walk) -> Pages[int]:
        """Begin a walk over them."""
        return Pages(self._fetch, walk)

    async def _fetch(self, cursor: str | None) -> Page[int]:
        self.asked.append(cursor)
        if len(self.asked) in self._failures:
            raise ExchangeUnavailable("503")
        start = int(cursor or 0)
        following = start + 2
        return Page(list(range(start, min(following, self._rows))), str(following) if following < self._rows else None)


async def test_a_patient_walk_outlives_outages() -> None:
    """Each row once, progress of the whole walk, and patience anew after each page."""
    told: list[tuple[int, int, str | None]] = []
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    def note(progress: Progress) -> None:
        told.append((progress.rows, progress.pages, progress.cursor))

    shaky = Shaky(7, {1, 3, 4, 6})
    walk = Walk(on_progress=note)
    pages = PatientPages(shaky.begin, walk, lambda: iter([0.5, 1.0]), sleep=sleep)
    assert [rows async for rows in pages.pages()] == [[0, 1], [2, 3], [4, 5], [6]]
    assert told == [(2, 1, "2"), (4, 2, "4"), (6, 3, "6"), (7, 4, None)]
    assert waited == [0.5, 0.5, 1.0, 0.5]
    assert shaky.asked == [None, None, "2", "2", "2", "4", "4", "6"]


async def test_patience_ends() -> None:
    """The last error comes out, and what was handed out before stays handed out."""
    shaky = Shaky(7, {2, 3, 4})
    seen: list[int] = []
    pages = PatientPages(shaky.begin, Walk(), lambda: iter([0.0, 0.0]))

    async def walk() -> None:
        async for rows in pages.pages():
            seen.extend(rows)

    with pytest.raises(ExchangeUnavailable, match="503"):
        await walk()
    assert seen == [0, 1]


async def test_a_circle_is_not_walked_again() -> None:
    """Patience does not help where the exchange leads back."""

    async def fetch(cursor: str | None) -> Page[int]:
        return Page([1], "a")

    pages = PatientPages(lambda walk: Pages(fetch, walk), Walk(), lambda: iter([0.0] * 9))
    with pytest.raises(CursorRepeated):
        [rows async for rows in pages.pages()]
