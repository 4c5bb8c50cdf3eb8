"""The process: everything put together behind one port, started, made known, and ended in order.

The only place that knows the whole simulator. Signals and the ready file are handled here and nowhere else.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from kalshi_platform.simulator import announce
from kalshi_platform.simulator.auth import Gatekeeper, RefusedError
from kalshi_platform.simulator.clock import Clock, RealClock, TapeClock, make_clock
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.options import SimulatorOptions
from kalshi_platform.simulator.pace import Pace, Swing
from kalshi_platform.simulator.pauses import plan_maintenance, plan_pauses
from kalshi_platform.simulator.pulse import Pulse, Traffic
from kalshi_platform.simulator.recorded_markets import RecordingIndex, open_tape
from kalshi_platform.simulator.replay import Replay
from kalshi_platform.simulator.requests import NOT_FOUND_BODY, BadRequestError, NotFoundError, answer, answer_bytes
from kalshi_platform.simulator.rest.routes import PREFIX, Rest
from kalshi_platform.simulator.venue import Venue
from kalshi_platform.simulator.websocket import KEY_ID, PATH, WebSocketEndpoint

_SHUTDOWN_SECONDS = 0.5


class Simulator:
    """A running exchange, as its process and tests hold it."""

    def __init__(
        self,
        address: str,
        exchange: Venue,
        hub: Hub,
        ledger: Ledger,
        pulse: Pulse,
        rest: Rest,
        endpoint: WebSocketEndpoint,
    ) -> None:
        self.rest_url = f"http://{address}{PREFIX}"
        self.ws_url = f"ws://{address}{PATH}"
        self.exchange = exchange
        """Its catalogue holds every market with its book as of now."""
        self.ledger = ledger
        """What was sent so far: `deltas`, `trades`, `tickers`."""
        self.rest = rest
        """Its token buckets with what was taken from them, its cutoff and its faults."""
        self.hub = hub
        """Who listens to what: `listening()`."""
        self._pulse = pulse
        self._endpoint = endpoint

    @property
    def replay(self) -> Replay | None:
        """The tape that is played, if traffic is not invented; `begin()` starts it whoever listens."""
        return self.exchange if isinstance(self.exchange, Replay) else None

    def stop_traffic(self) -> None:
        """End the traffic and complete the ledger; sockets and REST stay up."""
        self._pulse.stop_trading()

    def pause(self, resumes_ms: int = 0, *, drops_sockets: bool = False) -> None:
        """Let nothing trade for a while, as on Thursday mornings; REST stays up and says so.

        Args:
            resumes_ms: When it will trade again, as far as REST says, in milliseconds since 1970; 0 is unknown.
            drops_sockets: Whether every connection is closed (1001). New ones are accepted throughout.
        """
        self.exchange.is_paused = True
        self.rest.state.trading_active = False
        self.rest.state.resumes_ms = resumes_ms
        if drops_sockets:
            self._endpoint.drop_all()

    def resume(self) -> None:
        """Trade again."""
        self.exchange.is_paused = False
        self.rest.state.trading_active = True
        self.rest.state.resumes_ms = 0

    @property
    def is_trading(self) -> bool:
        """Whether there is still traffic."""
        return self._pulse.is_trading


def run(options: SimulatorOptions) -> None:
    """Run an exchange as a process of its own: SIGTERM and SIGINT end it in order, SIGUSR1 ends the traffic."""
    asyncio.run(_run_until_signal(options))


async def serve(options: SimulatorOptions) -> None:
    """Run an exchange inside this event loop until the task is cancelled."""
    async with running(options):
        await asyncio.Event().wait()


async def _run_until_signal(options: SimulatorOptions) -> None:
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    async with running(options, on_progress=announce.Looking()) as simulator:
        loop.add_signal_handler(signal.SIGUSR1, simulator.stop_traffic)
        announce.ready(options, simulator.rest_url, simulator.ws_url, len(simulator.exchange.catalogue.markets))
        reporting = asyncio.create_task(announce.report(simulator.replay)) if simulator.replay else None
        await told_to_stop.wait()
        if reporting:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)


@asynccontextmanager
async def running(
    options: SimulatorOptions, clock: Clock | None = None, on_progress: Callable[[Path, int], None] | None = None
) -> AsyncIterator[Simulator]:
    """Run an exchange for as long as the block lasts; traffic begins at once, a tape when somebody has subscribed.

    A failure of the exchange itself cancels the block and is raised at its end.

    Args:
        options: How it behaves.
        clock: The exchange's time, where it is not to be the one of the options: a `HandClock`, say.
        on_progress: Told, while a recording is looked through, the file and how many of its bytes were read.

    Raises:
        RecordingError: There is a recording to be served, and it cannot be.
    """
    tape = open_tape(options.replay, on_progress) if options.replay else None
    if tape:
        clock = TapeClock(tape.first_ms, options.replay_speed)
    clock = clock or make_clock(options.time_scale, options.start_ms)
    hub = Hub(clock.now_ms)
    ledger = Ledger(options.ledger)
    exchange, traffic = _floor(options, tape, clock, hub, ledger)
    ledger.flush()
    endpoint = WebSocketEndpoint(options, hub, exchange)
    rest = Rest(exchange, options.rest, clock.now_ms)
    application = _application(Gatekeeper(options.keys, RealClock().now_ms), rest, endpoint)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    try:
        address = await _listen(runner, options)
        pulse = Pulse(options, traffic, hub, ledger, clock)
        simulator = Simulator(address, exchange, hub, ledger, pulse, rest, endpoint)
        plan_pauses(exchange.timetable, simulator, options.pauses, clock.now_ms())
        if options.maintenance:
            plan_maintenance(exchange.timetable, simulator, clock.now_ms())
        async with _beating(pulse):
            yield simulator
    finally:
        await endpoint.close_all()
        await runner.cleanup()
        ledger.close()


def _floor(
    options: SimulatorOptions, tape: RecordingIndex | None, clock: Clock, hub: Hub, ledger: Ledger
) -> tuple[Venue, Traffic]:
    """The exchange and where its traffic comes from: a recording, or invention."""
    if tape and isinstance(clock, TapeClock):
        replay = Replay(options, tape, clock, hub, ledger)
        return replay, replay
    exchange = Exchange(options, hub, ledger)
    exchange.open(hub.sending_ms)
    return exchange, Pace(exchange, options.rate, clock, Swing(options.seed, options.swing, exchange.spread))


@asynccontextmanager
async def _beating(pulse: Pulse) -> AsyncIterator[None]:
    """Keep the pulse for the length of a block; should it fail, the block is cancelled with it.

    One task, owned here: a TaskGroup would wrap every exception of the block in a group.
    """
    block = asyncio.current_task()
    task = asyncio.create_task(pulse.run())

    def stop_the_block(ended: asyncio.Task[None]) -> None:
        if block and not ended.cancelled():
            block.cancel()

    task.add_done_callback(stop_the_block)
    try:
        yield
    finally:
        task.remove_done_callback(stop_the_block)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        pulse.stop_trading()
        if not task.cancelled():
            task.result()


async def _listen(runner: web.AppRunner, options: SimulatorOptions) -> str:
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port)
    await site.start()
    host, port = runner.addresses[0][:2]
    if options.ready_file:
        unfinished = options.ready_file.with_name(options.ready_file.name + ".part")
        unfinished.write_text(f"{port}\n", encoding="ascii")
        unfinished.replace(options.ready_file)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _application(gatekeeper: Gatekeeper, rest: Rest, endpoint: WebSocketEndpoint) -> web.Application:
    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        """Check a signature where there is one, and turn refusals into the exchange's bodies."""
        try:
            if gatekeeper.is_signed(request.headers):
                request[KEY_ID] = gatekeeper.identify(request.method, request.rel_url.raw_path, request.headers)
            response: web.StreamResponse = await handler(request)
        except RefusedError as error:
            return answer_bytes(error.body, 401)
        except BadRequestError as error:
            return answer(error.body, 400)
        except (NotFoundError, web.HTTPNotFound):
            return answer(NOT_FOUND_BODY, 404)
        return response

    slashes = web.normalize_path_middleware(
        append_slash=False, remove_slash=True, redirect_class=web.HTTPMovedPermanently
    )
    application = web.Application(middlewares=[guard, slashes])
    application.add_routes([web.get(PATH, endpoint.handle), *rest.routes()])
    return application
