"""What is kept outside of PostgreSQL: the lake's root, and QuestDB where it is set. Kept out: the lake's contents."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

from kalshi_platform.core.errors import ConfigurationError, PlatformError
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.questdb.client import QuestClient
from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.doctor.findings import Finding, problem, setting, well


async def check_stores(settings: Settings) -> list[Finding]:
    """Both, as far as the settings name them."""
    found = list(await asyncio.to_thread(lambda: list(_lake(settings))))
    if settings.questdb is not None:
        found += await asyncio.to_thread(lambda: list(_questdb(settings)))
    return found


def _lake(settings: Settings) -> Iterator[Finding]:
    """A folder is judged with the disks; a bucket must answer."""
    try:
        lake = Lake(settings.lake_url)
        if lake.bucket is not None:
            lake.starts(RAW["trades"])
            yield well("lake", f"{lake.root} answers")
    except ConfigurationError as error:
        yield setting("lake", str(error), "KALSHI_LAKE_URL is a folder, or s3://bucket/prefix")
    except (PlatformError, OSError) as error:
        remedy = "check the bucket's name, its region, and that this machine's AWS credentials may list and read it"
        yield problem("lake", f"{settings.lake_url} cannot be read: {error}", remedy)


def _questdb(settings: Settings) -> Iterator[Finding]:
    try:
        with closing(QuestClient(settings.required("questdb"))) as client:
            client.execute("SELECT 1")
            yield well("questdb", f"{client.place} answers")
    except ConfigurationError as error:
        yield setting("questdb", str(error), "correct KALSHI_QUESTDB, or take it away: it is optional")
    except PlatformError as error:
        remedy = "start it, or take KALSHI_QUESTDB away; until then its rows are given up, PostgreSQL has them all"
        yield problem("questdb", str(error), remedy)
