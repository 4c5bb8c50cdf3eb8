"""A client of the simulator that shares no line with it or with the platform, and the keys it signs with."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from websockets.asyncio.client import ClientConnection, connect

from kalshi_platform.simulator import SimulatorOptions, write_key_pair

RSA_KEY_ID = "11111111-2222-3333-4444-555555555555"
ED25519_KEY_ID = "66666666-7777-8888-9999-000000000000"
WS_PATH = "/trade-api/ws/v2"

Message = dict[str, Any]
Ladder = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Signer:
    """Signs requests as the protocol's first section says, or wrongly in a chosen way."""

    key_id: str
    private_path: Path

    def headers(self, path: str = WS_PATH, *, age_ms: int = 0, salt: int = 32) -> dict[str, str]:
        """The three headers of a GET."""
        timestamp = str(time.time_ns() // 1_000_000 - age_ms)
        text = f"{timestamp}GET{path}".encode()
        key = load_pem_private_key(self.private_path.read_bytes(), None)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            raw = key.sign(text)
        else:
            raw = key.sign(text, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
        return {
            "KALSHI-ACCESS-KEY": self.key_id,
            "KALSHI-ACCESS-TIMESTAMP": timestamp,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(raw).decode(),
        }


@dataclass
class Client:
    """One WebSocket client that keeps every message it got, in order."""

    socket: ClientConnection
    messages: list[Message] = field(default_factory=list)
    last_id: int = 0

    async def send(self, cmd: str, **params: Any) -> int:
        """Send a command and return its id."""
        self.last_id += 1
        await self.socket.send(json.dumps({"id": self.last_id, "cmd": cmd, "params": params}))
        return self.last_id

    async def receive(self) -> Message:
        """The next message."""
        async with asyncio.timeout(10):
            message = json.loads(await self.socket.recv())
        self.messages.append(message)
        return message

    async def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Read on until a message of this kind."""
        while True:
            message = await self.receive()
            if wanted(message):
                return message

    async def ask(self, cmd: str, **params: Any) -> Message:
        """Send a command and read on until its answer."""
        request_id = await self.send(cmd, **params)
        return await self.until(lambda message: message.get("id") == request_id)

    async def settle(self) -> list[Message]:
        """Read everything sent so far: the answer to one more command stands behind it. Returns what came."""
        before = len(self.messages)
        await self.ask("list_subscriptions")
        return self.messages[before:-1]

    def of_type(self, kind: str) -> list[Message]:
        """Every message of a type."""
        return [message for message in self.messages if message["type"] == kind]

    def sequence(self, sid: int) -> list[int]:
        """Every number that a subscription gave out."""
        return [message["seq"] for message in self.messages if message.get("sid") == sid and "seq" in message]


@pytest.fixture(scope="session")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    """A key of each kind; the public halves lie beside the private ones."""
    folder = tmp_path_factory.mktemp("keys")
    for kind in ("rsa", "ed25519"):
        write_key_pair(folder / f"{kind}.pem", folder / f"{kind}.pub", kind)
    return {
        "rsa": Signer(RSA_KEY_ID, folder / "rsa.pem"),
        "ed25519": Signer(ED25519_KEY_ID, folder / "ed25519.pem"),
    }


@pytest.fixture
def signer(signers: dict[str, Signer]) -> Signer:
    """The key that most tests sign with."""
    return signers["ed25519"]


@pytest.fixture
def options(signers: dict[str, Signer]) -> Callable[..., SimulatorOptions]:
    """Options of a small quiet exchange that knows both keys, to be changed per test."""
    keys = {one.key_id: one.private_path.with_suffix(".pub") for one in signers.values()}

    def make(**changes: Any) -> SimulatorOptions:
        quiet: dict[str, Any] = {
            "markets": 12, "rate": 0.0, "new_market_seconds": 0.0, "close_market_seconds": 0.0,
            "new_combo_seconds": 0.0, "change_market_seconds": 0.0, "silent_share": 0.0, "rest_delay_seconds": 0.0,
            "trading": 4.0,
        }  # fmt: skip
        return SimulatorOptions(keys=keys, **(quiet | changes))

    return make


@pytest.fixture
def client(signer: Signer) -> Callable[[str], AbstractAsyncContextManager[Client]]:
    """Open a signed connection to a WebSocket URL."""

    @asynccontextmanager
    async def open_client(url: str) -> AsyncIterator[Client]:
        async with connect(url, additional_headers=signer.headers(), compression=None) as socket:
            yield Client(socket)

    return open_client


@pytest.fixture
def fold() -> Callable[[list[Message]], dict[str, Ladder]]:
    """Books from snapshots and deltas, in order of arrival, by somebody who never saw the simulator's own book."""

    def fold_messages(messages: list[Message]) -> dict[str, Ladder]:
        books: dict[str, Ladder] = {}
        for message in messages:
            body = message.get("msg")
            if message["type"] == "orderbook_snapshot":
                books[body["market_ticker"]] = {
                    side: {price: float(size) for price, size in body.get(f"{side}_dollars_fp", [])}
                    for side in ("yes", "no")
                }
            elif message["type"] == "orderbook_delta":
                levels = books[body["market_ticker"]][body["side"]]
                price = body["price_dollars"]
                levels[price] = round(levels.get(price, 0.0) + float(body["delta_fp"]), 2)
                assert levels[price] >= 0
                if not levels[price]:
                    del levels[price]
        return books

    return fold_messages
