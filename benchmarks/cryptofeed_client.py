"""cryptofeed 2.4.1 on the same tape, into PostgreSQL: what `cryptofeed_comparison` measures ours against.

It is given its best: an exchange class of its own, its WSAsyncConn without TLS, yapic, its C order book, BookPostgres
without snapshots, uvloop. Best bid and offer are read after each delta, as ours are. Prints the rows that its writer
has committed and the CPU seconds of this process.
Run: python cryptofeed_client.py ws://127.0.0.1:PORT DATABASE_URL DELTAS MARKETS
"""

import asyncio
import sys
import time
from decimal import Decimal
from urllib.parse import unquote, urlsplit

import uvloop
from cryptofeed.backends.postgres import BookPostgres
from cryptofeed.connection import WSAsyncConn
from cryptofeed.defines import ASK, BID, L2_BOOK
from cryptofeed.feed import Feed
from cryptofeed.symbols import Symbol, Symbols
from cryptofeed.types import OrderBook
from measure import arguments
from tape_server import ticker
from yapic import json

TABLE = """
CREATE TABLE book (id serial PRIMARY KEY, timestamp timestamp, receipt_timestamp timestamp, exchange varchar(32),
symbol varchar(64), data jsonb)
"""


class Tape(Feed):
    """The benchmark's exchange, as its users write one."""

    id = "TAPE"
    websocket_channels = {L2_BOOK: "orderbook_delta"}  # noqa: RUF012 - the library's way
    websocket_endpoints = ()
    rest_endpoints = ()
    address_of_tape = ""
    markets = 0

    @classmethod
    def symbol_mapping(cls, refresh: bool = False) -> dict[str, str]:  # noqa: ARG003, FBT002 - the library's signature
        """Every market, under its own name."""
        names = {ticker(number): ticker(number) for number in range(cls.markets)}
        Symbols.set(cls.id, names, {"instrument_type": dict.fromkeys(names, "prediction")})
        return names

    def connect(self) -> list[tuple[object, ...]]:
        """Its own connection; the address is put in afterwards, because it insists on TLS."""
        options = {"ping_interval": None, "max_size": None, "max_queue": None, "compression": None}
        connection = WSAsyncConn("wss://tape", self.id, subscription=self.subscription, **options)
        connection.address = self.address_of_tape
        return [(connection, self.subscribe, self.message_handler, self.authenticate)]

    async def subscribe(self, connection: WSAsyncConn) -> None:
        """Ask for every market."""
        names = [ticker(number) for number in range(self.markets)]
        for start in range(0, len(names), 500):
            params = {"channels": ["orderbook_delta"], "market_tickers": names[start : start + 500]}
            await connection.write(json.dumps({"id": start + 1, "cmd": "subscribe", "params": params}))

    async def message_handler(self, msg: str, conn: WSAsyncConn, timestamp: float) -> None:
        """A frame."""
        frame = json.loads(msg, parse_float=Decimal)
        if frame["type"] == "orderbook_delta":
            await self._delta(frame["msg"], timestamp)
        elif frame["type"] == "orderbook_snapshot":
            await self._snapshot(frame["msg"], timestamp)

    async def _delta(self, body: dict[str, str], timestamp: float) -> None:
        book = self._l2_book[body["market_ticker"]]
        side, price = (BID, Decimal(body["price_dollars"])) if body["side"] == "yes" else _ask(body)
        levels = book.book[side]
        size = levels[price] + Decimal(body["delta_fp"]) if price in levels else Decimal(body["delta_fp"])
        if size:
            levels[price] = size
        else:
            del levels[price]
        if len(book.book.bids) and len(book.book.asks):
            book.book.bids.index(0)
            book.book.asks.index(0)
        delta = {BID: [], ASK: []}
        delta[side].append((price, size))
        stamp = int(body["ts_ms"]) / 1000
        await self.book_callback(L2_BOOK, book, timestamp, timestamp=stamp, delta=delta)

    async def _snapshot(self, body: dict[str, list[list[str]]], timestamp: float) -> None:
        name = str(body["market_ticker"])
        bids = {Decimal(price): Decimal(size) for price, size in body["yes_dollars_fp"]}
        asks = {1 - Decimal(price): Decimal(size) for price, size in body["no_dollars_fp"]}
        self._l2_book[name] = OrderBook(self.id, name, bids=bids, asks=asks)
        del timestamp  # snapshots are not written: ours are, and cost it nothing


def _ask(body: dict[str, str]) -> tuple[str, Decimal]:
    return ASK, 1 - Decimal(body["price_dollars"])


class CountingBook(BookPostgres):
    """Says when everything is committed."""

    def __init__(self, expected: int, **options: object) -> None:
        super().__init__(snapshot_interval=10**9, **options)
        self.expected = expected
        self.rows = 0
        self.is_done = asyncio.Event()

    async def write_batch(self, updates: list[object]) -> None:
        """Write as it does, then count."""
        await super().write_batch(updates)
        self.rows += len(updates)
        if self.rows >= self.expected:
            self.is_done.set()


async def run(address: str, database: str, count: int, markets: int) -> None:
    """Listen until everything is committed."""
    Tape.address_of_tape, Tape.markets = address, markets
    parts = urlsplit(database)
    writer = CountingBook(
        count, host=parts.hostname, port=parts.port, user=parts.username, pw=unquote(parts.password or ""),
        db=parts.path.strip("/"),
    )  # fmt: skip
    names = [ticker(number) for number in range(markets)]
    feed = Tape(symbols=names, channels=[L2_BOOK], callbacks={L2_BOOK: writer}, timeout=-1)
    before, started = time.process_time(), time.perf_counter()
    feed.start(asyncio.get_running_loop())
    await writer.is_done.wait()
    spent, elapsed = time.process_time() - before, time.perf_counter() - started
    feed.stop()
    sys.stdout.write(f"{writer.rows} {spent} {elapsed}\n")
    sys.stdout.flush()
    await feed.shutdown()


if __name__ == "__main__":
    assert Symbol
    uvloop.run(run(*arguments(__doc__, socket=str, database=str, deltas=int, markets=int)))
