"""Putting a file in its place whole: written beside it, made durable, then renamed over it.

Whoever is killed while writing leaves the old file as it was, and at most a hidden file that no reader looks at.
Kept out: what is written, where (`layout`), and buckets (`bucket`).
"""

import errno
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


_NOT_ALLOWED = "this user may not write in {folder}: change its owner or mode"
_REASONS = {
    errno.ENOSPC: "no space left on device: make room in {folder}",
    errno.EDQUOT: "the disk quota is used up: make room in {folder}",
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: "{folder} is mounted read-only: mount it for writing, or take another folder",
}


@contextmanager
def plain_words(path: str | Path, folder: str | Path) -> Iterator[None]:
    """What the system says of a disk, within the block, as `StorageError`; every other error stays as it is.

    Args:
        path: What is being written.
        folder: Where it is kept meanwhile, and where there must be room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        raise StorageError(f"cannot write {path}: {_REASONS[error.errno].format(folder=folder)}") from error


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
    """A file that takes the place of `path` when the block ends well, and vanishes when it does not.

    Raises:
        StorageError: Where the disk has no room, or refuses.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    with plain_words(path, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
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
