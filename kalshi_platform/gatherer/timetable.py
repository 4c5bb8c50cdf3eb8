"""What is due by the clock: names under the second at which something happens to them.

Times are shared by whole events, so a million markets need a few thousand seconds. Kept out: what happens.
"""

import heapq
from collections.abc import Iterator


class Timetable:
    """Names by their second; whoever is no longer meant is left in, and checked when the second comes."""

    def __init__(self) -> None:
        self._seconds: list[int] = []
        self._names: dict[int, list[str]] = {}

    def at(self, second: int, name: str) -> None:
        """Name somebody for a second of the clock, Unix seconds."""
        names = self._names.get(second)
        if names is None:
            names = self._names[second] = []
            heapq.heappush(self._seconds, second)
        names.append(name)

    def due(self, now_s: int) -> Iterator[str]:
        """Everybody whose second has come, in the order of time; each naming once."""
        while self._seconds and self._seconds[0] <= now_s:
            yield from self._names.pop(heapq.heappop(self._seconds))
