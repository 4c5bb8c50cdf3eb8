"""A simulated exchange beside Dagster's steps, which bring a loop of their own."""

import asyncio
import threading

from kalshi_platform.simulator import Simulator, SimulatorOptions, running
from kalshi_platform.simulator.rest.options import RestOptions


class ExchangeThread:
    """An exchange with a loop of its own, since Dagster's steps bring theirs."""

    def __init__(self) -> None:
        self.simulator: Simulator | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    async def _serve(self) -> None:
        options = SimulatorOptions(
            markets=25, rate=0.0, new_market_seconds=0.0, close_market_seconds=0.0, rest=RestOptions(cache_seconds=0)
        )
        async with running(options) as self.simulator:
            self._is_up.set()
            await self._stop.wait()

    def __enter__(self) -> Simulator:
        self._thread.start()
        assert self._is_up.wait(20)
        assert self.simulator is not None
        return self.simulator

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()
