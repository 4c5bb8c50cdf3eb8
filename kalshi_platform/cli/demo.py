"""`kalshi-platform demo`: the whole path on this machine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def demo(
    seconds: Annotated[float, typer.Option(min=1, help="How long to capture.")] = 60,
    rate: Annotated[int, typer.Option(min=1, help="Messages a second of the simulated exchange.")] = 500,
    markets: Annotated[int, typer.Option(min=1, help="Markets of the simulated exchange.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the simulated traffic.")] = 1,
    folder: Annotated[
        Path | None, typer.Option(help="Where everything is kept; kalshi-data/demo-<time> unless given.")
    ] = None,
    port_base: Annotated[
        int | None, typer.Option(min=1024, max=65000, help="First of the ports used; free ones unless given.")
    ] = None,
    dagster: Annotated[bool, typer.Option(help="Open the Dagster UI on the captured data at the end.")] = True,
    live: Annotated[
        bool, typer.Option(help="Capture the live exchange; needs KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH.")
    ] = False,
) -> None:
    """Run the whole path on this machine and judge it.

    Starts PostgreSQL, an exchange simulator, three gatherers and the deduplicator, shows them at work, exports the
    tape to Parquet, rebuilds books with DuckDB, and ends with a verdict: exact, if every message that the simulator
    sent stands in production exactly once and the books agree. Ctrl-C stops everything; the data stays in one folder.

    Exit codes: 0 exact; 1 not exact, or a part cannot run; 2 the folder, a setting or the key is wrong; 130 stopped.
    """
    from rich.console import Console

    from kalshi_platform.tools.demo import run_demo
    from kalshi_platform.tools.local_stack import StackOptions

    options = StackOptions(
        folder=(folder or Path("kalshi-data") / f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}").absolute(),
        live=live,
        markets=markets,
        rate=rate,
        seed=seed,
        port_base=port_base,
        checkpoint_seconds=60 if live else 5,
    )
    if not run_demo(options, Console(), seconds, with_dagster=dagster):
        raise typer.Exit(1)
