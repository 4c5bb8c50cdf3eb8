"""`replay`: recorded tapes."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def replay(
    paths: Annotated[list[Path], typer.Argument(help="Recorded files, or folders of them.")],
    checkpoint_seconds: Annotated[int, typer.Option(min=1, help="Interval of book checkpoints.")] = 3600,
) -> None:
    """Replay recorded frames into the gatherer's database, through the same path as live ones.

    Replaying the same files again adds nothing. Reads `.ndjson` and `.jsonl`, plain or `.gz`.
    """
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.replay import replay_with_progress

    settings = load_settings()
    url = settings.required("gatherer_database_url")
    report = asyncio.run(replay_with_progress(paths, url, settings.gatherer_id, checkpoint_seconds * 1000))
    typer.echo(f"{report.frames:,} frames in {report.files} files")
    for table in sorted(report.rows):
        typer.echo(f"  {table}: {report.rows[table]:,} rows, {report.new_rows[table]:,} new")
    for reason in sorted(report.rejected):
        typer.echo(f"  rejected, {reason}: {report.rejected[reason]:,}")
    typer.echo(f"  negative levels: {report.negative_levels}, crossed books: {report.crossed_books}")
