"""Frames off the wire: our socket over picows, against a bare `websockets` client that only receives.

Both take the same tape on loopback; measured is this process' CPU. Run: python benchmarks/socket_receive.py
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import msgspec
from measure import ROUNDS, arguments
from tape_server import ticker
from websockets.asyncio.client import connect

from kalshi_platform.exchange.socket import open_socket

DELTAS, MARKETS, BUDGET = 100_000, 500, 3.0
SUBSCRIBE = msgspec.json.encode(
    {"id": 1, "cmd": "subscribe", "params": {"market_tickers": [ticker(number) for number in range(MARKETS)]}}
)


async def ours(url: str) -> float:
    """CPU seconds for all frames."""
    async with open_socket(url, None, lambda: time.time_ns() // 1000) as socket:
        await socket.send(SUBSCRIBE)
        before, left = time.process_time(), DELTAS
        async for messages in socket:
            left -= len(messages)
            if left <= 0:
                return time.process_time() - before
    raise AssertionError("the tape was too short")


async def theirs(url: str) -> float:
    """The same, without even the time of receipt."""
    async with connect(url, compression=None, max_queue=(1024, 256), ping_interval=None) as connection:
        await connection.send(SUBSCRIBE, text=True)
        before = time.process_time()
        for _ in range(DELTAS):
            await connection.recv(decode=False)
        spent = time.process_time() - before
        connection.transport.abort()
        return spent


def main() -> bool:
    """Both in turn."""
    command = [sys.executable, str(Path(__file__).with_name("tape_server.py")), str(DELTAS + 2000), str(MARKETS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tape:  # noqa: S603 - ours
        try:
            assert tape.stdout is not None
            url = f"ws://127.0.0.1:{int(tape.stdout.readline())}/"
            ratios = [asyncio.run(theirs(url)) / asyncio.run(ours(url)) for _ in range(ROUNDS)]
        finally:
            tape.kill()
    result = median(ratios)
    verdict = "ok" if result >= BUDGET else "BELOW"
    spread = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
    sys.stdout.write(
        f"frames per CPU-second off the wire: {result:.2f} x websockets {spread}, budget {BUDGET}: {verdict}\n"
    )
    return result >= BUDGET


if __name__ == "__main__":
    arguments(__doc__)
    sys.exit(not main())
