"""`kalshi-platform status`: looked at once, drawn or as JSON. Kept out: facts and pictures."""

import sys

import msgspec
from rich.console import Console

from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.status.facts import look
from kalshi_platform.tools.status.view import show_status

_NOTHING_NAMED = (
    "no database is named: set KALSHI_GATHERER_DATABASE_URL, KALSHI_GATHERERS or KALSHI_PRODUCTION_DATABASE_URL"
)


async def show(settings: Settings, *, as_json: bool) -> int:
    """Draw how the platform stands; returns the exit code: 0, 1 where something cannot be reached, 2 without databases.

    Raises:
        ConfigurationError: The settings cannot be read.
    """
    status = await look(settings)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(status, enc_hook=str), indent=2) + b"\n")
        sys.stdout.flush()
    else:
        show_status(status, Console())
    if not status.databases:
        sys.stderr.write(f"kalshi-platform: {_NOTHING_NAMED}\n")
        return 2
    return 1 if status.problems else 0
