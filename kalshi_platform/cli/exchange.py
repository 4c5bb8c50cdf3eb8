"""`markets`, `public-demo` and `preview`: what the exchange itself says, and what others have kept of it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kalshi_platform.exchange.rest.filters import MarketStatus


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

    Exit codes: 0 all of them; 1 the exchange cannot be reached; 2 a setting, the key or the file is wrong.
    """
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.markets_command import list_markets, wanted

    filters = wanted(status, series, event, combos=combos)
    asyncio.run(list_markets(load_settings(), filters, output, patience, as_json=as_json))


def public_demo(
    series: Annotated[str, typer.Option(help="The series to look into.")] = "KXHIGHNY",
    market: Annotated[str | None, typer.Option(help="One of its markets; the busiest unless given.")] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Ask a simulated exchange on this machine: no network is needed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, as the exchange sent it.")] = False,
) -> None:
    """Look at the exchange as anybody may, without a key: a series, its markets, an order book, the last trades.

    Answers are up to 15 s old: the exchange serves those without a key from a cache. Notes go to standard error.

    Exit codes: 0 shown; 1 the exchange cannot be reached (--simulate needs none); 2 there is no such series or market.
    """
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.public_demo import public_demo as show

    asyncio.run(show(load_settings().rest_url, series, market, simulate=simulate, as_json=as_json))


def preview(
    source: Annotated[
        str, typer.Argument(help="A file, http://…, https://… or s3://bucket/key; gzip and zstd are unpacked.")
    ],
    path: Annotated[
        str, typer.Option(help="Keys separated by dots, below which the records are; found unless given.")
    ] = "",
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="Records a page.")] = 20,
    page: Annotated[int, typer.Option(min=1, help="The page to show.")] = 1,
    interactive: Annotated[bool, typer.Option("--interactive", help="Turn pages with n, p and q.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The page's records as JSON lines.")] = False,
) -> None:
    """Look into JSON of any size, page by page, in the memory of a page.

    Records are the lines of NDJSON, the elements of an array, or those of the first array inside an object. What is not
    JSON is named by line and byte, behind the records that came before it. A bucket's keys come from where AWS tools
    look for them (AWS_PROFILE, AWS_ACCESS_KEY_ID, an instance's role).

    Exit codes: 0 shown; 1 the source broke off; 2 it is not there, may not be read, or is not JSON.
    """
    from kalshi_platform.tools.preview.command import preview as show

    show(source, path, rows, page, as_json=as_json, interactive=interactive)
