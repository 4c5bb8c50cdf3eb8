"""Asking a database one question: what tests of several rooms share."""

from typing import Any

import asyncpg


async def fetch(url: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """Rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql, *arguments))
    finally:
        await connection.close()


async def value(url: str, sql: str, *arguments: object) -> Any:
    """One value of a query."""
    return (await fetch(url, sql, *arguments))[0][0]
