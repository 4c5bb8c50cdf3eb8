"""`migrate`, `maintain` and `verify`: what is done to a database, and what is asked of it."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import Home

KindOfDatabase = Annotated[Literal["gatherer", "production"], typer.Argument(help="Which kind of database.")]
OwnersUrl = Annotated[
    str | None,
    typer.Option(
        envvar="KALSHI_MIGRATE_URL",
        show_envvar=True,
        help="Its URL, as an owner of the schema; the setting of that database unless given.",
    ),
]


def migrate(
    home: KindOfDatabase,
    url: OwnersUrl = None,
    revision: Annotated[str, typer.Option(help="Where to go.")] = "head",
) -> None:
    """Bring a gatherer's or the production database up to this version's schema.

    Makes tables, views and the roles of daemons and people, as the owner of the schema; run it again after each update.
    An empty database becomes the kind that is named; a later version's schema, or the other kind's, is refused.

    Exit codes: 0 done; 1 the database cannot be used; 2 the address or the schema is not what it must be.
    """
    from kalshi_platform.database.migrations import migrate as migrate_database
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.renumber_command import renumber_dump

    target = url or load_settings().required(f"{home}_database_url")
    migrate_database(target, Home(home), revision, partial(typer.echo, err=True))
    if home == "gatherer" and revision == "head" and (rows := renumber_dump(target)):
        typer.echo(f"{rows:,} rows that came out of a dump have transaction ids of this server now")
    typer.echo(f"the {home} database is at {revision}")


def maintain(
    home: KindOfDatabase,
    url: OwnersUrl = None,
    every: Annotated[float, typer.Option(min=0, help="Seconds between passes; 0 is one pass.")] = 0,
) -> None:
    """Care for a database: partitions ahead, care for closed ones, proofs of the lake, retention.

    A partition is dropped only where every hour of it is proven to be in the lake, by files that are read again.

    Exit codes: 0 done; 1 a pass failed; 2 the address, a setting or the schema is wrong.
    """
    from kalshi_platform.service.lifecycle import run_daemon
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.maintenance_loop import maintain_until

    settings = load_settings()
    target = url or settings.required(f"{home}_database_url")
    raise typer.Exit(run_daemon(lambda stop: maintain_until(stop, Home(home), target, settings, every, typer.echo)))


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
    """Compare a simulator's ledger with production: names every missing, doubled or invented row.

    Exit codes: 0 exact; 1 it is not, or the database cannot be used; 2 the ledger or the address is wrong.
    """
    from kalshi_platform.tools.verify_command import verify as compare

    if url is None:
        raise ConfigurationError("say which database: set KALSHI_PRODUCTION_DATABASE_URL or name its address")
    if not compare(ledger, url, output, as_json=as_json):
        raise typer.Exit(1)
