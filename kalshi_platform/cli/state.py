"""`status`, `doctor` and `settings`: how this installation stands."""

import asyncio
import sys
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]


def status(as_json: AsJson = False) -> None:
    """Show how the platform stands: what runs, versions, schemas, lag, watermarks, coverage, the lake, disks.

    Looks once at what this machine's settings name. Daemons on other machines are seen through their databases, where
    gatherers leave a heartbeat every second.

    Exit codes: 0 everything was reached; 1 something was not; 2 no database is named, or a setting is wrong.
    """
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.status.command import show

    raise typer.Exit(asyncio.run(show(load_settings(), as_json=as_json)))


def doctor(as_json: AsJson = False) -> None:
    """Examine this installation and say what is wrong and what to do about it.

    Looks at settings that are misspelt or contradict each other, the key and who may read it, the exchange, the clock,
    every database and login (schema, rights, encryption, signs of life), a lake that is a bucket, QuestDB, alerts,
    disks, the spool, the metrics port and versions. Nothing is changed, no secret is shown.

    Exit codes: 0 all is well; 1 there is a problem; 2 a setting is wrong.
    """
    from kalshi_platform.tools.doctor.command import show

    raise typer.Exit(asyncio.run(show(as_json=as_json)))


def settings(
    as_json: AsJson = False,
    example: Annotated[bool, typer.Option("--example", help="Print a .env with every setting instead.")] = False,
) -> None:
    """Show every setting: value, default, where it comes from, what it means. Secrets are masked.

    The environment wins over a file .env in the current folder. `kalshi-platform settings --example > .env` begins one;
    `kalshi-platform doctor` says whether it fits.

    Exit codes: 0 shown; 2 a setting does not fit.
    """
    import msgspec
    from rich.console import Console
    from rich.text import Text

    from kalshi_platform.service.settings import describe, example_env, load_settings

    if example:
        typer.echo(example_env(), nl=False)
        return
    lines = describe(load_settings())
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(lines), indent=2) + b"\n")
        return
    console = Console()
    for line in lines:
        default = "" if line.value == line.default else f", default {line.default or 'none'}"
        console.print(Text.assemble((line.name, "bold"), f" = {line.value}  ({line.source}{default})"), soft_wrap=True)
        console.print(Text(f"    {line.meaning}"))
