"""Putting a file in its place whole: written beside it, made durable, then renamed over it.

Whoever is killed while writing leaves the old file as it was, and at most a hidden file that no reader looks at.
Kept out: what is written, where (`layout`), and buckets (`bucket`).
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from kalshi_platform.core.errors import PlatformError


class StorageError(PlatformError):
    """What holds the lake cannot be used; the text says why and what to do, and shows no key."""


class CountedFile:
    """A file being written, which knows the size and hash of what went into it. Made by `replacing`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Hash of all bytes so far, in hexadecimal."""
        return self._hash.hexdigest()

    @property
    def closed(self) -> bool:
        """Whether the file underneath is closed."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Append bytes."""
        self._hash.update(data)
        written = self._file.write(data)
        self.bytes += written
        return written

    def flush(self) -> None:
        """Hand over what is buffered to the system."""
        self._file.flush()


@contextmanager
def replacing(path: Path) -> Iterator[CountedFile]:
    """A file that takes the place of `path` when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield CountedFile(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _make_durable(path.parent)


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
