"""`kalshi-platform simulate`: the options of the simulator as flags, in groups, and what is wrong with them in words.

Kept out: any work; the simulator is imported when the command runs.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from kalshi_platform.core.errors import ConfigurationError

if TYPE_CHECKING:
    from kalshi_platform.simulator import FaultOptions, SimulatorOptions
    from kalshi_platform.simulator.rest.options import RestOptions

T = TypeVar("T")


def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of REST and WebSocket; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    markets: Annotated[int, typer.Option(min=1, help="Markets that are open at the start.")] = 100,
    combos: Annotated[int, typer.Option(min=0, help="Combos that are open at the start, besides them.")] = 0,
    busy_markets: Annotated[int, typer.Option(min=1, help="Markets that the traffic touches at most.")] = 20_000,
    rate: Annotated[float, typer.Option(min=0, help="Deltas, trades and tickers a second, in total.")] = 500,
    swing: Annotated[float, typer.Option(min=0, help="How busy and quiet seconds differ; 1 as recorded, 0 not.")] = 1,
    trading: Annotated[float, typer.Option(min=0, help="How much is traded; 1 as recorded.")] = 1,
    seed: Annotated[int, typer.Option(help="Fixes names, books and the sequence of events.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="How long traffic lasts; 0 is until SIGUSR1.")] = 0,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Receives all that was sent, to whom and when: NDJSON, or Parquet by its ending."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="An API key: KEY_ID=public.pem. May be repeated; one is made if none is given."),
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Where the port is written once it answers.")] = None,
    new_market_seconds: Annotated[float, typer.Option(min=0, help="Between new markets.")] = 10,
    close_market_seconds: Annotated[
        float, typer.Option(min=0, help="Between markets that close before their time.")
    ] = 45,
    new_combo_seconds: Annotated[float, typer.Option(min=0, help="Between new combos.")] = 0,
    change_market_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="Between rarer events: a market pauses, moves its close, grid, title or fee.",
        ),
    ] = 30,
    silent_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of new markets that open without a message."),
    ] = 0.3,
    rest_delay_seconds: Annotated[
        float, typer.Option(min=0, help="How long REST does not know an announced market.")
    ] = 0.3,
    market_life_hours: Annotated[
        float,
        typer.Option(min=0, help="Markets close within so many hours; 0 is in 1 to 30 days."),
    ] = 0,
    time_scale: Annotated[
        float,
        typer.Option(min=0, help="Seconds of the exchange per second: 1440 is a day a minute."),
    ] = 1,
    start: Annotated[
        str | None,
        typer.Option(help="Its time at the start, e.g. 2026-11-18T17:00:00Z; now unless given."),
    ] = None,
    maintenance: Annotated[
        bool,
        typer.Option("--maintenance", help="Keep the Thursday pause, 03:00-05:00 in New York."),
    ] = False,
    pause: Annotated[
        list[str] | None,
        typer.Option(
            help="AFTER=SECONDS: trade nothing for a while; with ! at the end, sockets are closed. May be repeated.",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="A recorded file or folder (.ndjson, .jsonl, plain, .gz, .zst), or a lake."),
    ] = None,
    speed: Annotated[str, typer.Option(help="1, N times as fast, or max: as fast as the clients read.")] = "1",
    replay_wait_seconds: Annotated[
        float,
        typer.Option(min=0, help="It begins when nobody has subscribed for so long, after somebody has."),
    ] = 1,
    connection_cap: Annotated[int, typer.Option(min=1, help="Connections per key; the next gets HTTP 429.")] = 200,
    compression: Annotated[bool, typer.Option("--compression", help="Compress for clients that offer it.")] = False,
    subscription_markets: Annotated[
        int,
        typer.Option(min=1, help="Markets that a connection may subscribe; more is error 26."),
    ] = 500_000,
    commands_per_second: Annotated[
        int, typer.Option(min=1, help="Commands of a connection; more is error 27.")
    ] = 10_000,
    send_buffer_bytes: Annotated[
        int, typer.Option(min=1, help="What a client may leave unread; beyond is error 25.")
    ] = 16 * 1024 * 1024,
    rest_tier: Annotated[str, typer.Option(help="Usage tier of every key: basic, advanced, … prestige.")] = "basic",
    rest_cost: Annotated[int, typer.Option(min=0, help="Tokens that a signed request takes; 0 is no limit.")] = 10,
    rest_cache_seconds: Annotated[float, typer.Option(min=0, help="How old an answer to anybody may be.")] = 15,
    rest_failure: Annotated[
        list[str] | None,
        typer.Option(help="N=STATUS: the N-th request is answered so, e.g. 5=503. May be repeated."),
    ] = None,
    rest_cutoff: Annotated[
        str | None,
        typer.Option(help="Time before which markets and trades are /historical only."),
    ] = None,
    rest_omit_last_cursor: Annotated[
        bool, typer.Option("--rest-omit-last-cursor", help="A last page has no cursor key.")
    ] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="KIND@MESSAGE[=SECONDS][#CONNECTION], e.g. drop@100. May be repeated."),
    ] = None,
    faults: Annotated[Path | None, typer.Option(help="JSON file with an array of faults.")] = None,
    fault_rate: Annotated[float, typer.Option(min=0, max=1, help="Faults per message by lot.")] = 0,
    fault_seed: Annotated[int, typer.Option(help="Fixes the lots.")] = 1,
) -> None:
    """Run an exchange of your own: Kalshi's REST and WebSocket protocol, with a ledger of everything sent.

    Its traffic is invented from a seed, or a recorded tape played back. SIGUSR1 ends the traffic and completes the
    ledger, SIGTERM ends the exchange. Clients sign with the key whose public half --key names.

    Exit codes: 0 ended in order; 2 an option or a file is wrong, or the port is taken.
    """
    from kalshi_platform.simulator import SimulatorOptions, parse_pause

    _run(
        lambda: SimulatorOptions(
            port=port,
            host=host,
            markets=markets,
            combos=combos,
            busy_markets=busy_markets,
            rate=rate,
            swing=swing,
            trading=trading,
            seed=seed,
            seconds=seconds,
            ledger=ledger,
            keys=_keys(key) if key else _new_key(),
            ready_file=ready_file,
            new_market_seconds=new_market_seconds,
            close_market_seconds=close_market_seconds,
            new_combo_seconds=new_combo_seconds,
            change_market_seconds=change_market_seconds,
            silent_share=silent_share,
            rest_delay_seconds=rest_delay_seconds,
            market_life_hours=market_life_hours,
            time_scale=time_scale,
            start_ms=_moment_ms("--start", start) if start else None,
            maintenance=maintenance,
            pauses=tuple(map(parse_pause, pause or ())),
            replay=replay,
            replay_speed=_speed(speed),
            replay_wait_seconds=replay_wait_seconds,
            connection_cap=connection_cap,
            compression=compression,
            subscription_markets=subscription_markets,
            commands_per_second=commands_per_second,
            send_buffer_bytes=send_buffer_bytes,
            rest=_rest(
                rest_tier, rest_cost, rest_cache_seconds, rest_failure or (), rest_cutoff, omits=rest_omit_last_cursor
            ),
            faults=_faults(fault or (), faults, fault_rate, fault_seed),
        )
    )


def _run(choose: "Callable[[], SimulatorOptions]") -> None:
    """Run a simulator with what was chosen; what cannot be is said in one line."""
    from kalshi_platform.service.logs import configure_logs
    from kalshi_platform.simulator import run

    configure_logs("auto")
    try:
        run(choose())
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(f"cannot run the simulator: {error}") from error


def _speed(text: str) -> float:
    if text == "max":
        return inf
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < inf:
        raise ConfigurationError(f"--speed takes a number above 0, or max; not {text!r}")
    return speed


def _moment_ms(flag: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(f"{flag} takes a time with its zone, like 2026-11-18T17:00:00Z; not {text!r}")
    return round(moment.timestamp() * 1000)


def _rest(
    tier: str, cost: int, cache_seconds: float, failures: Sequence[str], cutoff: str | None, *, omits: bool
) -> "RestOptions":
    """How REST behaves."""
    from kalshi_platform.simulator.rest.options import RestOptions

    return RestOptions(
        tier=tier,
        default_cost=cost,
        cache_seconds=cache_seconds,
        failures=dict(map(_failure, failures)),
        historical_cutoff_ms=_moment_ms("--rest-cutoff", cutoff) if cutoff else 0,
        omit_last_cursor=omits,
    )


def _failure(text: str) -> tuple[int, int]:
    number, _, status = text.partition("=")
    if not (number.isdecimal() and status.isdecimal() and 400 <= int(status) <= 599):
        raise ConfigurationError(f"--rest-failure takes N=STATUS, like 5=503; not {text!r}")
    return int(number), int(status)


def _faults(given: Sequence[str], script: Path | None, rate: float, seed: int) -> "FaultOptions":
    """What goes wrong on purpose, from the options and a file."""
    from kalshi_platform.simulator import FaultOptions, parse_fault, read_script

    planned = tuple(map(parse_fault, given)) + (read_script(script) if script else ())
    return FaultOptions(script=planned, rate=rate, seed=seed)


def _keys(given: Sequence[str]) -> dict[str, Path]:
    """`KEY_ID=public.pem` of each key."""
    keys: dict[str, Path] = {}
    for one in given:
        name, separator, path = one.partition("=")
        if not separator or not name or not Path(path).is_file():
            raise ConfigurationError(f"--key takes KEY_ID=public.pem, with a file that exists; not {one!r}")
        keys[name] = Path(path)
    return keys


def _new_key() -> dict[str, Path]:
    """A key pair beside the caller, with the settings that use it."""
    from kalshi_platform.simulator import write_key_pair

    private, public = Path("simulator-private.pem"), Path("simulator-public.pem")
    if not private.exists():
        write_key_pair(private, public)
    typer.echo(f"KALSHI_API_KEY_ID=simulator\nKALSHI_PRIVATE_KEY_PATH={private.absolute()}")
    return {"simulator": public}
