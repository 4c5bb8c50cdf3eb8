"""The Dagster UI on what the demo captured.

Started as a process of its own: nothing here imports Dagster. Kept out: what Dagster does with the data (defs).
"""

import shutil
import sys
import time
from pathlib import Path

import httpx
from rich.console import Console

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.tools.children import Child, plain_environment
from kalshi_platform.tools.local_stack import LocalStack

_START_SECONDS = 180.0
_POLL_SECONDS = 1.0
_STOP_SECONDS = 30.0
_LOADED = "RepositoryLocation"
_QUERY = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"


def show_dagster(stack: LocalStack, console: Console) -> None:
    """Start the UI, say where it is, and keep it and the platform running until Ctrl-C.

    Raises:
        PlatformError: Where it does not come up.
    """
    port = stack.free_port()
    dagster = _dagster(stack, port)
    address = f"http://127.0.0.1:{port}"
    console.print("starting the Dagster UI …")
    dagster.start()
    try:
        _wait_loaded(dagster, address)
        console.print(f"Dagster: [link={address}]{address}[/link]   (Ctrl-C stops everything)")
        while True:
            stack.keep_running()
            dagster.keep_running()
            time.sleep(_POLL_SECONDS)
    finally:
        dagster.stop(_STOP_SECONDS)


def _dagster(stack: LocalStack, port: int) -> Child:
    home = stack.folder / "dagster"
    home.mkdir(exist_ok=True)
    instance = Path("dagster.yaml")
    if instance.exists():
        shutil.copy(instance, home)
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-h", "127.0.0.1", "-p", str(port)]
    own = {
        "DAGSTER_HOME": str(home),
        "KALSHI_PRODUCTION_DATABASE_URL": stack.production_url(),
        "KALSHI_CATALOGUE_DATABASE_URL": stack.catalogue_url(),
        "KALSHI_LAKE_URL": str(stack.lake),
    }
    environment = plain_environment(**stack.exchange, **own)
    return Child("dagster", [*command, "-m", "kalshi_platform.definitions"], environment, stack.folder / "logs")


def _wait_loaded(dagster: Child, address: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and dagster.is_running:
        if _has_loaded(address):
            return
        time.sleep(_POLL_SECONDS)
    raise PlatformError(f"the Dagster UI did not come up:\n{dagster.last_lines()}")


def _has_loaded(address: str) -> bool:
    try:
        answer = httpx.post(f"{address}/graphql", json={"query": _QUERY}, timeout=10)
    except httpx.TransportError:
        return False
    # a location that failed to load is there as well, under another type
    return answer.is_success and f'"{_LOADED}"' in answer.text
