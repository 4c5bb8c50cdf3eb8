"""Frames to disk as they come: NDJSON in zstd frames, so that a file cut anywhere is whole up to its last flush.

A line is `{"recv_ts_ns", "raw"}`: when the frame was received, and its text as it came. The first line of each file
says which connection it is a part of, so that a replay goes on over the rotation. No file is ever opened twice. Kept
out: where frames come from (record).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import pyarrow as pa

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.units import SECOND, datetime_from_us
from kalshi_platform.tools.recordings import Header, HeaderLine

SUFFIX = ".ndjson.zst"
_LEVEL = 3
_FRAMES_A_MICROSECOND = 1000

_encoder = msgspec.json.Encoder()


class TapeError(PlatformError):
    """The recording cannot be written; what was flushed before is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeOptions:
    """How frames are kept.

    Attributes:
        flush_seconds: A kill loses what came in so long at the most.
        flush_bytes: Or so many bytes of lines, whatever comes first.
        sync_seconds: A power cut loses what came in so long at the most.
        rotate_seconds: A file holds so long a time at the most.
        rotate_bytes: Or so many bytes, packed.
    """

    flush_seconds: float = 1.0
    flush_bytes: int = 2**20
    sync_seconds: float = 5.0
    rotate_seconds: float = 3600.0
    rotate_bytes: int = 512 * 2**20


class _Line(msgspec.Struct):
    recv_ts_ns: int
    raw: str


class Tape:
    """The files of one connection.

    Args:
        folder: Where they go; made if it is not there.
        options: When to flush and to rotate.
        started_us: When the connection began, µs since 1970; names the files.
        channels: What it listens to, for people.
        on_file: Told of each new file.

    Attributes:
        frames: Frames taken.
        bytes: Bytes written, packed.
    """

    def __init__(
        self, folder: Path, options: TapeOptions, started_us: int, channels: list[str], on_file: Callable[[Path], None]
    ) -> None:
        self.frames = self.bytes = 0
        self._folder = folder
        self._options = options
        self._connection = f"{datetime_from_us(started_us):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}"
        self._channels = channels
        self._on_file = on_file
        self._codec = pa.Codec("zstd", compression_level=_LEVEL)
        self._lines: list[bytes] = []
        self._waiting = 0
        self._part = 0
        self._file: IO[bytes] | None = None
        self._opened_us = self._flushed_us = self._synced_us = started_us

    def write(self, raw: bytes, received_us: int) -> None:
        """Take a frame; it is on disk after the next flush.

        Raises:
            TapeError: The disk refuses.
        """
        line = _encoder.encode(_Line(received_us * _FRAMES_A_MICROSECOND, raw.decode("utf-8", "backslashreplace")))
        self._lines.append(line)
        self._waiting += len(line)
        self.frames += 1
        if self._waiting >= self._options.flush_bytes:
            self.flush(received_us)

    def tick(self, now_us: int) -> None:
        """Flush and rotate where it is time to.

        Raises:
            TapeError: The disk refuses.
        """
        if now_us - self._flushed_us >= self._options.flush_seconds * SECOND:
            self.flush(now_us)

    def flush(self, now_us: int) -> None:
        """Write what waits as one zstd frame, handed to the system at once.

        Raises:
            TapeError: The disk refuses.
        """
        self._flushed_us = now_us
        if not self._lines:
            return
        try:
            if self._file is None or self._is_full(now_us):
                self._open_next(now_us)
            self._append(b"\n".join(self._lines) + b"\n")
            if now_us - self._synced_us >= self._options.sync_seconds * SECOND:
                self._sync(now_us)
        except OSError as error:
            raise TapeError(f"cannot write below {self._folder}: {error.strerror}") from error
        self._lines.clear()
        self._waiting = 0

    def close(self, now_us: int) -> None:
        """Write what waits and end the file."""
        self.flush(now_us)
        self._end_file(now_us)

    def _is_full(self, now_us: int) -> bool:
        assert self._file is not None  # noqa: S101 - for the type checker: it is asked of an open file
        is_old = now_us - self._opened_us >= self._options.rotate_seconds * SECOND
        return is_old or self._file.tell() >= self._options.rotate_bytes

    def _open_next(self, now_us: int) -> None:
        self._end_file(now_us)
        self._part += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._connection}-{self._part:04d}{SUFFIX}"
        self._file = path.open("xb", buffering=0)
        self._opened_us = now_us
        header = HeaderLine(recorder=Header(self._connection, self._part, self._channels))
        self._append(_encoder.encode(header) + b"\n")
        self._on_file(path)

    def _append(self, lines: bytes) -> None:
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
