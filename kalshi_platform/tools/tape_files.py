"""The files of a tape: blocks of lines in, zstd frames out, rotated, synced, never written over.

Works in a thread of its own: packing and the disk never hold up the sockets. Kept out: which lines make a block, and
when (tape).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import pyarrow as pa

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.units import SECOND, datetime_from_us
from kalshi_platform.tools.recordings import Header, HeaderLine

SUFFIX = ".ndjson.zst"
_LEVEL = 3
_FRAMES_A_MICROSECOND = 1000


class TapeError(PlatformError):
    """The recording cannot be written; what was flushed before is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeOptions:
    """How frames are kept.

    Attributes:
        flush_seconds: A kill loses what came in so long at the most, as long as the disk keeps up.
        flush_bytes: Or so many bytes of frames, whatever comes first.
        most_bytes: So many bytes wait for the disk at the most; beyond, sockets are not read.
        sync_seconds: A power cut loses what came in so long at the most.
        rotate_seconds: A file holds so long a time at the most.
        rotate_bytes: Or so many bytes, packed.
    """

    flush_seconds: float = 1.0
    flush_bytes: int = 2**20
    most_bytes: int = 64 * 2**20
    sync_seconds: float = 5.0
    rotate_seconds: float = 3600.0
    rotate_bytes: int = 512 * 2**20


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a line says that is no frame: a connection was opened, to listen to these channels, or closed, and why."""

    opened: tuple[str, ...] | None = None
    closed: str | None = None


class Line(NamedTuple):
    """A line to be: in its place, as received (both µs since 1970), over a connection, a frame or a note."""

    place_us: int
    received_us: int
    connection: int
    content: bytes | Note


class _FrameLine(msgspec.Struct):
    recv_ts_ns: int
    connection: int
    raw: str


class _NoteLine(msgspec.Struct, omit_defaults=True):
    recv_ts_ns: int
    connection: int
    opened: tuple[str, ...] | None = None
    closed: str | None = None


class TapeFiles:
    """The files of one recording; one thread at a time.

    Args:
        folder: Where they go; made if it is not there.
        options: When to sync and to rotate.
        started_us: When the recording began, µs since 1970; names the files.
        channels: What it listens to, for people.

    Attributes:
        bytes: Bytes written, packed.
    """

    def __init__(self, folder: Path, options: TapeOptions, started_us: int, channels: Sequence[str]) -> None:
        self.bytes = 0
        self._folder = folder
        self._options = options
        self._recording = f"{datetime_from_us(started_us):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}"
        self._channels = list(channels)
        self._codec = pa.Codec("zstd", compression_level=_LEVEL)
        self._encoder = msgspec.json.Encoder()
        self._part = 0
        self._file: IO[bytes] | None = None
        self._opened_us = self._synced_us = started_us

    def append(self, lines: Sequence[Line], now_us: int) -> Path | None:
        """Write lines as one zstd frame, handed to the system at once; returns the file where it is a new one.

        Raises:
            TapeError: The disk refuses.
        """
        try:
            path = self._open_next(now_us) if self._file is None or self._is_full(now_us) else None
            self._pack(b"\n".join(self._encoded(lines)) + b"\n")
            if now_us - self._synced_us >= self._options.sync_seconds * SECOND:
                self._sync(now_us)
        except OSError as error:
            raise TapeError(f"cannot write below {self._folder}: {error.strerror}") from error
        return path

    def close(self, now_us: int) -> None:
        """End the file, on the disk.

        Raises:
            TapeError: The disk refuses.
        """
        try:
            self._end_file(now_us)
        except OSError as error:
            raise TapeError(f"cannot write below {self._folder}: {error.strerror}") from error

    def _encoded(self, lines: Sequence[Line]) -> Iterator[bytes]:
        for _, received_us, connection, content in lines:
            stamp_ns = received_us * _FRAMES_A_MICROSECOND
            if isinstance(content, Note):
                yield self._encoder.encode(_NoteLine(stamp_ns, connection, content.opened, content.closed))
            else:
                text = content.decode("utf-8", "backslashreplace")
                yield self._encoder.encode(_FrameLine(stamp_ns, connection, text))

    def _is_full(self, now_us: int) -> bool:
        assert self._file is not None  # noqa: S101 - for the type checker: it is asked of an open file
        is_old = now_us - self._opened_us >= self._options.rotate_seconds * SECOND
        return is_old or self._file.tell() >= self._options.rotate_bytes

    def _open_next(self, now_us: int) -> Path:
        self._end_file(now_us)
        self._part += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._recording}-{self._part:04d}{SUFFIX}"
        self._file = path.open("xb", buffering=0)
        self._opened_us = now_us
        header = HeaderLine(recorder=Header(self._recording, self._part, self._channels))
        self._pack(self._encoder.encode(header) + b"\n")
        return path

    def _pack(self, lines: bytes) -> None:
        assert self._file is not None  # noqa: S101 - for the type checker
        packed = self._codec.compress(lines, asbytes=True)
        start = self._file.tell()
        written = self._file.write(packed)
        if written != len(packed):  # a full disk takes a part; the frame must not stay torn in the middle of a file
            self._file.truncate(start)
            raise OSError(28, "No space left on device")
        self.bytes += len(packed)

    def _sync(self, now_us: int) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._synced_us = now_us

    def _end_file(self, now_us: int) -> None:
        if self._file is not None:
            self._sync(now_us)
            self._file.close()
            self._file = None
