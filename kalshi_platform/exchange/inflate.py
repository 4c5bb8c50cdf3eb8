"""permessage-deflate (RFC 7692), the receiving half; commands go out as they are, which it allows.

Kept out: when it is offered.
"""

import zlib

HEADER = "Sec-WebSocket-Extensions"
EXTENSION = "permessage-deflate"

_TAIL = b"\x00\x00\xff\xff"  # the sender leaves it out of every message


class Inflater:
    """Inflates the messages of one connection, in order: each may refer to those before it.

    Args:
        largest: Bytes that a message may have.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflate(self, data: bytes) -> bytes:
        """One message.

        Raises:
            ValueError: Where it is no deflate stream, or would be larger than it may be.
        """
        try:
            message = self._stream.decompress(data + _TAIL, self._largest)
        except zlib.error as error:
            raise ValueError(f"a message that cannot be inflated: {error}") from error
        if self._stream.unconsumed_tail:
            raise ValueError(f"a message of more than {self._largest} bytes")
        return message
