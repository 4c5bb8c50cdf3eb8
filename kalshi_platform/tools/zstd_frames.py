"""Where the last whole frame of a zstd file ends: what is left of a recording whose recorder was killed (RFC 8878).

A file is frames, one after the other; each says in the headers of its blocks how long it is. Kept out: unpacking.
"""

import struct
from pathlib import Path
from typing import IO

_MAGIC = 0xFD2FB528
_SKIPPABLE, _SKIPPABLE_MASK = 0x184D2A50, 0xFFFFFFF0
_RLE_BLOCK, _RESERVED_BLOCK = 1, 3
_DICTIONARY_BYTES = (0, 1, 2, 4)
_SIZE_BYTES = (0, 2, 4, 8)


def whole_length(path: Path) -> int:
    """How many bytes of a file are whole frames: fewer than it has where it was cut, or something else follows."""
    size = path.stat().st_size
    end = 0
    with path.open("rb") as file:
        while end < size:
            following = _frame_end(file, end)
            if following is None or following > size:
                break
            end = following
    return end


def _frame_end(file: IO[bytes], start: int) -> int | None:
    """Where the frame that begins here ends; None where none begins, or its headers are not all there."""
    file.seek(start)
    try:
        (magic,) = struct.unpack("<I", file.read(4))
        if magic & _SKIPPABLE_MASK == _SKIPPABLE:
            return start + 8 + int(struct.unpack("<I", file.read(4))[0])
        if magic != _MAGIC:
            return None
        (descriptor,) = file.read(1)
        is_single = bool(descriptor & 0x20)
        size_bytes = _SIZE_BYTES[descriptor >> 6] or int(is_single)
        place = start + 5 + (not is_single) + _DICTIONARY_BYTES[descriptor & 3] + size_bytes
        while True:
            file.seek(place)
            header = int.from_bytes(struct.unpack("3s", file.read(3))[0], "little")
            kind, size = header >> 1 & 3, header >> 3
            if kind == _RESERVED_BLOCK:
                return None
            place += 3 + (1 if kind == _RLE_BLOCK else size)
            if header & 1:
                return place + (4 if descriptor & 4 else 0)
    except (struct.error, ValueError):
        return None
