"""`kalshi-platform`: every command, in the order in which help shows them. Kept out: the commands themselves."""

from collections.abc import Callable

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
    rich_markup_mode=None,  # plain help wraps at 80 columns and cuts no name; panels do neither
)

_COMMANDS: dict[Callable[..., None], str] = {
    demo: "The whole path on this machine, judged at the end.",
    gather: "One gatherer: hear every market, write what is heard.",
    deduplicate: "Merge the gatherers' databases into production.",
    simulate: "An exchange of your own: Kalshi's REST and WebSocket.",
    migrate: "Bring a database to this version's schema.",
    maintain: "Partitions ahead, care for closed ones, retention.",
    backfill: "Fetch trades of the past over REST into production.",
    record: "The live socket to disk, each frame as it came.",
    replay: "Recorded frames into a database, a lake, a feed, a socket.",
    verify: "A simulator's ledger against production, row by row.",
    markets: "The exchange's list of markets.",
    public_demo: "A look at the exchange without a key, in the terminal.",
    preview: "A look into JSON of any size: file, http(s) or s3.",
    status: "What runs, versions, lag, coverage, the lake, disks.",
    doctor: "What is wrong here, and what to do about it.",
    questdb: "Hand a day of QuestDB over to Parquet.",
    settings: "Every setting, its value and where it comes from.",
}
"""Each with its line in the list of all; its own help is its docstring."""

for _command, _line in _COMMANDS.items():
    app.command(short_help=_line)(plainly(_command))


def main() -> None:
    """Entry point of the command line."""
    app()
