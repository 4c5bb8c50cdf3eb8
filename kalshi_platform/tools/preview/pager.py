"""Pages of records: forwards as they are read, backwards out of memory, further back by reading again.

Kept out: what a page looks like.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from kalshi_platform.core.errors import PlatformError

_KEPT = 50


class Page(NamedTuple):
    """Some records in a row; `number` counts pages, `first` records, both from 1."""

    number: int
    first: int
    records: Sequence[Any]


class Pager:
    """Turns pages over records that come once.

    Args:
        begin: Begins the records anew.
        size: Records a page.
        on_page: Told of each page that was read, by its number.
    """

    def __init__(
        self, begin: Callable[[], Iterator[Any]], size: int, on_page: Callable[[int], None] = lambda _: None
    ) -> None:
        self._begin = begin
        self._size = size
        self._on_page = on_page
        self._records = begin()
        self._read = 0
        self._broken: PlatformError | None = None
        self._kept: deque[Page] = deque(maxlen=_KEPT)

    def page(self, number: int) -> Page | None:
        """A page by its number; None behind the last one.

        Raises:
            PlatformError: The source breaks off before this page; the records until there are on the pages before.
        """
        if self._kept and number < self._kept[0].number:
            self._records.close()  # type: ignore[attr-defined]  # a generator: lets go of the source
            self._records, self._read, self._broken = self._begin(), 0, None
            self._kept.clear()
        while self._read < number and self._next():
            pass
        found = next((one for one in self._kept if one.number == number), None)
        if found is None and self._broken is not None:
            raise self._broken
        return found

    def _next(self) -> bool:
        found: list[Any] = []
        try:
            found.extend(islice(self._records, self._size))  # what came before an error stays in the list
        except PlatformError as error:
            self._broken = error
        if not found:
            return False
        self._read += 1
        self._kept.append(Page(self._read, (self._read - 1) * self._size + 1, found))
        self._on_page(self._read)
        return True
