"""A simulated exchange and gatherers against it, in one event loop: what the gatherer's tests share."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from kalshi_platform.gatherer.daemon import Gatherer
from kalshi_platform.service.settings import Settings
from kalshi_platform.simulator import SimulatorOptions, write_key_pair

KEY_ID = "key-1"


def now_us() -> int:
    """The clock."""
    return time.time_ns() // 1000


def keys(folder: Path) -> tuple[Path, Path]:
    """A new key pair: private, public."""
    pair = folder / "private.pem", folder / "public.pem"
    write_key_pair(*pair)
    return pair


def options(folder: Path, public: Path, **changes: object) -> SimulatorOptions:
    """A small lively exchange with a ledger."""
    chosen = {"markets": 30, "rate": 2000.0, "new_market_seconds": 1.0, "close_market_seconds": 4.0,
              "trading": 4.0, **changes}  # fmt: skip
    return SimulatorOptions(ledger=folder / "ledger.ndjson", keys={KEY_ID: public}, **chosen)  # type: ignore[arg-type]


def gatherer(database: str, rest_url: str, ws_url: str, private: Path, **changes: object) -> Gatherer:
    """A gatherer with a few connections and quick checkpoints."""
    chosen = {
        "gatherer_database_url": database, "rest_url": rest_url, "ws_url": ws_url, "api_key_id": KEY_ID,
        "private_key_path": private, "ticker_connections": 1, "trade_connections": 1, "lifecycle_connections": 1,
        "orderbook_connections": 3, "checkpoint_seconds": 1, "settle_seconds": 0.5, "metrics_port": 0,
        "spool_directory": private.parent / "spool", **changes,
    }  # fmt: skip
    return Gatherer(Settings(**chosen))  # type: ignore[arg-type]


@asynccontextmanager
async def gathering(one: Gatherer) -> AsyncIterator[None]:
    """A gatherer at work while the block runs; it has written everything afterwards."""
    stop = asyncio.Event()
    work = asyncio.create_task(one.run(stop))
    try:
        yield
    finally:
        stop.set()
        await work


class Proxy:
    """A TCP proxy in front of the exchange whose connections can be cut.

    Args:
        target: The exchange's address.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._path = parts.path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.accepted = 0

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    @property
    def ws_url(self) -> str:
        """Where the proxy listens, as the exchange's WebSocket."""
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    def cut(self) -> None:
        """Cut every connection, in the middle of whatever it carries."""
        for writer in self._writers:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, there_writer}
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        self._writers -= {writer, there_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
