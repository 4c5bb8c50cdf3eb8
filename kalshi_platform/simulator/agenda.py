"""What is to happen later: after so many bursts of traffic (`Agenda`), or at a time of the clock (`Timetable`).

What the seed decides is counted in bursts at the asked rate, not in seconds, so that the sequence of everything depends
on the seed alone. What was announced for a time (closings, pauses) happens then. Knows nothing of what it calls.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import count

Action = Callable[[int], None]
"""Something to do at a time in milliseconds."""


class Agenda:
    """Actions that wait for their burst."""

    def __init__(self, bursts_per_second: float) -> None:
        self._pace = bursts_per_second
        self._burst = 0
        self._waiting: list[tuple[int, int, float, Action]] = []
        self._order = count()

    def plan(self, every_seconds: float, action: Action) -> None:
        """Do something again and again; never, if the interval is zero."""
        if every_seconds > 0:
            self._push(every_seconds, every_seconds, action)

    def once(self, after_seconds: float, action: Action) -> None:
        """Do something a little later."""
        self._push(after_seconds, 0.0, action)

    def next_burst(self) -> Iterator[Action]:
        """Count one burst and yield what is due with it."""
        self._burst += 1
        while self._waiting and self._waiting[0][0] <= self._burst:
            _, _, every_seconds, action = heapq.heappop(self._waiting)
            if every_seconds:
                self._push(every_seconds, every_seconds, action)
            yield action

    def _push(self, seconds: float, every_seconds: float, action: Action) -> None:
        due = self._burst + max(1, round(seconds * self._pace))
        heapq.heappush(self._waiting, (due, next(self._order), every_seconds, action))


class Timetable:
    """Actions that wait for their time."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Action]] = []
        self._order = count()

    def at(self, due_ms: int, action: Action) -> None:
        """Do something at a time of the exchange's clock, or right after it."""
        heapq.heappush(self._waiting, (due_ms, next(self._order), action))

    def due(self, now_ms: int) -> Iterator[Action]:
        """What the clock has reached, in order; what is added meanwhile for no later a time included."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            yield heapq.heappop(self._waiting)[2]
