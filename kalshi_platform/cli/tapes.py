"""`backfill`, `record`, `replay`: trades of the past, and tapes of the present."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ReplayTarget(StrEnum):
    """Where a replay goes."""

    DATABASE = "database"
    LAKE = "lake"
    FEED = "feed"
    SOCKET = "socket"


def replay(
    paths: Annotated[list[Path], typer.Argument(help="Recorded files, or folders of them.")],
    to: Annotated[ReplayTarget, typer.Option(help="Where it goes.")] = ReplayTarget.DATABASE,
    checkpoint_seconds: Annotated[int, typer.Option(min=1, help="Interval of book checkpoints.")] = 3600,
    lake: Annotated[str | None, typer.Option(help="Root of the lake; KALSHI_LAKE_URL unless given.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace partitions that the lake has already.")] = False,
    speed: Annotated[str, typer.Option(help="As a socket: times the recorded pace, or max.")] = "1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="As a socket: its port.")] = 8080,
) -> None:
    """Replay recorded frames through the same decode and capture as live ones.

    Into a gatherer's database (again adds nothing), as raw Parquet into a lake, as JSON lines in dollars and contracts
    to standard output (feed), or as a local exchange whose socket and REST play them (socket). Reads `.ndjson` and
    `.jsonl`, plain, `.gz` or `.zst`, also cut off: frames of today, of whole cents, or as `{"channel", "message"}`.

    Exit codes: 0 replayed; 1 the database or the lake cannot be used; 2 a file or a setting is wrong.
    """
    from kalshi_platform.lake.layout import Lake
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.replay import replay_with_progress
    from kalshi_platform.tools.replay_lake import LakeTarget
    from kalshi_platform.tools.replay_socket import serve_recordings
    from kalshi_platform.tools.replay_targets import FeedTarget, Target

    settings = load_settings()
    if to is ReplayTarget.SOCKET:
        raise typer.Exit(serve_recordings(paths, ["--speed", speed, "--port", str(port)]))
    target: str | Target = FeedTarget()
    if to is ReplayTarget.DATABASE:
        target = settings.required("gatherer_database_url")
    if to is ReplayTarget.LAKE:
        target = LakeTarget(Lake(lake or settings.lake_url), overwrite=overwrite)
    report = asyncio.run(replay_with_progress(paths, target, settings.gatherer_id, checkpoint_seconds * 1000))
    is_feed = to is ReplayTarget.FEED
    typer.echo(f"{report.frames:,} frames in {report.files} files", err=is_feed)
    for table in sorted(report.rows):
        new = "" if is_feed else f", {report.new_rows[table]:,} {'kept' if to is ReplayTarget.LAKE else 'new'}"
        typer.echo(f"  {table}: {report.rows[table]:,} rows{new}", err=is_feed)
    for reason in sorted(report.rejected):
        typer.echo(f"  rejected, {reason}: {report.rejected[reason]:,}", err=is_feed)
    typer.echo(f"  negative levels: {report.negative_levels}, crossed books: {report.crossed_books}", err=is_feed)


def backfill(
    start: Annotated[str, typer.Option(help="First day (UTC), or a time with its zone.")],
    end: Annotated[
        str | None,
        typer.Option(help="Day behind the last (UTC), or a time with its zone; the end of today unless given."),
    ] = None,
    ticker: Annotated[list[str] | None, typer.Option(help="A market; more than once for more.")] = None,
    series: Annotated[list[str] | None, typer.Option(help="Every market of a series; more than once for more.")] = None,
    all_markets: Annotated[bool, typer.Option("--all", help="Every market of the exchange.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Fetch trades of the past over REST into production, from both sides of the exchange's historical cutoff.

    Killed or stopped at any moment, the same command goes on where it was. Each market's days are then compared with
    the volumes of the exchange's own candles; incomplete ones are fetched again. Asks no faster than the key may;
    without KALSHI_API_KEY_ID as anybody may. Exit codes: 0 all is there; 1 something is missing or broke; 2 a mistake.
    """
    from kalshi_platform.backfill import BackfillRequest
    from kalshi_platform.service.lifecycle import collect_rarely
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.backfill_command import backfill_with_progress, moment_of, next_midnight, show_report

    request = BackfillRequest(
        start=moment_of(start, "--start"),
        end=next_midnight() if end is None else moment_of(end, "--end"),
        tickers=tuple(ticker or ()),
        series=tuple(series or ()),
        all_markets=all_markets,
    )
    collect_rarely()
    try:
        report = asyncio.run(backfill_with_progress(load_settings(), request))
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(1) from None
    show_report(report, as_json=as_json)
    raise typer.Exit(0 if report.is_complete else 1)


def record(
    folder: Annotated[Path, typer.Argument(help="Where recordings go; files that are there are never touched.")],
    ticker: Annotated[list[str] | None, typer.Option(help="Only this market; more than once for more.")] = None,
    series: Annotated[list[str] | None, typer.Option(help="Only open markets of this series.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="Only this channel, as the exchange names it.")] = None,
    rotate_minutes: Annotated[float, typer.Option(min=0.01, help="A file holds so much time at the most.")] = 60,
    rotate_mib: Annotated[float, typer.Option(min=0.01, help="A file holds so much, packed, at the most.")] = 512,
    flush_seconds: Annotated[float, typer.Option(min=0.01, help="A kill loses so much time at the most.")] = 1,
    connections: Annotated[
        int | None, typer.Option(min=1, help="Connections for order books; as many as they need unless given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Record the live socket: each frame as it came, with the time of its receipt, as NDJSON packed with zstd.

    Every market that is open or opens meanwhile, unless some are named; all connections go into one tape, in order.
    Ctrl-C ends it in order. After a kill at any moment, what was flushed is readable; the next run begins new files.
    `kalshi-platform replay` plays them.

    Exit codes: 0 stopped in order; 1 something broke; 2 a mistake, or the exchange refuses the key.
    """
    from kalshi_platform.service.lifecycle import run_daemon
    from kalshi_platform.service.logs import configure_logs
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.record_command import channels_of, record_until_stopped, show_report
    from kalshi_platform.tools.tape_files import TapeOptions

    settings = load_settings()
    configure_logs(settings.log_format)
    channels = channels_of(channel or ())
    options = TapeOptions(
        flush_seconds=flush_seconds, rotate_seconds=rotate_minutes * 60, rotate_bytes=round(rotate_mib * 2**20)
    )

    async def run(stop: asyncio.Event) -> None:
        report = await record_until_stopped(
            settings, stop, folder, channels, ticker or (), series or (), options, connections
        )
        show_report(report, as_json=as_json)

    raise typer.Exit(run_daemon(run))
