"""The life of a daemon's process: run, stop on a signal, say in one line why it could not go on.

SIGTERM and SIGINT ask the daemon to finish; a second one stops at once. Kept out: what finishing means.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, PlatformError

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
"""Exit codes: something broke; a person must change a setting. systemd restarts the first, not the second."""

_COLLECTIONS = (100_000, 50, 100)  # objects made, and younger collections, between two garbage collections


def run_daemon(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run `main(stop)` until it ends; returns the exit code."""
    collect_rarely()
    code = 0
    try:
        asyncio.run(_until_signalled(main))
    except* (ConfigurationError, ExchangeRefused) as refused:
        code = _report(refused, EXIT_CONFIGURATION)
    except* PlatformError as failed:
        code = code or _report(failed, EXIT_FAILED)
    return code


def collect_rarely() -> None:
    """Let the garbage collector look less often, which was an eighth of a gatherer's CPU.

    Rows live until their batch is written and are in no cycle: Python's 700, 10 and 10 would look in vain at nearly
    every one of them, and now and then at every book.
    """
    gc.set_threshold(*_COLLECTIONS)


async def _until_signalled(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(EXIT_FAILED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await main(stop)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait so many seconds, or until `stop` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def leaves(error: BaseException) -> list[BaseException]:
    """The errors themselves, out of all groups around them."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for one in error.exceptions for leaf in leaves(one)]


def _report(group: BaseExceptionGroup[PlatformError], code: int) -> int:
    for error in leaves(group):
        sys.stderr.write(f"kalshi-platform: {error}\n")
    return code
