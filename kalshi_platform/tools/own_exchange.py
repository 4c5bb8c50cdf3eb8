"""A simulated exchange as a child process: its key, its start, its end. Tools start it, they never import it.

Kept out: what is done with it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.tools.children import Child, plain_environment, platform_command

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


def write_keys(folder: Path) -> tuple[Path, Path]:
    """A key pair for the simulator's one user: private and public file."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / "private.pem", folder / "public.pem"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def wait_ready(child: Child, ready_file: Path) -> None:
    """Wait until a child says that it answers.

    Raises:
        PlatformError: Where it ends, or takes too long.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not ready_file.exists():
        if not child.is_running or time.monotonic() > deadline:
            raise PlatformError(f"{child.name} does not start:\n{child.last_lines()}")
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class OwnExchange:
    """Where it answers, and the one key that it knows."""

    rest_url: str
    ws_url: str
    key_id: str
    private_key: Path


@contextmanager
def own_exchange(*arguments: str) -> Iterator[OwnExchange]:
    """An exchange for as long as the block, on a free port.

    Args:
        arguments: Of `kalshi-platform simulate`, besides port, key and ready file.
    """
    with TemporaryDirectory(prefix="kalshi-exchange-") as made:
        folder = Path(made)
        private, public = write_keys(folder)
        ready = folder / "port"
        command = platform_command("simulate", "--port", "0", "--key", f"demo={public}", "--ready-file", str(ready))
        child = Child("simulator", [*command, *arguments], plain_environment(), folder, may_restart=False)
        child.start()
        try:
            wait_ready(child, ready)
            place = f"127.0.0.1:{ready.read_text().strip()}/trade-api"
            yield OwnExchange(f"http://{place}/v2", f"ws://{place}/ws/v2", "demo", private)
        finally:
            child.stop()
