"""Frames a second that the simulator sends over real sockets on one core, against its server library alone.

Ours invents its traffic, keeps books, encodes, numbers and frames every message. The baseline is aiohttp's WebSocket
sending a constant text of the same size to as many clients. Clients are raw sockets in another process that count.
The budget is 100,000 frames a second in total (design.md §10); the ratio says what invention costs.

Run: python benchmarks/simulator.py
"""

import asyncio
import base64
import json
import multiprocessing
import os
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from measure import arguments

from kalshi_platform.simulator import SimulatorOptions, running, write_key_pair

MARKETS = 200
SECONDS = 3.0
ROUNDS = 3
BUDGET_FRAMES = 100_000
MARK = b'"sending_ts_ms"'
FRAME = '{"type":"orderbook_delta","sid":1,"seq":1234567,"sending_ts_ms":1795219201040,"msg":{' + "x" * 230 + "}}"


def count(port: int, headers: dict[str, str], commands: list[str], clients: int, answers: Connection) -> None:
    """Open connections, send commands, read for a while after the first second, and answer with frames a second."""
    sockets = [_connect(port, headers, commands) for _ in range(clients)]
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            selector.register(one, selectors.EVENT_READ)
        _read(selector, 1.0)
        started = time.perf_counter()
        frames = _read(selector, SECONDS)
        answers.send(frames / (time.perf_counter() - started))
    for one in sockets:
        one.close()


def _connect(port: int, headers: dict[str, str], commands: list[str]) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port))
    upgrade = {
        "Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), **headers,
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in upgrade.items())
    one.sendall(f"GET /trade-api/ws/v2 HTTP/1.1\r\n{lines}\r\n".encode())
    greeting = one.recv(65536)
    assert greeting.startswith(b"HTTP/1.1 101"), greeting
    for command in commands:
        one.sendall(_masked(command.encode()))
    one.settimeout(0)
    return one


def _masked(payload: bytes) -> bytes:
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + b"\0\0\0\0" + payload


def _read(selector: selectors.BaseSelector, seconds: float) -> int:
    frames, deadline = 0, time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        for key, _ in selector.select(0.1):
            data = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            frames += data.count(MARK)
    return frames


async def counted(port: int, headers: dict[str, str], commands: list[str], clients: int) -> float:
    """Let another process, on another core, count."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=count, args=(port, headers, commands, clients, theirs), daemon=True
    )
    process.start()
    result = await asyncio.to_thread(ours.recv)
    await asyncio.to_thread(process.join)
    return float(result)


async def simulated(folder: Path, clients: int) -> float:
    """Frames a second of the simulator, asked for more than it can."""
    private = folder / "private.pem"
    options = SimulatorOptions(markets=MARKETS, rate=1e6, keys={"key": folder / "public.pem"})
    async with running(options) as simulator:
        names = list(simulator.exchange.catalogue.markets)
        books = {"channels": ["orderbook_delta"], "market_tickers": names}
        commands = [
            json.dumps({"id": 1, "cmd": "subscribe", "params": books}),
            json.dumps({"id": 2, "cmd": "subscribe", "params": {"channels": ["trade", "ticker"]}}),
        ]
        stamp = str(time.time_ns() // 1_000_000)
        key: Any = load_pem_private_key(private.read_bytes(), None)
        signature = base64.b64encode(key.sign(f"{stamp}GET/trade-api/ws/v2".encode())).decode()
        headers = {
            "KALSHI-ACCESS-KEY": "key", "KALSHI-ACCESS-TIMESTAMP": stamp, "KALSHI-ACCESS-SIGNATURE": signature,
        }  # fmt: skip
        return await counted(int(simulator.ws_url.split(":")[2].split("/")[0]), headers, commands, clients)


async def constant(_: Path, clients: int) -> float:
    """Frames a second of the server library, sending the same text again and again."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        try:
            while True:
                await ws.send_str(FRAME)
        except ConnectionError:
            return ws

    application = web.Application()
    application.add_routes([web.get("/trade-api/ws/v2", handle)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        return await counted(runner.addresses[0][1], {}, [], clients)
    finally:
        await runner.cleanup()


def measure(work: Callable[[Path, int], Coroutine[Any, Any, float]], folder: Path, clients: int) -> float:
    """One measurement in this process."""
    return asyncio.run(work(folder, clients))


def main() -> int:
    """Interleaved rounds with one client and with four."""
    cores = sorted(os.sched_getaffinity(0))
    is_good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_key_pair(folder / "private.pem", folder / "public.pem", "ed25519")
        for clients in (1, 4):
            pairs = [(measure(simulated, folder, clients), measure(constant, folder, clients)) for _ in range(ROUNDS)]
            ours, theirs = (median(one) for one in zip(*pairs, strict=True))
            is_good &= ours >= (BUDGET_FRAMES if clients > 1 else 0)
            sys.stdout.write(
                f"simulator, {clients} client(s): {ours:,.0f} frames/s, {ours / theirs:.2f} x aiohttp sending one "
                f"constant frame ({theirs:,.0f}/s); {len(cores)} cores for both ends\n"
            )
    sys.stdout.write(f"budget {BUDGET_FRAMES:,} frames/s in total: {'ok' if is_good else 'BELOW'}\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    arguments(__doc__)
    sys.exit(main())
