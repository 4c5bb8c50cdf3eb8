"""Frames on disk: in order, whole up to the last flush wherever the file is cut, and never written over."""

import asyncio
import gzip
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.tools.recordings import ConnectionClosed, RecordedFrame, header_of, read_frames, read_recording
from kalshi_platform.tools.tape import Tape
from kalshi_platform.tools.tape_files import Line, TapeError, TapeFiles, TapeOptions
from kalshi_platform.tools.zstd_frames import whole_length
from kalshi_platform_tests.waiting import until

START_US = 1_790_000_000_000_000
SECOND = 1_000_000


def frames(count: int) -> list[RecordedFrame]:
    """Frames with awkward text, a millisecond apart."""
    return [
        RecordedFrame(
            f'{{"type":"trade","sid":1,"n":{number},"t":"é\\n\\u0000"}}\n'.encode(), START_US + number * 1000, 1
        )
        for number in range(count)
    ]


def recorded(folder: Path, count: int, options: TapeOptions, at_once: int = 10) -> list[Path]:
    """The files of so many frames, some of them in each block."""
    files = TapeFiles(folder, options, START_US, ["trade"])
    found: list[Path | None] = []
    made = frames(count)
    for place in range(0, count, at_once):
        lines = [Line(one.received_us or 0, one.received_us or 0, 1, one.raw) for one in made[place : place + at_once]]
        found.append(files.append(lines, lines[-1].received_us))
    files.close(START_US + count * 1000)
    return [path for path in found if path is not None]


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    """Text and stamp, over as many files as rotation makes; each says which part it is."""
    files = recorded(tmp_path, 500, TapeOptions(rotate_seconds=0.1))
    assert len(files) > 3
    assert [frame for path in files for frame in read_frames(path)] == frames(500)
    headers = [header_of(path) for path in files]
    assert [header.part for header in headers if header] == list(range(1, len(files) + 1))
    assert len({header.recording for header in headers if header}) == 1
    assert sorted(files) == files, "names sort as time does"


def test_rotation_by_size(tmp_path: Path) -> None:
    """A file ends with the flush that makes it large enough."""
    files = recorded(tmp_path, 500, TapeOptions(rotate_bytes=2000))
    assert len(files) > 3
    assert [frame for path in files for frame in read_frames(path)] == frames(500)


def test_a_file_cut_anywhere_is_whole_up_to_a_flush(tmp_path: Path) -> None:
    """At every single byte: some first frames, all of them right, and at most one flush less than there was."""
    (path,) = recorded(tmp_path, 30, TapeOptions())
    data, cut = path.read_bytes(), tmp_path / "cut.ndjson.zst"
    read = []
    for length in range(len(data) + 1):
        cut.write_bytes(data[:length])
        found = list(read_frames(cut))
        assert found == frames(30)[: len(found)]
        read.append(len(found))
        assert whole_length(cut) <= length
    assert read == sorted(read)
    assert read[-1] == 30
    assert max(later - one for one, later in pairwise(read)) <= 11, "one flush is ten frames"


def test_no_file_is_written_twice(tmp_path: Path) -> None:
    """The same name is an error, not an end of what was there."""
    (path,) = recorded(tmp_path, 5, TapeOptions())
    before = path.read_bytes()
    with pytest.raises(TapeError, match="cannot write below"):
        recorded(tmp_path, 5, TapeOptions())
    assert path.read_bytes() == before


def test_other_zstd_files_are_measured_too(tmp_path: Path) -> None:
    """One long frame with its size, frames of a stream, frames to be skipped; and what is none."""
    path = tmp_path / "x.ndjson.zst"
    text = b'{"type":"ok"}\n' * 50_000
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    streamed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(streamed, "zstd") as stream:
        stream.write(text)
    for data in (pa.Codec("zstd").compress(text, asbytes=True), streamed.getvalue().to_pybytes()):
        path.write_bytes(skippable + data)
        assert whole_length(path) == len(skippable + data)
        assert len(list(read_frames(path))) == 50_000
        path.write_bytes(data[:-1])
        assert whole_length(path) == 0
    path.write_bytes(gzip.compress(text))
    assert whole_length(path) == 0
    assert list(read_frames(path)) == []


def test_a_folder_that_refuses_is_said_plainly(tmp_path: Path) -> None:
    """The disk's own words, and where."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TapeError, match="cannot write below"):
        recorded(tmp_path / "file", 1, TapeOptions())
    with pytest.raises(ConfigurationError, match="cannot read"):
        list(read_frames(tmp_path))


def a_tape(folder: Path, options: TapeOptions, files: list[Path] | None = None) -> Tape:
    """One whose clock stands still; its files are told."""
    return Tape(folder, options, ["trade"], lambda: START_US, [].append if files is None else files.append)


async def ended(tape: Tape, until_us: Callable[[], int]) -> None:
    """Write everything."""
    tape.end()
    await tape.run(until_us)


async def test_connections_are_one_tape_in_the_order_of_receipt(tmp_path: Path) -> None:
    """However they were taken; what may still be overtaken waits; where a clock is set back, nobody changes places."""
    files: list[Path] = []
    tape = a_tape(tmp_path, TapeOptions(flush_seconds=0.01), files)
    heard_us = START_US
    running = asyncio.create_task(tape.run(lambda: heard_us))
    one, two = tape.opened(START_US, ["trade"]), tape.opened(START_US, ["trade"])
    for number in (1, 3, 5, 7):
        tape.write(one, b"%d" % number, START_US + number)
    heard_us = START_US + 3
    await until(lambda: tape._floor_us >= heard_us)  # what may be written is
    for number in (4, 6):
        tape.write(two, b"%d" % number, START_US + number)
    tape.closed(two, START_US + 6, "cut")
    tape.write(one, b"back", START_US - 5_000_000)
    tape.write(one, b"still", START_US - 4_000_000)
    tape.end()
    await running
    (path,) = files
    lines = list(read_recording(path))
    assert [line.raw for line in lines if isinstance(line, RecordedFrame)] == [
        b"1", b"3", b"4", b"5", b"6", b"7", b"back", b"still",
    ]  # fmt: skip
    assert lines[5] == ConnectionClosed(two)
    assert lines[-1] == RecordedFrame(b"still", START_US - 4_000_000, one)
    assert Counter(line.connection for line in lines) == {one: 6, two: 3}


async def test_who_brings_more_than_the_disk_takes_waits(tmp_path: Path) -> None:
    """Nothing is dropped: there is room again when it is written."""
    files: list[Path] = []
    tape = a_tape(tmp_path, TapeOptions(flush_bytes=1000, most_bytes=10_000), files)
    one = tape.opened(START_US, ["trade"])
    for _ in range(100):
        await asyncio.wait_for(tape.room(lambda: START_US), 5)
        tape.write(one, b"x" * 100, START_US)
    waiting = asyncio.create_task(tape.room(lambda: START_US))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    running = asyncio.create_task(tape.run(lambda: START_US))
    await asyncio.wait_for(waiting, 5)
    tape.end()
    await running
    (path,) = files
    assert len(list(read_frames(path))) == tape.frames == 100


async def test_a_disk_that_refuses_ends_the_tape(tmp_path: Path) -> None:
    """In its writer; whoever runs it hears of it."""
    (tmp_path / "file").write_text("")
    tape = a_tape(tmp_path / "file", TapeOptions())
    tape.write(tape.opened(START_US, ["trade"]), b"x", START_US)
    with pytest.raises(TapeError, match="cannot write below"):
        await ended(tape, lambda: START_US)
