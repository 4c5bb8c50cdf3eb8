"""`migrate gatherer` on a database that came out of a dump: its rows get transaction ids of this server.

Kept out: how that is done (`database.renumbering`).
"""

import asyncio

import asyncpg
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kalshi_platform.core.masking import masked
from kalshi_platform.database.errors import DatabaseUnreachableError
from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.database.renumbering import renumber
from kalshi_platform.database.urls import checked

_COLUMNS = TextColumn("rows of a dump renumbered"), MofNCompleteColumn(), TimeElapsedColumn()


def renumber_dump(url: str) -> int:
    """Renumber what needs it; returns how many rows did.

    Args:
        url: A gatherer's database, as the tables' owner.

    Raises:
        DatabaseUnreachableError: Where the database ends it; the next call goes on.
    """
    try:
        return asyncio.run(_renumber(checked(url)))
    except DATABASE_FAILURES as error:
        raise DatabaseUnreachableError(f"cannot go on renumbering the rows of {masked(url)}: {error}") from error


async def _renumber(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        with Progress(*_COLUMNS, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            return await renumber(connection, lambda rows: bar.advance(task, rows))
    finally:
        await connection.close()
