"""`questdb`: what is asked of an optional second home of the streams."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer

from kalshi_platform.core.errors import ConfigurationError


def questdb(
    day: Annotated[str | None, typer.Option(help="A UTC day, like 2026-11-20; yesterday unless given.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Drop the day in QuestDB once its files are counted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The files and their rows as one JSON object.")] = False,
) -> None:
    """Hand a day of QuestDB over to Parquet, below questdb/ in the lake: the same columns and files as the lake's own.

    Needs KALSHI_QUESTDB, which also makes a gatherer fill it, and the extra `questdb`. Run it once a day. Handed over
    again, a day becomes the same files; they are counted against QuestDB before anything is dropped.

    Exit codes: 0 handed over; 1 QuestDB does not answer, or a file lacks rows; 2 the day or a setting is wrong.
    """
    import sys

    import msgspec

    from kalshi_platform.questdb.client import QuestClient
    from kalshi_platform.service.settings import load_settings
    from kalshi_platform.tools.questdb_handover import hand_over

    settings = load_settings()
    client = QuestClient(settings.required("questdb"))
    today = datetime.now(UTC).date()
    files: dict[str, int] = {}

    def say(path: str, rows: int) -> None:
        files[path] = rows
        typer.echo(f"{rows:>12,} rows  {path}", err=as_json)

    try:
        hand_over(client, settings.lake_url, _day(day, today), say, drop=drop, today=today)
    finally:
        client.close()
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(files) + b"\n")
        sys.stdout.flush()


def _day(text: str | None, today: date) -> date:
    if text is None:
        return today - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"--day takes a date like 2026-11-20, not {text!r}") from None
