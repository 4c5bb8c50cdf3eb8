"""Recorded WebSocket frames, read from disk in the order in which they were received.

Understood, one a line: `{"recv_ms", "event"}` (a frame as an object), `{"recv_ts_ns", "raw"}` (a frame as text) and
bare frames; plain, `.gz` or `.zst`; and a lake of Parquet (`lake_tape`). This reader is the simulator's own. Kept out:
what the frames do to a book.
"""

import gzip
import heapq
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import pyarrow as pa

from kalshi_platform.simulator.lake_tape import SUFFIX, by_table, is_lake, lake_files, read_lake_file

SUFFIXES = tuple(f"{kind}{packed}" for kind in (".ndjson", ".jsonl") for packed in ("", ".gz", ".zst"))
PUBLISHED = frozenset(
    (
        "orderbook_snapshot", "orderbook_delta", "trade", "ticker", "market_lifecycle_v2", "event_lifecycle",
        "event_fee_update", "multivariate_market_lifecycle",
    )
)  # fmt: skip
"""Types that everybody gets; answers to somebody's commands are no history."""

_NO_TIME = -1


class RecordingError(ValueError):
    """A recording that cannot be served; says which file, which line and why."""


class RecordedFrame(NamedTuple):
    """One published message of history."""

    at_ms: int
    """When it was received, in milliseconds since 1970; or sent, or made, where the recording does not say."""
    type: str
    ticker: str
    """Its market; nothing for events."""
    message: bytes
    """Its `msg`, as recorded."""


class _Line(msgspec.Struct):
    """A recorder's envelope, or a bare frame."""

    recv_ms: int | None = None
    event: msgspec.Raw = msgspec.Raw()
    recv_ts_ns: int | None = None
    raw: str | None = None
    type: str = ""
    sending_ts_ms: int | None = None
    msg: msgspec.Raw = msgspec.Raw()


class _Frame(msgspec.Struct):
    type: str = ""
    sending_ts_ms: int | None = None
    msg: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    market_ticker: str = ""
    ts_ms: int | None = None
    ts: int | str | None = None


_LINES = msgspec.json.Decoder(_Line)
_FRAMES = msgspec.json.Decoder(_Frame)
_MESSAGES = msgspec.json.Decoder(_Message)


def find_recordings(path: Path) -> list[Path]:
    """The file named, every recording below the folder named, or the files of a lake, in a stable order.

    Raises:
        RecordingError: it does not exist, or is a folder without any.
    """
    if not path.exists():
        raise RecordingError(f"{path} does not exist: name a recorded file, or a folder of them")
    if path.is_file():
        return [path]
    if is_lake(path):
        return lake_files(path)
    found = sorted(one for one in path.rglob("*") if one.name.endswith(SUFFIXES) and one.is_file())
    if not found:
        raise RecordingError(f"{path} holds no recording: files that end in {', '.join(SUFFIXES)}")
    return found


def read_recordings(files: Sequence[Path]) -> Iterator[RecordedFrame]:
    """The published messages of several files as one history; see `read_recording`."""
    tables = [chain.from_iterable(map(read_recording, table)) for table in by_table(files)]
    tapes = [read_recording(file) for file in files if file.suffix != SUFFIX]
    return heapq.merge(*tables, *tapes, key=lambda frame: frame.at_ms)


def read_recording(path: Path, on_bytes: Callable[[int], None] | None = None) -> Iterator[RecordedFrame]:
    """The published messages of one file; their times never run back.

    Args:
        path: The file.
        on_bytes: Told how many bytes of the file have been read.

    Raises:
        RecordingError: it cannot be read, a line is no frame, or no line says when it was.
    """
    if path.suffix == SUFFIX:
        yield from _read_lake_file(path)
        return
    latest = _NO_TIME
    for frame in _with_first_time(path, _read(path, on_bytes)):
        latest = max(latest, frame.at_ms)
        yield frame._replace(at_ms=latest) if frame.at_ms < latest else frame


def _read_lake_file(path: Path) -> Iterator[RecordedFrame]:
    try:
        yield from (RecordedFrame(*message) for message in read_lake_file(path))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise RecordingError(f"{path} is no file of a lake that can be served: {error}") from error


def _read(path: Path, on_bytes: Callable[[int], None] | None) -> Iterator[RecordedFrame]:
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_unpacked(path, file), start=1):
                if not line.isspace():
                    frame = _parse(line)
                    if frame:
                        yield frame
                if on_bytes and number % 1000 == 0:
                    on_bytes(file.tell())
    except (OSError, EOFError) as error:
        raise RecordingError(f"cannot read {path}, after line {number}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise RecordingError(f"{path}, line {number}, is no recorded frame: {error}") from error


def _unpacked(path: Path, file: IO[bytes]) -> Iterable[bytes]:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=file)
    if path.suffix == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"))
    return file


def _parse(line: bytes) -> RecordedFrame | None:
    """A published message; None for anything else that a connection carries."""
    envelope = _LINES.decode(line)
    at_ms = envelope.recv_ms
    if envelope.recv_ts_ns is not None:
        at_ms = envelope.recv_ts_ns // 1_000_000
    frame: _Line | _Frame = envelope
    if envelope.raw is not None:
        frame = _FRAMES.decode(envelope.raw)
    elif envelope.event:
        frame = _FRAMES.decode(envelope.event)
    if frame.type not in PUBLISHED:
        return None
    message = _MESSAGES.decode(frame.msg)
    if at_ms is None:
        at_ms = frame.sending_ts_ms or _time_of(message)
    return RecordedFrame(at_ms, frame.type, message.market_ticker, bytes(frame.msg))


def _time_of(message: _Message) -> int:
    if message.ts_ms is not None:
        return message.ts_ms
    if isinstance(message.ts, str):
        return stamp_ms(message.ts)
    return _NO_TIME if message.ts is None else message.ts * 1000


def stamp_ms(text: str) -> int:
    """A time as the exchange writes it, in whole milliseconds since 1970, rounded down as there.

    Raises:
        ValueError: it is no time.
    """
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def _with_first_time(path: Path, frames: Iterator[RecordedFrame]) -> Iterator[RecordedFrame]:
    """Frames before the first that says when it was (snapshots carry no time) get that time."""
    waiting: list[RecordedFrame] = []
    for frame in frames:
        waiting.append(frame)
        if frame.at_ms != _NO_TIME:
            yield from (one._replace(at_ms=frame.at_ms) for one in waiting)
            yield from frames
            return
    if waiting:
        raise RecordingError(f"{path} says nowhere when its frames were received or made")
