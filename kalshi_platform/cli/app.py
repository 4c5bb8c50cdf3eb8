"""`kalshi-platform`: every command, in the order in which help shows them. Kept out: the commands themselves."""

import typer

from kalshi_platform.cli.daemons import deduplicate, gather
from kalshi_platform.cli.databases import maintain, migrate, verify
from kalshi_platform.cli.demo import demo
from kalshi_platform.cli.exchange import markets, preview, public_demo
from kalshi_platform.cli.plain import plainly
from kalshi_platform.cli.questdb import questdb
from kalshi_platform.cli.simulate import simulate
from kalshi_platform.cli.state import doctor, settings, status
from kalshi_platform.cli.tapes import backfill, record, replay

app = typer.Typer(
    help="Capture every order-book change, trade and ticker of Kalshi, merge the copies exactly, query the record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for _command in (
    demo,
    gather,
    deduplicate,
    simulate,
    migrate,
    maintain,
    backfill,
    record,
    replay,
    verify,
    markets,
    public_demo,
    preview,
    status,
    doctor,
    questdb,
    settings,
):
    app.command()(plainly(_command))


def main() -> None:
    """Entry point of the command line."""
    app()
