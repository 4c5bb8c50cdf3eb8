"""`kalshi-platform doctor`: silent where all is well; each planted problem is named, with its remedy and exit code."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from kalshi_platform.core.schema import Home
from kalshi_platform.database.roles import Role
from kalshi_platform.database.survey import Survey, survey
from kalshi_platform.tools.doctor.command import examine
from kalshi_platform.tools.doctor.database_checks import check_database
from kalshi_platform.tools.doctor.findings import Finding, Level, exit_code
from kalshi_platform.tools.doctor.machine_checks import check_disk, check_versions
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform.tools.status.facts import Database, Disk
from kalshi_platform_tests.tools.doctor.conftest import login

GB = 10**9
_NOBODY = "postgresql://u:s3cret@127.0.0.1:1/k"
UP = '{"exchange_active": true, "trading_active": true}'


async def test_nothing_to_say_where_all_is_well(installation: Any) -> None:
    """Every subject is looked at; nothing to mend."""
    findings = await examine()
    assert [one for one in findings if one.level is not Level.WELL] == []
    assert {one.subject for one in findings} == {
        "settings", "key", "exchange", "clock", "gatherer-1", "production", "disk", "port", "versions",
    }  # fmt: skip
    assert exit_code(findings) == 0


async def test_production_named_again_for_another_login(installation: Any) -> None:
    """What is fetched over REST has two roles, retention the tables' owner."""
    catalogue = await login(installation.production_owner, Role.CATALOGUE)
    await _sql(installation.production_owner, f"GRANT kalshi_dedup TO {_user(catalogue)}")
    installation.set(CATALOGUE_DATABASE_URL=catalogue, OWNERS_DATABASE_URL=installation.production_owner)
    findings = await examine()
    assert {one.subject for one in findings} > {"catalogue", "owner"}
    assert [one for one in findings if one.level is not Level.WELL] == []


async def test_the_command_itself(installation: Any) -> None:
    """80 columns without colour, JSON, its exit codes; nothing secret anywhere."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}

    async def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "kalshi_platform.cli", "doctor", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=environment | settings, capture_output=True, text=True, check=False
        )

    done = await run(KALSHI_PRODUCTION_DATABASE_URL="postgresql://u:s3cret@127.0.0.1:1/k")
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert "s3cret" not in done.stdout + done.stderr
    assert "1 to mend" in done.stdout
    done = await run("--json", KALSHI_METRICS_PORT="many")
    assert done.returncode == 2
    (finding,) = json.loads(done.stdout)
    assert finding["level"] == "setting"
    assert "KALSHI_METRICS_PORT" in finding["says"]


@pytest.mark.parametrize(
    ("settings", "level", "says", "remedy"),
    [
        ({"WS_URI": "x"}, Level.SETTING, "KALSHI_WS_URI is no setting", "did you mean KALSHI_WS_URL?"),
        ({"API_KEY_ID": None}, Level.SETTING, "KALSHI_API_KEY_ID is not", "a key is both"),
        ({"PRIVATE_KEY_PATH": "absent.pem"}, Level.SETTING, "cannot read the private key", "KALSHI_PRIVATE_KEY_PATH"),
        ({"PRIVATE_KEY_PATH": "public.pem"}, Level.SETTING, "holds no unencrypted PEM", "KALSHI_PRIVATE_KEY_PATH"),
        ({"API_KEY_ID": "stranger"}, Level.PROBLEM, "the exchange refuses the key", "belongs to this file"),
        ({"REST_URL": "http://127.0.0.1:1/x"}, Level.PROBLEM, "GET /exchange/status", "check the network"),
        ({"REST_URL": "nonsense"}, Level.SETTING, "KALSHI_REST_URL is no https:// address", "leave it out"),
        ({"WS_URL": "ws://example.com/x"}, Level.SETTING, "KALSHI_WS_URL is not encrypted", "write wss://example.com/x"),
        ({"WS_URL": "wss://ws.demo.kalshi.co/x"}, Level.SETTING, "are two exchanges", "take both from one row"),
        ({"GATHERERS": "gatherer-1"}, Level.SETTING, "KALSHI_GATHERERS must read", "separated by commas"),
        ({"GATHERER_ID": "gatherer-9"}, Level.SETTING, "gatherer-9, which KALSHI_GATHERERS", "add it there"),
        ({"SETTLE_SECONDS": "90", "CHECKPOINT_SECONDS": "60"}, Level.SETTING, "is not below", "smaller"),
        ({"SILENCE_SECONDS": "1"}, Level.SETTING, "is not above", "make the first one larger"),
        ({"ORDERBOOK_CONNECTIONS": "300"}, Level.NOTE, "opens 306 connections", "KALSHI_ORDERBOOK_CONNECTIONS"),
        ({"PRODUCTION_DATABASE_URL": _NOBODY}, Level.PROBLEM, "cannot be used", "login"),
        ({"SPOOL_BYTES": str(10**18)}, Level.PROBLEM, "the spool may take", "lower KALSHI_SPOOL_BYTES"),
        ({"OWNERS_DATABASE_URL": _NOBODY}, Level.SETTING, "OWNERS_DATABASE_URL is 127.0.0.1:1/k", "only the login"),
        ({"CATALOGUE_DATABASE_URL": _NOBODY, "PRODUCTION_DATABASE_URL": _NOBODY}, Level.PROBLEM, "cannot be used",
         "login"),
        ({"CATALOGUE_DATABASE_URL": _NOBODY, "PRODUCTION_DATABASE_URL": None}, Level.SETTING,
         "KALSHI_PRODUCTION_DATABASE_URL is not", "for another login"),
        ({"GATHERER_ID": "a/b", "GATHERERS": None}, Level.SETTING, "KALSHI_GATHERER_ID is 'a/b'", "dashes only"),
        ({"LAG_WARN_SECONDS": "1000"}, Level.SETTING, "KALSHI_LAG_WARN_SECONDS (1000) is above", "smaller"),
        ({"MARKETS_PER_CONNECTION": "100"}, Level.NOTE, "room for 14,400 order books", "raise KALSHI_ORDERBOOK"),
        ({"ALERT_SLACK_URL": "s3cret"}, Level.SETTING, "KALSHI_ALERT_SLACK_URL is no https", "the whole address"),
        ({"ALERT_SMTP_URL": "mail.s3cret", "ALERT_EMAIL_TO": "a@b"}, Level.SETTING, "is no mail server", "smtp://user"),
        ({"ALERT_EMAIL_TO": "a@b"}, Level.SETTING, "KALSHI_ALERT_SMTP_URL is not", "mail needs both"),
        ({"LAKE_URL": "gs://bucket/x"}, Level.SETTING, "gs://bucket/x", "KALSHI_LAKE_URL is a folder"),
        ({"QUESTDB": "http::addr=127.0.0.1:1;"}, Level.PROBLEM, "QuestDB at http://127.0.0.1:1", "start it"),
        ({"QUESTDB": "nonsense"}, Level.SETTING, "KALSHI_QUESTDB must read", "it is optional"),
        ({"METRICS_HOST": "203.0.113.7"}, Level.PROBLEM, "203.0.113.7:0 cannot be had", "KALSHI_METRICS_PORT"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)  # fmt: skip
async def test_a_setting_that_is_wrong(
    installation: Any, settings: dict[str, str | None], level: Level, says: str, remedy: str
) -> None:
    """Named, and what to write instead."""
    installation.set(**settings)
    await _finds(level, says, remedy)


async def _no_schema(here: Any) -> None:
    empty = here.gatherer_owner.rpartition("/")[0] + "/postgres"
    here.set(GATHERERS=f"gatherer-1={empty}")


async def _other_kind(here: Any) -> None:
    here.set(GATHERERS=f"gatherer-1={here.production_owner}", PRODUCTION_DATABASE_URL=None)


async def _same_twice(here: Any) -> None:
    here.set(PRODUCTION_DATABASE_URL=here.gatherer_owner.replace("postgresql://", "postgresql://u@").replace("@@", "@"))


async def _later_schema(here: Any) -> None:
    await _sql(here.production_owner, "UPDATE alembic_version SET version_num = 'production_9999'")


async def _earlier_schema(here: Any) -> None:
    await _sql(here.production_owner, "UPDATE alembic_version SET version_num = 'production_0000'")


async def _no_rights(here: Any) -> None:
    user = _user(os.environ["KALSHI_PRODUCTION_DATABASE_URL"])
    await _sql(here.production_owner, f"REVOKE kalshi_export FROM {user}")


async def _superuser(here: Any) -> None:
    here.set(PRODUCTION_DATABASE_URL=here.production_owner)


async def _catalogue_without_rights(here: Any) -> None:
    here.set(CATALOGUE_DATABASE_URL=os.environ["KALSHI_PRODUCTION_DATABASE_URL"])


async def _owner_who_owns_nothing(here: Any) -> None:
    here.set(OWNERS_DATABASE_URL=os.environ["KALSHI_PRODUCTION_DATABASE_URL"])


async def _silent_gatherer(here: Any) -> None:
    await _sql(
        here.gatherer_owner,
        "INSERT INTO ingest_batches (table_name, row_count, written_at) "
        "VALUES ('trades', 0, now() - interval '1 hour')",
    )


async def _unmerged(here: Any) -> None:
    await _sql(
        here.production_owner,
        "INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, rows_read, rows_merged, updated_at) "
        "VALUES ('gatherer-1', 'trades', 's', '1', 0, 0, now() - interval '5 minutes')",
    )


async def _loose_key(here: Any) -> None:
    (here.folder / "private.pem").chmod(0o644)


async def _loose_env(here: Any) -> None:
    (here.folder / ".env").write_text("KALSHI_LOG_FORMAT=json\n")
    (here.folder / ".env").chmod(0o640)


async def _full_spool(here: Any) -> None:
    folder = here.folder / "kalshi-data" / "spool" / "gatherer-1"
    folder.mkdir(parents=True)
    (folder / "spool.sqlite").write_bytes(bytes(3 * 2**20))
    here.set(SPOOL_BYTES=str(2**23))


async def _dump(here: Any) -> None:
    await _sql(
        here.gatherer_owner,
        "INSERT INTO ingest_batches (table_name, row_count, ingest_xid) VALUES ('trades', 0, '1000000000000')",
    )


@pytest.mark.parametrize(
    ("plant", "level", "says", "remedy"),
    [
        (_no_schema, Level.PROBLEM, "it has no schema yet", "kalshi-platform migrate gatherer"),
        (_other_kind, Level.PROBLEM, "it is no gatherer database", "check the address"),
        (_same_twice, Level.SETTING, "are one database", "a database of their own"),
        (_later_schema, Level.PROBLEM, "later than this version's", "update kalshi-platform"),
        (_earlier_schema, Level.PROBLEM, "its schema is production_0000", "kalshi-platform migrate production"),
        (_no_rights, Level.PROBLEM, "member of none of our roles", "GRANT"),
        (_catalogue_without_rights, Level.PROBLEM, "is no member of kalshi_catalogue", "GRANT kalshi_catalogue TO"),
        (_owner_who_owns_nothing, Level.PROBLEM, "does not own the tables", "migrate production"),
        (_superuser, Level.NOTE, "is a superuser", "kalshi_export"),
        (_silent_gatherer, Level.PROBLEM, "nothing was written for 60 min", "start its gatherer"),
        (_dump, Level.PROBLEM, "its rows came out of a dump, with transaction ids", "migrate gatherer`, which gives"),
        (_unmerged, Level.PROBLEM, "nothing of gatherer-1 was merged for 5 min", "the deduplicator run"),
        (_loose_key, Level.PROBLEM, "others on this machine may read", "chmod 600"),
        (_loose_env, Level.PROBLEM, ".env holds passwords", "chmod 600"),
        (_full_spool, Level.PROBLEM, "3.1 MB wait in", "start gatherer gatherer-1"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_problem_outside(
    installation: Any, plant: Callable[[Any], Awaitable[None]], level: Level, says: str, remedy: str
) -> None:
    """In a database or on the disk: named, and what to do."""
    await plant(installation)
    await _finds(level, says, remedy)


@pytest.mark.parametrize(("ahead", "says"), [(40, "s ahead of the exchange"), (-40, "s behind the exchange")])
async def test_a_clock_that_is_wrong(installation: Any, ahead: int, says: str) -> None:
    """Beyond five seconds, in either direction."""

    async def answer(_: web.Request) -> web.Response:
        date = formatdate(time.time() - ahead, usegmt=True)
        return web.Response(text=UP, headers={"Date": date}, content_type="application/json")

    app = web.Application()
    app.router.add_get("/v2/exchange/status", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        installation.set(REST_URL=f"http://127.0.0.1:{port}/v2", API_KEY_ID=None, PRIVATE_KEY_PATH=None)
        await _finds(Level.PROBLEM, says, "time synchronisation")
    finally:
        await runner.cleanup()


async def test_a_port_that_is_taken(installation: Any) -> None:
    """By somebody who is none of ours."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        installation.set(METRICS_PORT=str(taken.getsockname()[1]))
        await _finds(Level.PROBLEM, "cannot be had: Address already in use", "KALSHI_METRICS_PORT")


@pytest.mark.parametrize(
    ("survey", "url", "says"),
    [
        (Survey(Home.PRODUCTION, "", version="16.1", version_number=160_001), "postgresql://u@db.example.com/k",
         "what is said with db.example.com is not encrypted"),
        (Survey(Home.PRODUCTION, "", version="14.9", version_number=140_009), "postgresql://u@127.0.0.1/k",
         "PostgreSQL 14.9 is too old"),
        (Survey(Home.GATHERER, "", version="17.2", version_number=170_002, timescale="2.18.0"),
         "postgresql://u@127.0.0.1/k", "TimescaleDB 2.18.0 loses rows"),
    ],
)  # fmt: skip
def test_what_only_other_servers_have(survey: Survey, url: str, says: str) -> None:
    """Judged from what a server would say: this machine has none such."""
    findings = check_database(Database("production", survey, "production_0001"), url)
    assert any(says in one.says and one.remedy and one.level is Level.PROBLEM for one in findings)


async def test_a_database_whose_text_does_not_sort_by_bytes(cluster: EmbeddedPostgres) -> None:
    """As servers make them that nobody tells; asked of a real one."""
    owner = cluster.url("postgres")
    await _sql(owner, "CREATE DATABASE elsewhere TEMPLATE template0 LOCALE 'C.UTF-8'")
    try:
        found = await survey(cluster.url("elsewhere"), Home.GATHERER)
    finally:
        await _sql(owner, "DROP DATABASE elsewhere WITH (FORCE)")
    findings = check_database(Database("gatherer-1", found, "gatherer_0001"), cluster.url("elsewhere"))
    assert any("its text sorts by C.UTF-8" in one.says and "LOCALE 'C'" in one.remedy for one in findings)


def test_a_disk_that_fills() -> None:
    """Below a tenth of it."""
    (finding,) = check_disk(Disk("lake", Path("/lake"), 5 * GB, 100 * GB), GB)
    assert (finding.level, "make room" in finding.remedy) == (Level.PROBLEM, True)
    (finding,) = check_disk(Disk("lake", Path("/lake"), 50 * GB, 100 * GB), GB)
    assert finding.level is Level.WELL


def test_versions_that_do_not_go_together() -> None:
    """The half-published release of Dagster; and a machine without it."""
    (finding,) = check_versions({"dagster": "1.13.28", "dagster-webserver": "1.13.27"})
    assert (finding.level, "constraints.txt" in finding.remedy) == (Level.PROBLEM, True)
    (finding,) = check_versions({})
    assert finding.level is Level.NOTE


async def _finds(level: Level, says: str, remedy: str) -> None:
    findings = await examine()
    assert "s3cret" not in str(findings)
    assert _matching(findings, level, says, remedy), "\n".join(map(str, findings))
    if level is Level.NOTE:
        assert exit_code(findings) == 0, findings
    else:
        assert exit_code(findings) == (2 if any(one.level is Level.SETTING for one in findings) else 1)


def _matching(findings: list[Finding], level: Level, says: str, remedy: str) -> list[Finding]:
    return [one for one in findings if one.level is level and says in one.says and remedy in one.remedy]


async def _sql(url: str, query: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(query)
    await connection.close()


def _user(url: str) -> str:
    return url.partition("://")[2].partition(":")[0]
