"""`kalshi-platform`: commands only; each imports its room when it is called.

Exit codes: 0 done; 1 something broke, or a verdict is not exact; 2 a setting, argument or file is wrong.
Kept out: any work.
"""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, Protocol, TypeVar

import typer

from kalshi_platform.cli_simulate import simulate
from kalshi_platform.core.errors import ConfigurationError, ExchangeRefused, PlatformError
from kalshi_platform.core.schema import Home
from kalshi_platform.exchange.rest.filters import MarketStatus

if TYPE_CHECKING:
    from kalshi_platform.service.settings import Settings

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

app = typer.Typer(
    help="Capture every order-book change, trade and ticker of Kalshi, merge the copies exactly, query the record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _plainly(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Errors that the platform raises on purpose end as one line, not as a traceback."""

    @wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except (ConfigurationError, ExchangeRefused) as error:
            sys.stderr.write(f"kalshi-platform: {error}\n")
            raise typer.Exit(2) from None
        except PlatformError as error:
            sys.stderr.write(f"kalshi-platform: {error}\n")
            raise typer.Exit(1) from None

    return run


@app.command()
@_plainly
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


@app.command()
@_plainly
def gather() -> None:
    """Run one gatherer: listen to every market and write what is heard into its own database."""
    from kalshi_platform.gatherer.daemon import Gatherer

    _run_daemon(Gatherer)


@app.command()
@_plainly
def deduplicate() -> None:
    """Run the deduplicator: merge the gatherers' databases into production, nothing lost, nothing twice."""
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


app.command()(_plainly(simulate))


@app.command()
@_plainly
def migrate(
    home: Annotated[Home, typer.Argument(help="Which kind of database.")],
    url: Annotated[
        str | None,
        typer.Option(
            envvar="KALSHI_MIGRATE_URL",
            show_envvar=True,
            help="Its URL, as an owner of the schema; the setting of that database unless given.",
        ),
    ] = None,
    revision: Annotated[str, typer.Option(help="Where to go.")] = "head",
) -> None:
    """Bring a gatherer's or the production database up to this version's schema."""
    from kalshi_platform.database.migrations import migrate as migrate_database
    from kalshi_platform.service.settings import load_settings

    if home is Home.BOTH:
        raise ConfigurationError("choose gatherer or production: a database is one of them")
    target = url or load_settings().required(f"{home.value}_database_url")
    migrate_database(target, home, revision)
    typer.echo(f"the {home.value} database is at {revision}")


@app.command()
@_plainly
def maintain(
    home: Annotated[Home, typer.Argument(help="Which kind of database.")],
    url: Annotated[
        str | None,
        typer.Option(
            envvar="KALSHI_MIGRATE_URL",
            show_envvar=True,
            help="Its URL, as an owner of the schema; the setting of that database unless given.",
        ),
    ] = None,
    every: Annotated[float, typer.Option(min=0, help="Seconds between passes; 0 is one pass.")] = 0,
) -> None:
    """Care for a database: partitions ahead, care for closed ones, proofs of the lake, retention.

    A partition is dropped only where every hour of it is proven to be in the lake, by files that are read again.
    """
    from kalshi_platform.service.lifecycle import run_daemon
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.maintenance_loop import maintain_until

    if home is Home.BOTH:
        raise ConfigurationError("choose gatherer or production: a database is one of them")
    settings = load_settings()
    target = url or settings.required(f"{home.value}_database_url")
    raise typer.Exit(run_daemon(lambda stop: maintain_until(stop, home, target, settings, every, typer.echo)))


@app.command()
@_plainly
def replay(
    paths: Annotated[list[Path], typer.Argument(help="Recorded files, or folders of them.")],
    checkpoint_seconds: Annotated[int, typer.Option(min=1, help="Interval of book checkpoints.")] = 3600,
) -> None:
    """Replay recorded frames into the gatherer's database, through the same path as live ones.

    Replaying the same files again adds nothing. Reads `.ndjson` and `.jsonl`, plain or `.gz`.
    """
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.replay import replay_with_progress

    settings = load_settings()
    url = settings.required("gatherer_database_url")
    report = asyncio.run(replay_with_progress(paths, url, settings.gatherer_id, checkpoint_seconds * 1000))
    typer.echo(f"{report.frames:,} frames in {report.files} files")
    for table in sorted(report.rows):
        typer.echo(f"  {table}: {report.rows[table]:,} rows, {report.new_rows[table]:,} new")
    for reason in sorted(report.rejected):
        typer.echo(f"  rejected, {reason}: {report.rejected[reason]:,}")
    typer.echo(f"  negative levels: {report.negative_levels}, crossed books: {report.crossed_books}")


@app.command()
@_plainly
def verify(
    ledger: Annotated[Path, typer.Argument(help="The simulator's ledger.")],
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="DATABASE_URL",
            envvar="KALSHI_PRODUCTION_DATABASE_URL",
            show_envvar=True,
            help="The production database; an address with a password is better in the variable.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write every finding there: .parquet, .ndjson or .jsonl by its ending.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Compare a simulator's ledger with production: names every missing, doubled or invented row."""
    from kalshi_platform.tools.verify_command import verify as compare

    if url is None:
        raise ConfigurationError("say which database: set KALSHI_PRODUCTION_DATABASE_URL or name its address")
    if not compare(ledger, url, output, as_json=as_json):
        raise typer.Exit(1)


@app.command()
@_plainly
def markets(
    status: Annotated[MarketStatus, typer.Option(help="Only markets in this state.")] = MarketStatus.OPEN,
    series: Annotated[str | None, typer.Option(help="Only markets of this series.")] = None,
    event: Annotated[str | None, typer.Option(help="Only markets of this event.")] = None,
    combos: Annotated[
        bool, typer.Option(help="Combos (KXMVE…) too, which dominate the list; named series and events bring theirs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="A file for JSON lines; killed, the same command goes on where it was.")
    ] = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds that an outage may last once it has begun.")] = 300,
) -> None:
    """List the exchange's markets, page by page in the memory of one page.

    Anybody may: without KALSHI_API_KEY_ID the answers come from a cache up to 15 s old; with a key they are fresh,
    within what the key may spend. Progress goes to standard error, markets to standard output or --output.
    """
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.markets_command import list_markets, wanted

    filters = wanted(status, series, event, combos=combos)
    asyncio.run(list_markets(load_settings(), filters, output, patience, as_json=as_json))


@app.command()
@_plainly
def settings() -> None:
    """Show every setting: value, default, where it comes from, what it means. Secrets are masked."""
    from rich.console import Console
    from rich.table import Table

    from kalshi_platform.service.settings import describe, load_settings

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("setting", "value", "default", "source", "meaning"):
        table.add_column(heading, overflow="fold")
    for line in describe(load_settings()):
        table.add_row(line.name, line.value, line.default, line.source, line.meaning)
    Console().print(table)


def main() -> None:
    """Entry point of the command line."""
    app()


if __name__ == "__main__":
    main()
