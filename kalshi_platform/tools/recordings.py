"""Recorded frames in the forms that people keep them: read line by line, compressed or not.

Understood: `{"recv_ms", "event"}` (a frame as an object), `{"recv_ts_ns", "raw"}` (a frame as text), and bare frames.
Kept out: what frames mean.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.units import MILLISECOND, SECOND

_SUFFIXES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One frame and when it was received (µs since 1970); None where the recording does not say."""

    raw: bytes
    received_us: int | None


class _Line(msgspec.Struct):
    """A recorder's envelope around a frame; all fields absent in a bare frame."""

    recv_ms: int | None = None
    event: msgspec.Raw = msgspec.Raw()
    recv_ts_ns: int | None = None
    raw: str | None = None


class _Stamped(msgspec.Struct):
    ts_ms: int | None = None
    ts: int | str | None = None  # whole seconds in trades and tickers, text in deltas


class _BareFrame(msgspec.Struct):
    sending_ts_ms: int | None = None
    msg: _Stamped | None = None


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
    """Every frame of one file; blank lines are skipped, broken lines come as they are, to be quarantined.

    Raises:
        ConfigurationError: Where the file cannot be read.
    """
    try:
        with _open(path) as lines:
            for line in lines:
                if not line.isspace():
                    yield _frame(line)
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
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    body = bare.msg or _Stamped()
    stamp_ms = bare.sending_ts_ms or body.ts_ms
    if stamp_ms is not None:
        return stamp_ms * MILLISECOND
    return body.ts * SECOND if isinstance(body.ts, int) else None


def _frame(line: bytes) -> RecordedFrame:
    try:
        envelope = _lines.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return RecordedFrame(line, None)
    if envelope.event and envelope.recv_ms is not None:
        return RecordedFrame(bytes(envelope.event), envelope.recv_ms * MILLISECOND)
    if envelope.raw is not None and envelope.recv_ts_ns is not None:
        return RecordedFrame(envelope.raw.encode(), envelope.recv_ts_ns // 1000)
    return RecordedFrame(line, None)


def _open(path: Path) -> gzip.GzipFile | IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
