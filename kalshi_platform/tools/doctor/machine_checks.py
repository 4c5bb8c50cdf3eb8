"""This machine: disks, the spool, the metrics port, installed versions. Kept out: anything that is asked elsewhere."""

import os
import socket
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.doctor.findings import Finding, note, problem, well
from kalshi_platform.tools.status.facts import Daemon, Disk, disks
from kalshi_platform.tools.status.view import size

LEAST_FREE_SHARE = 0.1
_EMPTY_SPOOL = 2**20  # the file that stays when all is written
_DAGSTER = ("dagster", "dagster-webserver")


def check_machine(settings: Settings, daemon: Daemon | None) -> list[Finding]:
    """All of it; `daemon` is who answers on the metrics port."""
    return [*_disks(settings), *_spool(settings), *_port(settings, daemon), *check_versions(_installed())]


def _disks(settings: Settings) -> Iterator[Finding]:
    for disk in disks(settings):
        yield from check_disk(disk, settings.spool_bytes)
        there = next(one for one in (disk.path, *disk.path.parents) if one.exists())
        if not os.access(there, os.W_OK):
            yield problem(
                "disk",
                f"{there} may not be written by this user",
                f"give it to the user that writes the {disk.purpose}",
            )


def check_disk(disk: Disk, spool_bytes: int) -> Iterator[Finding]:
    """Room under the lake, and under the spool as much as it may take."""
    free = f"{size(disk.free)} of {size(disk.total)} are free under {disk.path} ({disk.purpose})"
    if disk.free < LEAST_FREE_SHARE * disk.total:
        yield problem("disk", free, "make room or take a larger disk; docs/operations.md says what may go")
    elif disk.purpose == "spool" and disk.free + (disk.used or 0) < spool_bytes:
        remedy = "lower KALSHI_SPOOL_BYTES or take a larger disk: an outage would fill it before the spool's own bound"
        yield problem("disk", f"{free}, and the spool may take {size(spool_bytes)}", remedy)
    else:
        yield well("disk", free)


def _spool(settings: Settings) -> Iterator[Finding]:
    for file in sorted(settings.spool_directory.glob("*/*.sqlite")):
        taken = sum(part.stat().st_size for part in file.parent.iterdir() if part.is_file())
        if taken > _EMPTY_SPOOL:
            yield problem(
                "spool",
                f"{size(taken)} wait in {file.parent}: the database did not take them",
                f"start gatherer {file.parent.name} with its database: it writes them and empties the spool",
            )


def _port(settings: Settings, daemon: Daemon | None) -> Iterator[Finding]:
    host, port = settings.metrics_host, settings.metrics_port
    if daemon is not None:
        yield _daemon(daemon, f"{host}:{port}")
        return
    try:
        with socket.create_server((host, port)):
            yield well("port", f"{host}:{port} is free for /metrics")
    except OSError as error:
        remedy = "set KALSHI_METRICS_PORT to a free port, or end what listens there (ss -ltnp)"
        yield problem("port", f"{host}:{port} cannot be had: {error.strerror}", remedy)


def _daemon(daemon: Daemon, place: str) -> Finding:
    if daemon.is_healthy:
        return well("port", f"{daemon.name} answers on {place} and is healthy")
    remedy = f"curl http://{place}/health says which part; read its log"
    return problem("port", f"{daemon.name} answers on {place} and is not healthy", remedy)


def _installed() -> dict[str, str]:
    found = {}
    for name in _DAGSTER:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def check_versions(installed: dict[str, str]) -> Iterator[Finding]:
    """The Dagster family goes by one number; a machine without it runs daemons only."""
    if len(set(installed.values())) > 1:
        said = ", ".join(f"{name} {number}" for name, number in installed.items())
        yield problem(
            "versions", f"{said} do not go together", "pip install -c constraints.txt 'kalshi-platform[dagster]'"
        )
    elif not installed:
        remedy = "pip install 'kalshi-platform[dagster]' where the lake is made; daemons run without"
        yield note("versions", "Dagster is not installed", remedy)
    else:
        yield well(
            "versions", f"kalshi-platform {version('kalshi-platform')}, Dagster {next(iter(installed.values()))}"
        )
