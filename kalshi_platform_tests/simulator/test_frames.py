import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from kalshi_platform.simulator.frames import ping_frame, text_frame


def parse(data: bytes) -> Frame:
    """Read one frame with somebody else's parser."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parser)
    frame = done.value.value
    assert isinstance(frame, Frame)
    return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 255, 256, 65535, 65536, 200_000])
def test_lengths_on_both_sides_of_every_border(size: int) -> None:
    """A text of any length is read back whole, as a final text frame."""
    payload = b"x" * size
    frame = parse(text_frame(payload))
    assert (frame.opcode, bytes(frame.data), frame.fin) == (Opcode.TEXT, payload, True)


def test_ping() -> None:
    """A ping carries its payload."""
    frame = parse(ping_frame(b"heartbeat"))
    assert (frame.opcode, bytes(frame.data)) == (Opcode.PING, b"heartbeat")
