"""`kalshi-platform maintain`: passes of care, once or every so often, until it is asked to stop.

Kept out: what a pass does (the room `maintenance`).
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from kalshi_platform.core.errors import ConfigurationError, PlatformError
from kalshi_platform.core.schema import Home
from kalshi_platform.database.passing import PASSING_FAILURES
from kalshi_platform.lake.layout import Lake
from kalshi_platform.maintenance.passes import Report, lines, maintain_gatherer, maintain_production
from kalshi_platform.service.lifecycle import pause
from kalshi_platform.service.settings import Settings

_TRIED_AGAIN: tuple[type[Exception], ...] = (PlatformError, *PASSING_FAILURES)


async def maintain_until(
    stop: asyncio.Event, home: Home, url: str, settings: Settings, every: float, say: Callable[[str], None]
) -> None:
    """Make passes until `stop` is set; with `every` 0 just one, whose failure is the caller's.

    Args:
        stop: Ends the pause between passes; a pass is finished.
        home: Which kind of database it is.
        url: The database, as the tables' owner.
        settings: Where lake and production are, and what this gatherer is called.
        every: Seconds between passes.
        say: Told, line by line, what was done and what was left.

    Raises:
        PlatformError: Where the only pass fails, or the settings do not fit.
    """
    while True:
        try:
            for line in lines(await _pass(home, url, settings)):
                say(line)
        except _TRIED_AGAIN as error:
            if not every or isinstance(error, ConfigurationError):
                raise
            say(f"this pass failed, the next one tries again: {error}")
        if not every:
            return
        await pause(stop, every)
        if stop.is_set():
            return


async def _pass(home: Home, url: str, settings: Settings) -> Report:
    now = datetime.now(UTC)
    if home is Home.PRODUCTION:
        return await maintain_production(url, Lake(settings.lake_url), now, settings.silence_seconds)
    production = settings.production_database_url
    secret = None if production is None else production.get_secret_value()
    return await maintain_gatherer(url, settings.gatherer_id, secret, now)
