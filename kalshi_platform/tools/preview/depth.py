"""How deep JSON nests, found without parsing it: parsers recurse, or remember the way to each value, and never end.

Kept out: whether it is JSON at all (records).
"""

import re
from itertools import accumulate

from kalshi_platform.core.errors import ConfigurationError

DEEPEST = 500
"""Values in values; below what Python encodes, and far above what anybody keeps."""

_PIECE = 2**16
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_ALL_ELSE = bytes(set(range(256)) - {*_STEPS, ord('"')})


class Depth:
    """Follows a document piece by piece, wherever it is cut."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_text = False
        self._cut = b""

    def follow(self, piece: bytes) -> int:
        """The deepest place in the next piece, in values."""
        marks = _ESCAPED.sub(b"", self._cut + piece)
        self._cut = b"\\" if marks.endswith(b"\\") else b""
        parts = marks.translate(None, _ALL_ELSE).split(b'"')
        between = b"".join(parts[self._is_text :: 2])
        self._is_text ^= not len(parts) % 2
        depths = list(accumulate(map(_STEPS.__getitem__, between), initial=self._depth))
        self._depth = depths[-1]
        return max(depths)


def refuse_if_deep(name: str, depth: Depth, piece: bytes, byte: int) -> None:
    """Look at a piece before a parser does.

    Args:
        name: The source, for people.
        depth: How deep it is so far.
        piece: What comes next.
        byte: Where it begins.

    Raises:
        ConfigurationError: It nests deeper than anybody keeps values.
    """
    for start in range(0, len(piece), _PIECE):
        part = piece[start : start + _PIECE]
        if depth.follow(part) > DEEPEST:
            first = byte + start
            raise ConfigurationError(
                f"{name} nests values more than {DEEPEST} deep, between bytes {first:,} and {first + len(part):,}; "
                "preview shows nothing that deep"
            )
