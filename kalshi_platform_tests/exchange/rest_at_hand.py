"""A simulated exchange with a key of its own, and the client that asks it, for the tests of REST."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.transport import patience
from kalshi_platform.exchange.signing import Signer, load_signer
from kalshi_platform.simulator import Simulator, SimulatorOptions, running, write_key_pair
from kalshi_platform.simulator.limits import KeyBucket
from kalshi_platform.simulator.rest.options import RestOptions

KEY_ID = "12345678-1234-1234-1234-123456789012"


@dataclass(frozen=True)
class AtHand:
    """The exchange, a signed client of it, and what the exchange measured of its key."""

    simulator: Simulator
    client: RestClient
    signer: Signer

    @property
    def measured(self) -> KeyBucket:
        """The key's bucket at the exchange."""
        return self.simulator.rest.gate.limits.buckets[KEY_ID]

    @property
    def asked(self) -> int:
        """Requests that reached the exchange so far."""
        return self.simulator.rest.gate.requests


@asynccontextmanager
async def exchange_at_hand(folder: Path, rest: RestOptions | None = None, **options: Any) -> AsyncIterator[AtHand]:
    """Run a quiet exchange and a client that is quick to try again."""
    write_key_pair(folder / "key.pem", folder / "key.pub", "ed25519")
    signer = load_signer(KEY_ID, folder / "key.pem", lambda: time.time_ns() // 1_000_000)
    quiet: dict[str, Any] = {"markets": 57, "rate": 0.0, "new_market_seconds": 0.0, "close_market_seconds": 0.0}
    chosen = SimulatorOptions(keys={KEY_ID: folder / "key.pub"}, rest=rest or RestOptions(), **(quiet | options))
    async with (
        running(chosen) as simulator,
        RestClient(simulator.rest_url, signer, waits=patience(first=0.01, longest=0.02)) as client,
    ):
        yield AtHand(simulator, client, signer)
