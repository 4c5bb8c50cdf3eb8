"""Recorded frames in the forms that people keep them: read line by line, compressed or not.

Understood: `{"recv_ms", "event"}` (a frame as an object), `{"recv_ts_ns", "raw"}` (a frame as text; ours say over which
`connection`), `{"channel", "message"}` and bare frames; today's and, through `legacy`, those of whole cents; plain,
`.gz` or `.zst`, also cut off. Kept out: what frames mean.
"""

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import pyarrow as pa
import structlog

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.units import MILLISECOND, SECOND
from kalshi_platform.tools.legacy import LEGACY_MARKS, framed, modern
from kalshi_platform.tools.zstd_frames import whole_length

_SUFFIXES = tuple(f"{kind}{packed}" for kind in (".ndjson", ".jsonl") for packed in ("", ".gz", ".zst"))

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One frame, when it was received (µs since 1970; None where the recording does not say), and over what.

    Recordings of others have one connection to a file: number 0.
    """

    raw: bytes
    received_us: int | None
    connection: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """Nothing follows over this connection."""

    connection: int


class Header(msgspec.Struct, frozen=True):
    """The first line of a file of our own recorder: which part, counted from 1, of which recording it is."""

    recording: str
    part: int
    channels: list[str]


class HeaderLine(msgspec.Struct, frozen=True):
    """That line."""

    recorder: Header


class _ReadHeader(msgspec.Struct):
    """A header as it is read: our older tapes were of one `connection` each, and named that."""

    part: int
    recording: str = ""
    connection: str = ""
    channels: list[str] = []


class _Line(msgspec.Struct):
    """A recorder's envelope around a frame; all fields absent in a bare frame.

    What only our own recorder writes may be anything: others give such names other meanings.
    """

    recv_ms: int | None = None
    event: msgspec.Raw = msgspec.Raw()
    recv_ts_ns: int | None = None
    raw: str | None = None
    connection: Any = 0
    opened: Any = None
    closed: Any = None
    channel: str | None = None
    message: msgspec.Raw = msgspec.Raw()
    recorder: Any = None


class _Stamped(msgspec.Struct):
    ts_ms: int | None = None
    ts: int | str | None = None  # whole seconds in trades and tickers, text in deltas


class _BareFrame(msgspec.Struct):
    sending_ts_ms: int | None = None
    msg: _Stamped | None = None


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the last: nested too deep
_lines = msgspec.json.Decoder(_Line)
_bare_frames = msgspec.json.Decoder(_BareFrame)


def find_recordings(paths: list[Path]) -> list[Path]:
    """The files named, and those below the folders named, in a stable order.

    Raises:
        ConfigurationError: Where a path does not exist, or a folder holds no recording.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigurationError(f"{path} does not exist")
        found = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.name.endswith(_SUFFIXES))
        if not found:
            raise ConfigurationError(f"{path} holds no recording: a file that ends in {', '.join(_SUFFIXES)}")
        files.extend(found)
    return files


def read_frames(path: Path) -> Iterator[RecordedFrame]:
    """Every frame of one file; see `read_recording`."""
    return (one for one in read_recording(path) if isinstance(one, RecordedFrame))


def read_recording(path: Path) -> Iterator[RecordedFrame | ConnectionClosed]:
    """Every frame of one file, and where connections ended; blank lines are skipped, broken lines come as they are.

    Raises:
        ConfigurationError: Where the file cannot be read.
    """
    try:
        with _open(path) as lines:
            for line in lines:
                if not line.isspace() and (found := _read(line)) is not None:
                    yield found
    except (OSError, EOFError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error


def first_stamp(path: Path) -> int | None:
    """The first time (µs since 1970) that a file of bare frames shows; stands in for a missing receive time."""
    for frame in read_frames(path):
        stamp = stamp_of(frame)
        if stamp is not None:
            return stamp
    return None


def stamp_of(frame: RecordedFrame) -> int | None:
    """When a frame was received, or else sent, or else made (µs since 1970)."""
    if frame.received_us is not None:
        return frame.received_us
    try:
        bare = _bare_frames.decode(frame.raw)
    except _UNREADABLE:
        return None
    body = bare.msg or _Stamped()
    stamp_ms = bare.sending_ts_ms or body.ts_ms
    if stamp_ms is not None:
        return stamp_ms * MILLISECOND
    return body.ts * SECOND if isinstance(body.ts, int) else None


def header_of(path: Path) -> Header | None:
    """Which recording a file is a part of; None where it does not say, as those of other recorders.

    Raises:
        ConfigurationError: Where the file cannot be read.
    """
    try:
        with _open(path) as lines:
            return _header(_lines.decode(lines.readline()))
    except _UNREADABLE:
        return None
    except (OSError, EOFError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error


def _header(line: _Line) -> Header | None:
    try:
        found = msgspec.convert(line.recorder, _ReadHeader)
    except msgspec.ValidationError:
        return None
    name = found.recording or found.connection
    return Header(name, found.part, found.channels) if name else None


def _read(line: bytes) -> RecordedFrame | ConnectionClosed | None:
    """What a line says; None where it is a header, or that a connection was opened."""
    try:
        envelope = _lines.decode(line)
    except _UNREADABLE:
        return RecordedFrame(line, None)
    raw, received_us, connection = line, None, 0
    is_numbered = type(envelope.connection) is int and envelope.recv_ts_ns is not None
    if envelope.event and envelope.recv_ms is not None:
        raw, received_us = bytes(envelope.event), envelope.recv_ms * MILLISECOND
    elif envelope.raw is not None and envelope.recv_ts_ns is not None:
        raw, received_us = envelope.raw.encode(), envelope.recv_ts_ns // 1000
        connection = envelope.connection if is_numbered else 0
    elif envelope.channel is not None and envelope.message:
        raw = framed(envelope.channel, bytes(envelope.message))
        received_us = None if envelope.recv_ms is None else envelope.recv_ms * MILLISECOND
    elif is_numbered and isinstance(envelope.closed, str):
        return ConnectionClosed(envelope.connection)
    elif (is_numbered and isinstance(envelope.opened, list)) or _header(envelope) is not None:
        return None
    raw = modern(raw) if any(mark in raw for mark in LEGACY_MARKS) else raw
    return RecordedFrame(raw, received_us, connection)


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return cast(IO[bytes], io.BufferedReader(pa.CompressedInputStream(_whole_frames(path), "zstd")))
    return path.open("rb")


def _whole_frames(path: Path) -> IO[bytes]:
    """A file up to where it was cut."""
    file = path.open("rb")
    length = whole_length(path)
    if length == path.stat().st_size:
        return file
    _tell_of_cut(path, path.stat().st_size - length)
    return cast(IO[bytes], _Beginning(file, length))


@cache  # a file is opened more than once, and told of once
def _tell_of_cut(path: Path, left_out: int) -> None:
    _log.warning("the recording was cut; what is whole is read", path=str(path), bytes_left_out=left_out)


class _Beginning(io.RawIOBase):
    """So many bytes of a file."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file = file
        self._left = length

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
