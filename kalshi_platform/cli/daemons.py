"""`gather` and `deduplicate`: the two daemons, until a signal ends them."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import typer

if TYPE_CHECKING:
    from kalshi_platform.service.settings import Settings


def gather() -> None:
    """Run one gatherer: listen to every market and write what is heard into its own database.

    Its key, database, connections and spool are settings. SIGTERM and Ctrl-C let it write what it has heard; a second
    one stops it at once. `/metrics` and `/health` are on KALSHI_METRICS_PORT.

    Exit codes: 0 stopped in order; 1 something broke: start it again; 2 a setting, the key or the schema is wrong.
    """
    from kalshi_platform.gatherer.daemon import Gatherer

    _run_daemon(Gatherer)


def deduplicate() -> None:
    """Run the deduplicator: merge the gatherers' databases into production, nothing lost, nothing twice.

    KALSHI_GATHERERS and KALSHI_PRODUCTION_DATABASE_URL say from where to where. It waits for gatherers that are away,
    and stands by where another one merges already. `/metrics` and `/health` are on KALSHI_METRICS_PORT.

    Exit codes: 0 stopped in order; 1 something broke: start it again; 2 a setting or a schema is wrong.
    """
    from kalshi_platform.deduplicator.daemon import Deduplicator

    _run_daemon(Deduplicator)


class _Daemon(Protocol):
    async def run(self, stop: asyncio.Event) -> None: ...


def _run_daemon(make: "Callable[[Settings], _Daemon]") -> None:
    """Read the settings and run a daemon until a signal ends it."""
    from kalshi_platform.service.lifecycle import run_daemon
    from kalshi_platform.service.logs import configure_logs
    from kalshi_platform.service.settings import load_settings

    settings = load_settings()
    configure_logs(settings.log_format)
    raise typer.Exit(run_daemon(lambda stop: make(settings).run(stop)))
