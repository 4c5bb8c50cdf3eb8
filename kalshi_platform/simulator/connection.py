"""One client's socket from the sending side: frames pile up during a tick and leave in one write.

Nothing here waits. A client that does not read is noticed by the bytes that the transport could not get rid of; what
follows from that is decided by `subscriptions`.
"""

import asyncio

from kalshi_platform.simulator.frames import ping_frame, text_frame

_HEARTBEAT = ping_frame(b"heartbeat")


class Connection:
    """Frames on their way to one client, in order."""

    __slots__ = ("_limit", "_outbox", "_outbox_bytes", "_transport", "congested")

    def __init__(self, transport: asyncio.WriteTransport, limit: int) -> None:
        self._transport = transport
        self._limit = limit
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self.congested = False
        """Whether the client left more than the limit unread; looked at once per flush."""

    def send(self, payload: bytes) -> None:
        """Queue one text message."""
        frame = text_frame(payload)
        self._outbox.append(frame)
        self._outbox_bytes += len(frame)

    def ping(self) -> None:
        """Queue a heartbeat; what nobody reads is not added to."""
        if not self.congested:
            self._outbox.append(_HEARTBEAT)

    def backlog(self) -> int:
        """Bytes that the client has not taken yet, as far as this process can know."""
        return self._transport.get_write_buffer_size() + self._outbox_bytes

    def flush(self) -> None:
        """Write everything queued, at once."""
        if self._outbox:
            if not self._transport.is_closing():
                self._transport.write(b"".join(self._outbox))
            self._outbox.clear()
            self._outbox_bytes = 0
        self.congested = self._transport.get_write_buffer_size() > self._limit

    def abort(self) -> None:
        """Cut the connection without a farewell."""
        self._transport.abort()
