"""`kalshi-platform doctor`: every check, drawn or as JSON. Kept out: the checks."""

import sys

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.service.settings import Settings, load_settings, unknown_names
from kalshi_platform.tools.doctor.database_checks import check_databases
from kalshi_platform.tools.doctor.exchange_checks import check_exchange, check_key
from kalshi_platform.tools.doctor.findings import Finding, Level, exit_code, setting
from kalshi_platform.tools.doctor.machine_checks import check_machine
from kalshi_platform.tools.doctor.settings_checks import check_settings
from kalshi_platform.tools.doctor.store_checks import check_stores
from kalshi_platform.tools.status.facts import find_daemon

_SIGNS = {Level.WELL: "ok", Level.NOTE: "note", Level.PROBLEM: "PROBLEM", Level.SETTING: "SETTING"}
_STYLES = {Level.WELL: "green", Level.NOTE: "yellow", Level.PROBLEM: "bold red", Level.SETTING: "bold red"}


async def examine() -> list[Finding]:
    """Look at everything; what cannot be looked at is a finding too."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        return [
            setting("settings", str(error), "`kalshi-platform settings --example` shows every setting and its form")
        ]
    return [
        *check_settings(settings, unknown_names()),
        *await _exchange(settings),
        *await _databases(settings),
        *await check_stores(settings),
        *check_machine(settings, await find_daemon(settings)),
    ]


async def _exchange(settings: Settings) -> list[Finding]:
    findings, signer = check_key(settings)
    return [*findings, *await check_exchange(settings, signer)]


async def _databases(settings: Settings) -> list[Finding]:
    try:
        return await check_databases(settings)
    except ConfigurationError:
        return []  # the settings' own check has said it


async def show(*, as_json: bool) -> int:
    """Examine and tell; returns the exit code."""
    console = Console(stderr=True)
    with console.status("examining"):
        findings = await examine()
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(findings), indent=2) + b"\n")
        sys.stdout.flush()
    else:
        _draw(findings, Console())
    return exit_code(findings)


def _draw(findings: list[Finding], console: Console) -> None:
    lines = Table.grid(padding=(0, 1, 0, 0))
    for one in findings:
        lines.add_row(Text(_SIGNS[one.level], style=_STYLES[one.level]), Text(f"{one.subject}: {one.says}"))
        if one.remedy:
            lines.add_row("", Text(f"-> {one.remedy}"))
    console.print(lines)
    count = sum(one.level in (Level.PROBLEM, Level.SETTING) for one in findings)
    console.print("all is well" if not count else f"{count} to mend", style="bold")
