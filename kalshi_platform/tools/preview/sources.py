"""Where JSON comes from: a file, http(s) or s3, unpacked on the way where it is gzip or zstd.

What is packed is seen from the first bytes, not from the name. Bytes come as they are read; nothing is kept. Kept out:
what the bytes say.
"""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import httpx
import pyarrow as pa
from pyarrow import fs

from kalshi_platform.core.errors import ConfigurationError, PlatformError
from kalshi_platform.core.masking import masked

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_TIMEOUT_SECONDS = 30.0
_BROKEN = (OSError, EOFError, httpx.HTTPError, pa.ArrowException)


class SourceError(PlatformError):
    """A source broke off; the text says where it came from and why."""


@contextmanager
def open_source(source: str) -> Iterator[IO[bytes]]:
    """Unpacked bytes of a source.

    Args:
        source: A path, `http(s)://…` or `s3://bucket/key`; keys of a bucket come from where AWS tools look for them.

    Raises:
        ConfigurationError: There is no such source, or we may not read it.
        SourceError: It cannot be read now, or to its end.
    """
    try:
        with _opened(source) as packed:
            yield _unpacked(packed)
    except httpx.HTTPStatusError as error:
        raise ConfigurationError(f"{shown(source)} answered {error.response.status_code}") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise ConfigurationError(f"{shown(source)} is no address that can be asked: check it") from None
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise ConfigurationError(f"cannot read {shown(source)}: {_reason(error)}") from None
    except _BROKEN as error:
        raise SourceError(f"cannot read {shown(source)}: {_reason(error)}") from None


def shown(source: str) -> str:
    """A source as people may see it: an address without its query, which may be signed, and without a password."""
    return masked(source.partition("?")[0]) if "@" in source else source.partition("?")[0]


@contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
    scheme, separator, _ = source.partition("://")
    if not separator:
        with Path(source).expanduser().open("rb") as file:
            yield file
    elif scheme in ("http", "https"):
        with httpx.stream("GET", source, timeout=_TIMEOUT_SECONDS, follow_redirects=True) as response:
            response.raise_for_status()
            yield io.BufferedReader(_Body(response.iter_bytes()))
    elif scheme == "s3":
        with _s3(source) as stream:
            yield stream
    else:
        raise ConfigurationError(f"{shown(source)[:100]}: a source is a file, http://…, https://… or s3://bucket/key")


def _s3(source: str) -> IO[bytes]:
    try:
        bucket, path = fs.FileSystem.from_uri(source)
    except (pa.ArrowInvalid, ValueError) as error:
        raise ConfigurationError(f"{shown(source)} is no s3://bucket/key: {_reason(error)}") from None
    if not path.partition("/")[2]:
        raise ConfigurationError(f"{shown(source)} is no s3://bucket/key: it names no key")
    return cast(IO[bytes], bucket.open_input_stream(path))


def _unpacked(packed: IO[bytes]) -> IO[bytes]:
    stream = io.BufferedReader(_Readable(packed))
    head = stream.peek(len(_ZSTD))
    if head.startswith(_GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    if head.startswith(_ZSTD):
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"))
    return stream


class _Body(io.RawIOBase):
    """The body of an answer, as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


class _Readable(io.RawIOBase):
    """Anything that can be read, as a raw file."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _reason(error: BaseException) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.partition("\n")[0] or type(error).__name__
