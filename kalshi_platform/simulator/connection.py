"""One client's socket from the sending side: frames pile up during a tick and leave in one write.

Nothing here waits. A client that does not read is noticed by the bytes that the transport could not get rid of; what
follows from that is decided by `subscriptions`.
"""

import asyncio
import time
from collections.abc import Callable

from kalshi_platform.simulator.frames import ping_frame, text_frame

_HEARTBEAT = ping_frame(b"heartbeat")


class Connection:
    """Frames on their way to one client, in order."""

    __slots__ = ("_held", "_limit", "_outbox", "_outbox_bytes", "_stalled_until", "_transport", "congested", "frame",
                 "is_over", "number")  # fmt: skip

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        limit: int,
        number: int = 0,
        frame: Callable[[bytes], bytes] = text_frame,
    ) -> None:
        self.number = number
        """Which connection since the start, counted from 1."""
        self.frame = frame
        """Puts a text message into a frame, in the order of sending: a compressed one builds on those before."""
        self._transport = transport
        self._limit = limit
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._held: list[bytes] = []
        self._stalled_until = 0.0
        self.congested = False
        """Whether the client left more than the limit unread; looked at once per flush."""
        self.is_over = False
        """Whether a fault ended the connection, so that nothing more is said on it."""

    def send(self, payload: bytes) -> None:
        """Queue one text message; one that is held back for the sake of disorder follows it."""
        if self.is_over:
            return
        frame = self.frame(payload)
        if self._held:
            frame = b"".join((frame, *map(self.frame, self._held)))
            self._held.clear()
        self._outbox.append(frame)
        self._outbox_bytes += len(frame)

    def hold(self, payload: bytes) -> None:
        """Let one message wait until another has overtaken it."""
        self._held.append(payload)

    def stall(self, until: float) -> None:
        """Send nothing but pings until a time of the monotonic clock."""
        self._stalled_until = max(until, self._stalled_until)

    def end_with(self, last_words: bytes, *, cut: bool) -> None:
        """Send what is queued and these bytes, and nothing after; then cut the connection, if so asked."""
        self._outbox.append(last_words)
        self._stalled_until = 0.0
        self.flush()
        self.is_over = True
        if cut:
            self.abort()

    def ping(self) -> None:
        """Send a heartbeat, past a stall; what nobody reads is not added to."""
        if self.congested or self.is_over:
            return
        if self._stalled_until and not self._transport.is_closing():
            self._transport.write(_HEARTBEAT)
        else:
            self._outbox.append(_HEARTBEAT)

    def backlog(self) -> int:
        """Bytes that the client has not taken yet, as far as this process can know."""
        return self._transport.get_write_buffer_size() + self._outbox_bytes

    def flush(self) -> None:
        """Write everything queued, at once."""
        if self._stalled_until:
            self._wait_out_the_stall()
        if self._outbox and not self._stalled_until:
            if not self._transport.is_closing():
                self._transport.write(b"".join(self._outbox))
            self._outbox.clear()
            self._outbox_bytes = 0
        self.congested = self.backlog() > self._limit

    def _wait_out_the_stall(self) -> None:
        if time.monotonic() >= self._stalled_until:
            self._stalled_until = 0.0

    def abort(self) -> None:
        """Cut the connection without a farewell."""
        self._transport.abort()
