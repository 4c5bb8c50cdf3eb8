"""`kalshi-platform record`: a recorder with its progress on standard error. Kept out: the recording itself (record)."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.session import Channel
from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.credentials import required_signer
from kalshi_platform.tools.record import Recorder, RecordReport, Spread, open_markets
from kalshi_platform.tools.tape_files import TapeOptions

_COLUMNS = (
    SpinnerColumn(),
    TextColumn(
        "recording {task.completed:,} frames over {task.fields[open]} connections, {task.fields[mib]:,.1f} MiB, "
        "{task.fields[gaps]:,} gaps"
    ),
    TimeElapsedColumn(),
)
_SHOW_SECONDS = 0.5
_MIB = 2**20


def channels_of(names: Sequence[str]) -> list[Channel]:
    """Channels by their names; all of them unless any is given.

    Raises:
        ConfigurationError: There is no such channel.
    """
    known = {one.value: one for one in Channel}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f"there is no channel {unknown[0]!r}: --channel takes {', '.join(known)}")
    return [known[name] for name in names] or list(Channel)


async def record_until_stopped(
    settings: Settings,
    stop: asyncio.Event,
    folder: Path,
    channels: Sequence[Channel],
    tickers: Sequence[str],
    series: Sequence[str],
    options: TapeOptions,
    connections: int | None,
) -> RecordReport:
    """Record; markets and series that are named are recorded alone, else all that are open and those that open.

    Raises:
        ConfigurationError: A setting is wrong, or no such market is open.
        ExchangeRefused: The exchange will not have this key.
        TapeError: The disk refuses.
    """
    _check(folder)
    signer = required_signer(settings)
    if not tickers and Channel.ORDERBOOK in channels:
        async with RestClient(settings.rest_url, signer) as rest:
            followed = await open_markets(rest, series)
    else:
        followed = list(tickers)
    spread = Spread(
        most_markets=settings.markets_per_connection,
        connections=connections,
        handshakes_per_second=settings.handshakes_per_second,
    )
    recorder = Recorder(
        settings.ws_url, signer, folder, channels, followed,
        only=bool(tickers or series), follows_new=not (tickers or series), options=options, spread=spread,
    )  # fmt: skip
    with Progress(*_COLUMNS, console=Console(stderr=True)) as bar:
        showing = asyncio.create_task(_show(bar, recorder))
        try:
            return await recorder.run(stop)
        finally:
            showing.cancel()
            with suppress(asyncio.CancelledError):
                await showing


def _check(folder: Path) -> None:
    """Refuse a folder that cannot be one before anything is asked of the exchange."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot record into {folder}: {error.strerror}; name another folder") from None
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(f"cannot record into {folder}: no permission to write; name another folder")


async def _show(bar: Progress, recorder: Recorder) -> None:
    task = bar.add_task("", total=None, mib=0.0, gaps=0, open=0)
    while True:
        report = recorder.report
        bar.update(task, completed=report.frames, mib=report.bytes / _MIB, gaps=report.gaps, open=report.open)
        await asyncio.sleep(_SHOW_SECONDS)


def show_report(report: RecordReport, *, as_json: bool) -> None:
    """What was recorded, on standard output."""
    if as_json:
        raw = {
            **{name: getattr(report, name) for name in report.__slots__ if name != "open"},
            "files": [str(one) for one in report.files],
        }
        sys.stdout.write(msgspec.json.encode(raw).decode() + "\n")
        return
    sys.stdout.write(
        f"{report.frames:,} frames in {len(report.files)} files, {report.bytes / _MIB:,.1f} MiB; "
        f"{report.connections} connections, {report.gaps} gaps\n"
    )
