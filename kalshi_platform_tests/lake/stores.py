"""Stores that speak S3, as processes of their own on loopback: moto, and rclone, which checks signatures."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

import pytest

KEY, SECRET, BUCKET = "lake-tests", "s3cret-of-the-tests", "bucket"

_MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
import boto3
url = "http://127.0.0.1:%d" % server.get_host_and_port()[1]
boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=sys.argv[1])
print(url, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Store:
    """A running store.

    Attributes:
        url: Its endpoint.
        environment: What a process needs to reach it, as any AWS tool does.
        process: The store itself, to be stopped by tests of a lost connection.
    """

    url: str
    process: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        """Endpoint, region and keys."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # rclone knows no checksums of parts
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }


def new_root(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """A root in a bucket that no other test uses; the environment is set for reaching it."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid4().hex}"


@contextmanager
def moto() -> Iterator[Store]:
    """Moto's server, with the bucket."""
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    command = [sys.executable, "-W", "ignore", "-c", _MOTO, BUCKET]
    with _running(command, environment) as process:
        yield Store(_first(process.stdout, r"(http://\S+)"), process)


@contextmanager
def rclone(folder: Path, port: int = 0, keys: str = f"{KEY},{SECRET}") -> Iterator[Store]:
    """Rclone serving a folder, with the bucket, to whoever has the keys: an id, a comma, a secret."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).with_name("rclone")
    command = [str(program if program.exists() else shutil.which("rclone")), "serve", "s3", str(folder)]
    command += ["--addr", f"127.0.0.1:{port}", "--auth-key", keys, "-v"]
    with _running(command, {"PATH": os.environ["PATH"], "HOME": str(folder)}) as process:
        yield Store(_first(process.stderr, r"\[(http://[^\]/]+)").rstrip("/"), process)


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _first(lines: IO[str] | None, pattern: str) -> str:
    """What the first fitting line of a starting process says."""
    assert lines is not None
    for line in lines:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError("the store did not start")
