"""WebSocket frames as a server writes them (RFC 6455 §5.2): whole, unmasked, compressed where that was agreed on.

The reading side and the handshake are aiohttp's. Writing is done here because its `send_str` is awaited per frame,
which costs more than everything else together; frames of one tick leave in one write instead.
"""

import zlib

_TEXT = 0x81
_COMPRESSED_TEXT = 0xC1
_CLOSE = 0x88
_PING = 0x89
_SHORT = 126
_MEDIUM = 65536


def text_frame(payload: bytes, first: int = _TEXT) -> bytes:
    """One text message in one frame, which begins with the byte that says so."""
    size = len(payload)
    if size < _SHORT:
        return bytes((first, size)) + payload
    if size < _MEDIUM:
        return b"%c\x7e%c%c%b" % (first, size >> 8, size & 255, payload)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8, "big"), payload)


class Deflater:
    """Compresses the messages of one connection (permessage-deflate, RFC 7692).

    Args:
        agreed: The `Sec-WebSocket-Extensions` of the handshake's answer.
    """

    _TAIL = b"\x00\x00\xff\xff"

    def __init__(self, agreed: str) -> None:
        parameters = dict(part.strip().partition("=")[::2] for part in agreed.split(";"))
        self._bits = int(parameters.get("server_max_window_bits") or zlib.MAX_WBITS)
        self._forgets = "server_no_context_takeover" in parameters
        self._compressor = self._new()

    def frame(self, payload: bytes) -> bytes:
        """One compressed text message; what leaves first must be compressed first."""
        if self._forgets:
            self._compressor = self._new()
        packed = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return text_frame(packed.removesuffix(self._TAIL), _COMPRESSED_TEXT)

    def _new(self) -> "zlib._Compress":
        return zlib.compressobj(level=1, wbits=-self._bits)


def ping_frame(payload: bytes) -> bytes:
    """A ping; its payload comes back in the pong."""
    return bytes((_PING, len(payload))) + payload


def close_frame(code: int) -> bytes:
    """A farewell without a text."""
    return bytes((_CLOSE, 2)) + code.to_bytes(2, "big")
