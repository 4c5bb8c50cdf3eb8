"""Whole books over REST into production: what stands now, where changes were missed.

A book of the past cannot be had: the exchange keeps none. Kept out: trades (`run`), and live books (gatherer).
"""

import time
from collections.abc import Callable, Sequence

import asyncpg

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.records import Source, levels_of, snapshot_row
from kalshi_platform.core.schema import ORDERBOOK_SNAPSHOTS, Home
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.markets import chunks

TAKEN_BY = "repair"
"""Who took these books, in `orderbook_snapshots.gatherer_id`."""

_BOOKS_A_CALL = 100


def _now_us() -> int:
    return time.time_ns() // 1_000


async def fetch_books(
    rest: RestClient, database_url: str, tickers: Sequence[str], now_us: Callable[[], int] = _now_us
) -> int:
    """Store the book of each market as it stands now, stamped with the answer's time; returns how many there were.

    Args:
        rest: The exchange; a hundred books a call.
        database_url: Production, as a member of `kalshi_dedup`.
        tickers: Which markets; those that the exchange does not know any more are left out.
        now_us: The clock, µs since 1970.
    """
    stored, stage = 0, Stage(ORDERBOOK_SNAPSHOTS, Home.PRODUCTION)
    connection = await asyncpg.connect(database_url, server_settings={"application_name": "kalshi-platform repair"})
    try:
        for chunk in chunks(tickers, _BOOKS_A_CALL):
            found = await rest.orderbooks(chunk)
            at = now_us()
            rows = []
            for one in found:
                try:
                    book = OrderBook(levels_of(one.yes_dollars), levels_of(one.no_dollars))
                except FrameRejected:  # it cannot be read, so there is nothing to store
                    continue
                rows.append(snapshot_row(book, one.ticker, Source.REST, TAKEN_BY, at, at))
            await ensure_partitions(connection, ORDERBOOK_SNAPSHOTS, {datetime_from_us(at).date()})
            async with connection.transaction():
                stored += await stage.insert_new(connection, rows)
    finally:
        await connection.close()
    return stored
