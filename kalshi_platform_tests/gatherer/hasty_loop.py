"""An event loop that skips the time in which nobody has anything to do: a day of timers in half a minute.

Sockets stay real, as long as both of their ends are in this loop: time passes only when none has anything to read.
Kept out: whoever waits for another process, or for a thread, must not run here; its answer would take days.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

Result = TypeVar("Result")


class _HastySelector(selectors.BaseSelector):
    """Looks at the sockets and never waits for them while there are timers: it moves the clock instead."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; where nothing is, the next timer is due."""
        events = self._real.select(0)
        if not events and timeout != 0:  # once more: the system may have had bytes on their way
            events = self._real.select(None if timeout is None else 0)
        if not events and timeout is not None and timeout > 0:
            self.now += timeout
        return events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As ever."""
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As ever."""
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As ever."""
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As ever."""
        return self._real.get_map()

    def close(self) -> None:
        """As ever."""
        self._real.close()


class HastyLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0 and moves only from timer to timer."""

    def __init__(self) -> None:
        self._hasty = _HastySelector()
        super().__init__(self._hasty)

    def time(self) -> float:
        """Seconds since the start, none of which anybody waited for."""
        return self._hasty.now


def run_hastily(work: Coroutine[Any, Any, Result]) -> Result:
    """Run something to its end in a loop that does not wait."""
    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        return runner.run(work)


class LoopClock:
    """The exchange's time as the running loop has it.

    Args:
        start_ms: What it was as the loop began.
    """

    scale = 1.0

    def __init__(self, start_ms: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._start_ms = start_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._start_ms + int(self._loop.time() * 1000)

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return self._start_ms * 1000 + int(self._loop.time() * 1_000_000)

    def seconds(self) -> float:
        """Since the start."""
        return self._loop.time()
