"""Frames on disk: whole up to the last flush wherever the file is cut, and never written over."""

import gzip
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.tools.recordings import RecordedFrame, header_of, read_frames
from kalshi_platform.tools.tape import Tape, TapeError, TapeOptions
from kalshi_platform.tools.zstd_frames import whole_length

START_US = 1_790_000_000_000_000
SECOND = 1_000_000


def frames(count: int) -> list[RecordedFrame]:
    """Frames with awkward text, a millisecond apart."""
    return [
        RecordedFrame(f'{{"type":"trade","sid":1,"n":{number},"t":"é\\n\\u0000"}}\n'.encode(), START_US + number * 1000)
        for number in range(count)
    ]


def recorded(folder: Path, count: int, options: TapeOptions) -> list[Path]:
    """The files of a tape of so many frames."""
    files: list[Path] = []
    tape = Tape(folder, options, START_US, ["trade"], files.append)
    for frame in frames(count):
        assert frame.received_us is not None
        tape.write(frame.raw, frame.received_us)
        tape.tick(frame.received_us)
    tape.close(START_US + count * 1000)
    return files


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    """Text and stamp, over as many files as rotation makes; each says which part it is."""
    files = recorded(tmp_path, 500, TapeOptions(flush_seconds=0.01, rotate_seconds=0.1))
    assert len(files) > 3
    assert [frame for path in files for frame in read_frames(path)] == frames(500)
    headers = [header_of(path) for path in files]
    assert [header.part for header in headers if header] == list(range(1, len(files) + 1))
    assert len({header.connection for header in headers if header}) == 1
    assert sorted(files) == files, "names sort as time does"


def test_rotation_by_size(tmp_path: Path) -> None:
    """A file ends with the flush that makes it large enough."""
    files = recorded(tmp_path, 500, TapeOptions(flush_bytes=1000, rotate_bytes=2000))
    assert len(files) > 3
    assert [frame for path in files for frame in read_frames(path)] == frames(500)


def test_a_file_cut_anywhere_is_whole_up_to_a_flush(tmp_path: Path) -> None:
    """At every single byte: some first frames, all of them right, and at most one flush less than there was."""
    (path,) = recorded(tmp_path, 30, TapeOptions(flush_seconds=0.01))
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
