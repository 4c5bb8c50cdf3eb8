"""What the records of a JSON source are, one after the other, in the memory of one.

Lines of JSON: each line. An array: each element. An object, as the exchange answers: the elements of the first array in
it, or of the one that a path names; without any array its members. ijson takes documents apart, msgspec lines. Kept
out: reading and unpacking, and showing records.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import ijson
import msgspec

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.tools.preview.depth import DEEPEST, Depth, refuse_if_deep

Opener = Callable[[], AbstractContextManager[IO[bytes]]]
"""Opens the source from its beginning, as often as it is called."""

_PIECE = 2**16
_LOOK = 2**20
_LONGEST_LINE = 64 * 2**20
_BYTE = re.compile(r"\(byte (\d+)\)")
_BOM = b"\xef\xbb\xbf"


class BadJson(ConfigurationError):  # noqa: N818 - named after what was found
    """A source that is not JSON; the text names line and byte."""


class Place(NamedTuple):
    """A byte, counted from 0, and its line, counted from 1; of the unpacked data."""

    byte: int
    line: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the records of a source are.

    Attributes:
        meaning: In words.
        prefix: What ijson calls them; None for lines.
        is_members: Whether they are members of an object, not elements of an array.
    """

    meaning: str
    prefix: str | None = None
    is_members: bool = False


def shape_of(open_source: Opener, name: str, path: Sequence[str] = ()) -> Shape:
    """Look where the records are; reads no further than it must.

    Raises:
        BadJson: Before any record was found.
        ConfigurationError: The path leads nowhere, or values are nested deeper than can be shown.
    """
    with open_source() as stream:
        start = stream.read(_LOOK).removeprefix(_BOM).lstrip()
        if not start:
            raise BadJson(f"{name} is empty")
        if not path and _has_lines(start, is_all=not stream.read(1)):
            return Shape("lines")
    if start.startswith(b"[") and not path:
        return Shape("elements", "item")
    return _inside(open_source, name, ".".join(path))


def records(open_source: Opener, name: str, shape: Shape) -> Iterator[Any]:
    """Every record, checked as far as it is read.

    Raises:
        BadJson: At the first byte that is not JSON.
        ConfigurationError: Values are nested deeper than can be shown.
    """
    if shape.prefix is None:
        yield from _lines(open_source, name)
        return
    take = ijson.kvitems if shape.is_members else ijson.items
    for one in _watched(open_source, name, lambda stream: take(stream, shape.prefix, buf_size=_PIECE)):
        yield {"key": one[0], "value": one[1]} if shape.is_members else one


def _has_lines(start: bytes, *, is_all: bool) -> bool:
    """Whether the first line is a value by itself, and others follow."""
    first, newline, rest = start.partition(b"\n")
    if not first.startswith((b"{", b"[")):
        return True
    if not newline or (is_all and not rest.strip()):
        return first.startswith(b"{") and is_all and _is_json(first) and not _holds_array(first)
    return _is_json(first)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _holds_array(line: bytes) -> bool:
    return any(isinstance(value, list) for value in msgspec.json.decode(line).values())


def _inside(open_source: Opener, name: str, path: str) -> Shape:
    """The first array on a path, or right below it; else the members of the object that is there."""
    found_object = False
    below = path.count(".") + bool(path) + 1
    for prefix, event, _ in _watched(open_source, name, lambda stream: ijson.parse(stream, buf_size=_PIECE)):
        is_near = prefix == path or ((prefix.startswith(path + ".") or not path) and prefix.count(".") < below)
        if event == "start_array" and is_near:
            return Shape(f"elements of {prefix}" if prefix else "elements", f"{prefix}.item".lstrip("."))
        if prefix == path and event == "start_map":
            found_object = True
        if prefix == path and event == "end_map":
            break
    if not found_object:
        raise ConfigurationError(f"{name} has no array or object at --path {path}")
    return Shape(f"members of {path}" if path else "members", path, is_members=True)


def _lines(open_source: Opener, name: str) -> Iterator[Any]:
    byte, number = 0, 0
    with open_source() as stream:
        while line := stream.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                _refuse(name, Place(byte, number), f"a line longer than {_LONGEST_LINE // 2**20} MiB")
            skipped = len(_BOM) if line.startswith(_BOM) else 0
            if line.count(b"[") + line.count(b"{") > DEEPEST:  # else it cannot be: most lines are let by quickly
                refuse_if_deep(name, Depth(), line, byte)
            if not line.isspace():
                yield _decoded(line[skipped:], name, Place(byte + skipped, number))
            byte += len(line)


def _decoded(line: bytes, name: str, place: Place) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        match = _BYTE.search(str(error))
        at = int(match.group(1)) if match else len(line.rstrip())
        reason = "the line ends inside a value" if match is None else _BYTE.sub("", str(error)).partition(": ")[2]
        _refuse(name, Place(place.byte + at, place.line), reason.strip())


class _Counted:
    """A stream that knows where the last piece that was read begins, and gives out none that nests too deep."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._head = stream.read(len(_BOM))
        self._head = self._head.removeprefix(_BOM)
        self.offset = 0
        self._size = 0
        self._name = name
        self._depth = Depth()

    def read(self, size: int = -1) -> bytes:
        """The next piece."""
        head, self._head = self._head[: max(size, 0)], self._head[max(size, 0) :]
        piece = head + (self._stream.read(size - len(head)) if size else b"")
        self.offset += self._size
        self._size = len(piece)
        refuse_if_deep(self._name, self._depth, piece, self.offset)
        return piece


def _watched(open_source: Opener, name: str, parse: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
    """What ijson finds; where it finds no JSON, the place is looked for."""
    with open_source() as stream:
        counted = _Counted(stream, name)
        try:
            yield from parse(counted)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            broken_at, reason = counted.offset, str(error).partition("\n")[0].partition(": ")[2]
        else:
            return
    _refuse(name, _place(open_source, name, broken_at), reason.strip() or "it breaks off")


def _place(open_source: Opener, name: str, broken_at: int) -> Place:
    """Where exactly ijson stops: it does not say, so the last piece is read once more, byte by byte."""
    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events)
    byte, line = 0, 1
    with open_source() as stream:
        counted = _Counted(stream, name)
        while piece := counted.read(1 if byte >= broken_at else min(_PIECE, broken_at - byte)):
            try:
                parser.send(piece)
            except (ijson.JSONError, UnicodeDecodeError):
                break
            del events[:]
            byte += len(piece)
            line += piece.count(b"\n")
    return Place(byte, line)


def _refuse(name: str, place: Place, why: str) -> None:
    raise BadJson(f"{name} is not JSON at line {place.line:,}, byte {place.byte:,}: {why}")
