"""WebSocket frames as a server writes them (RFC 6455 §5.2): whole, unmasked, uncompressed.

The reading side and the handshake are aiohttp's. Writing is done here because its `send_str` is awaited per frame,
which costs more than everything else together; frames of one tick leave in one write instead.
"""

_TEXT = 0x81
_CLOSE = 0x88
_PING = 0x89
_SHORT = 126
_MEDIUM = 65536


def text_frame(payload: bytes) -> bytes:
    """One text message in one frame."""
    size = len(payload)
    if size < _SHORT:
        return bytes((_TEXT, size)) + payload
    if size < _MEDIUM:
        return b"\x81\x7e%c%c%b" % (size >> 8, size & 255, payload)
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def ping_frame(payload: bytes) -> bytes:
    """A ping; its payload comes back in the pong."""
    return bytes((_PING, len(payload))) + payload


def close_frame(code: int) -> bytes:
    """A farewell without a text."""
    return bytes((_CLOSE, 2)) + code.to_bytes(2, "big")
