"""Waiting for what other tasks, threads and processes do: for a condition with a bound, never for time to pass."""

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable

_SECONDS = 30.0
_OFTEN, _SELDOM = 0.005, 0.02  # who asks a database leaves it some time


async def until(condition: Callable[[], object], seconds: float = _SECONDS) -> None:
    """Wait for a condition while the loop goes on; one that is awaited, a question to a database, will do."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            is_question = isawaitable(found)
            if await found if isawaitable(found) else found:
                return
            await asyncio.sleep(_SELDOM if is_question else _OFTEN)


def wait_until(condition: Callable[[], object], seconds: float = _SECONDS) -> None:
    """The same where there is no loop."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(_OFTEN)
