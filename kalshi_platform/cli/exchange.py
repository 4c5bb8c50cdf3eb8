"""`markets`: what the exchange itself says."""

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
    """
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.markets_command import list_markets, wanted

    filters = wanted(status, series, event, combos=combos)
    asyncio.run(list_markets(load_settings(), filters, output, patience, as_json=as_json))
