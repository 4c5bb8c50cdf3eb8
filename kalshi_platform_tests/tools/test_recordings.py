"""Reading recordings."""

import gzip
import json
from pathlib import Path

import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.tools.recordings import (
    Header,
    RecordedFrame,
    find_recordings,
    first_stamp,
    header_of,
    read_frames,
    read_recording,
    stamp_of,
)


def test_three_forms_of_lines_are_understood(tmp_path: Path) -> None:
    """A frame as an object, a frame as text, a bare frame; blank lines are skipped, broken ones kept."""
    path = tmp_path / "frames.ndjson.gz"
    lines = [
        b'{"recv_ms":1786407333443,"event":{"type":"trade","sid":1}}',
        b'{"recv_ts_ns": 1776490453460692123, "raw": "{\\"type\\":\\"ok\\"}\\n"}',
        b"",
        b'{"type":"ticker","msg":{"ts_ms":1786407333000}}',
        b'{"type":"trade","msg":{"ts":1770897981}}',
        b"half a fr",
    ]
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    frames = list(read_frames(path))
    assert frames == [
        RecordedFrame(b'{"type":"trade","sid":1}', 1_786_407_333_443_000),
        RecordedFrame(b'{"type":"ok"}\n', 1_776_490_453_460_692),
        RecordedFrame(lines[3] + b"\n", None),
        RecordedFrame(lines[4] + b"\n", None),
        RecordedFrame(lines[5], None),
    ]
    assert [stamp_of(frame) for frame in frames[2:]] == [1_786_407_333_000_000, 1_770_897_981_000_000, None]


def test_a_missing_receive_time_is_the_first_time_that_the_file_shows(tmp_path: Path) -> None:
    """So that a second replay gives the same rows."""
    path = tmp_path / "bare.jsonl"
    path.write_bytes(
        b'{"type":"orderbook_snapshot","msg":{}}\n{"type":"orderbook_delta","msg":{"ts_ms":1786407333000}}\n'
    )
    assert first_stamp(path) == 1_786_407_333_000_000


def test_paths_that_hold_nothing_are_named(tmp_path: Path) -> None:
    """A person sees which path is wrong, and what a recording is called."""
    with pytest.raises(ConfigurationError, match="holds no recording: a file that ends in"):
        find_recordings([tmp_path])
    with pytest.raises(ConfigurationError, match="absent does not exist"):
        find_recordings([tmp_path / "absent"])
    broken = tmp_path / "broken.ndjson.gz"
    broken.write_bytes(gzip.compress(b'{"type":"ok"}\n' * 100)[:-20])
    with pytest.raises(ConfigurationError, match="cannot read"):
        list(read_frames(broken))


def test_the_header_of_our_older_tapes(tmp_path: Path) -> None:
    """Each connection was a recording by itself, and the header named it so; it is no frame."""
    path = tmp_path / "older.ndjson"
    path.write_text('{"recorder":{"connection":"20260810T000000Z-7","part":2,"channels":["trade"]}}\n')
    assert header_of(path) == Header("20260810T000000Z-7", 2, ["trade"])
    assert list(read_frames(path)) == []


@pytest.mark.parametrize(
    "others",
    [
        {"connection": "ws-1"}, {"connection": None}, {"connection": {"id": 3}}, {"connection": True},
        {"opened": "2026-08-10"}, {"opened": ["book"]}, {"closed": False}, {"closed": "no"}, {"recorder": "mine 1.0"},
        {"recorder": {"recording": 5, "part": 1}},
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "form", [{"recv_ts_ns": 1786407333443000000, "raw": '{"type":"ok"}'}, {"recv_ms": 1786407333443, "event": {}}]
)
def test_names_of_ours_mean_nothing_in_envelopes_of_others(
    tmp_path: Path, form: dict[str, object], others: dict[str, object]
) -> None:
    """The frame is read with its time, over the one connection that a recording of others has."""
    path = tmp_path / "others.ndjson"
    path.write_text(json.dumps({**form, **others}))
    raw = b'{"type":"ok"}' if "raw" in form else b"{}"
    assert list(read_recording(path)) == [RecordedFrame(raw, 1_786_407_333_443_000)]
    assert header_of(path) is None


def test_what_is_neither_a_frame_nor_ours_comes_as_it_is(tmp_path: Path) -> None:
    """To be quarantined: also what is nested deeper than anybody reads."""
    path = tmp_path / "odd.ndjson"
    lines = [b'{"closed":"x"}', b'{"opened":["x"],"connection":1}', b'{"recorder":{"part":1}}',
             b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"]  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    assert [line.raw.rstrip() for line in read_recording(path) if isinstance(line, RecordedFrame)] == lines
    assert first_stamp(path) is None
    path.write_bytes(lines[-1])
    assert header_of(path) is None
    deep = '{"price":' + "[" * 100_000
    path.write_text(json.dumps({"recv_ts_ns": 1786407333443000000, "raw": deep}))
    assert list(read_frames(path)) == [RecordedFrame(deep.encode(), 1_786_407_333_443_000)]
