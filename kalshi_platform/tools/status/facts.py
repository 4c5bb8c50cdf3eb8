"""How the platform stands, as far as this machine's settings reach: one look, no judgement.

Daemons elsewhere are seen through the databases: a gatherer writes a heartbeat every second, the deduplicator moves its
cursors. Kept out: how it is shown.
"""

import asyncio
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.schema import STREAM_TABLES, Home
from kalshi_platform.database.migrations import newest_revision
from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.database.progress import merged_until
from kalshi_platform.database.survey import Survey, survey
from kalshi_platform.database.urls import checked
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.service.settings import Settings

PRODUCTION = "production"
_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon that answers on this machine's metrics port.

    Attributes:
        name: A gatherer's id, or deduplicator.
        report: Its `/health`, whole.
    """

    name: str
    is_healthy: bool
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Database:
    """One database of the settings; `newest` is the revision that this version works with."""

    name: str
    survey: Survey
    newest: str


@dataclass(frozen=True, slots=True)
class LakeDataset:
    """How much of one dataset is in the lake, and its latest hour or day."""

    name: str
    partitions: int
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class Disk:
    """Where something is kept; `used` is what it takes there, None where nobody counts."""

    purpose: str
    path: Path
    free: int
    total: int
    used: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole platform at one moment; `problems` are what could not be looked at."""

    versions: Mapping[str, str]
    metrics_address: str
    daemon: Daemon | None
    databases: Sequence[Database]
    watermarks: Mapping[str, datetime | None]
    lake_root: str
    lake: Sequence[LakeDataset]
    disks: Sequence[Disk]
    problems: Sequence[str]


async def look(settings: Settings) -> Status:
    """Look at everything that the settings name.

    Raises:
        ConfigurationError: KALSHI_GATHERERS cannot be read.
    """
    named = database_urls(settings)
    daemon, databases = await asyncio.gather(find_daemon(settings), survey_all(named))
    problems = [f"{one.name}: {one.survey.error}" for one in databases if one.survey.error]
    marks: Mapping[str, datetime | None] = {}
    if any(one.name == PRODUCTION and one.survey.cursors for one in databases):
        try:
            marks = await _watermarks(named[PRODUCTION], settings.silence_seconds)
        except DATABASE_FAILURES as error:
            problems.append(f"{PRODUCTION}: {error}")
    lake: Sequence[LakeDataset] = ()
    try:
        lake = await asyncio.to_thread(_lake, settings.lake_url)
    except (PlatformError, OSError) as error:
        problems.append(f"lake: {error}")
    return Status(
        versions={"kalshi-platform": version("kalshi-platform"), "Python": platform.python_version()},
        metrics_address=_metrics_address(settings),
        daemon=daemon,
        databases=databases,
        watermarks=marks,
        lake_root=settings.lake_url,
        lake=lake,
        disks=disks(settings),
        problems=problems,
    )


async def _watermarks(url: str, silence: float) -> Mapping[str, datetime | None]:
    connection = await asyncpg.connect(checked(url), timeout=_TIMEOUT_SECONDS)
    try:
        marks = await merged_until(connection, silence)
    finally:
        connection.terminate()
    return {table.name: marks.get(table.name) for table in STREAM_TABLES}


async def survey_all(named: Mapping[str, str]) -> list[Database]:
    """Ask every database about itself, all at once."""
    found = await asyncio.gather(*(survey(url, _home(name)) for name, url in named.items()))
    return [Database(name, one, newest_revision(one.home)) for name, one in zip(named, found, strict=True)]


def database_urls(settings: Settings) -> dict[str, str]:
    """Every database that the settings name, by gatherer id or `production`; each once.

    Raises:
        ConfigurationError: KALSHI_GATHERERS cannot be read.
    """
    urls = settings.gatherer_urls() if settings.gatherers is not None else {}
    if settings.gatherer_database_url is not None:
        urls.setdefault(settings.gatherer_id, settings.required("gatherer_database_url"))
    if settings.production_database_url is not None:
        urls[PRODUCTION] = settings.required("production_database_url")
    return urls


async def find_daemon(settings: Settings) -> Daemon | None:
    """Who answers on the metrics port; None where nobody does, or somebody else."""
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as client:
            report = (await client.get(f"{_metrics_address(settings)}/health")).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    if not isinstance(report, dict) or "healthy" not in report:
        return None
    name = report.get("gatherer", "deduplicator" if "role" in report else "unknown")
    return Daemon(name, bool(report["healthy"]), report)


def disks(settings: Settings) -> list[Disk]:
    """The disks under what this machine keeps in files."""
    spool = settings.spool_directory
    places = [_disk("spool", spool, sum(file.stat().st_size for file in spool.rglob("*") if file.is_file()))]
    if "://" not in settings.lake_url:
        places.insert(0, _disk("lake", Path(settings.lake_url), None))
    return places


def _disk(purpose: str, path: Path, used: int | None) -> Disk:
    place = path.expanduser().absolute()
    there = next(one for one in (place, *place.parents) if one.exists())
    usage = shutil.disk_usage(there)
    return Disk(purpose, place, usage.free, usage.total, used)


def _lake(root: str) -> list[LakeDataset]:
    lake = Lake(root)
    found = {name: lake.starts(dataset) for name, dataset in RAW.items()}
    return [LakeDataset(name, len(starts), starts[-1] if starts else None) for name, starts in found.items()]


def _home(name: str) -> Home:
    return Home.PRODUCTION if name == PRODUCTION else Home.GATHERER


def _metrics_address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.metrics_host == "0.0.0.0" else settings.metrics_host  # noqa: S104 - compared
    return f"http://{host}:{settings.metrics_port}"
