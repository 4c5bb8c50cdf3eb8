"""Recorded frames as people keep them, read by the simulator's own reader."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from kalshi_platform.simulator.recording import RecordingError, find_recordings, read_recording, read_recordings

_DELTA = {
    "market_ticker": "KXA-1", "price_dollars": "0.4900", "delta_fp": "0.10", "side": "no",
    "ts": "2026-08-11T00:15:33.463921Z", "ts_ms": 1_786_407_333_463, "unknown_field": 1,
}  # fmt: skip
_FRAME = {"type": "orderbook_delta", "sid": 1, "seq": 12, "msg": _DELTA}
_SNAPSHOT = {"type": "orderbook_snapshot", "sid": 1, "seq": 1, "msg": {"market_ticker": "KXA-1"}}


def _lines(*lines: object) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _write(path: Path, content: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    elif path.suffix == ".zst":
        with pa.output_stream(path, compression="zstd") as file:
            file.write(content)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["tape.ndjson", "tape.jsonl.gz", "tape.ndjson.zst"])
def test_every_packing_and_envelope(tmp_path: Path, name: str) -> None:
    """Objects, texts and bare frames; the message stays as it was, answers to commands are left out."""
    content = _lines(
        {"recv_ms": 1000, "event": _FRAME},
        {"recv_ts_ns": 2_000_000_000, "raw": json.dumps(_FRAME) + "\n"},
        {"recv_ms": 2500, "event": {"type": "ok", "sid": 1, "seq": 3, "msg": {"market_tickers": ["KXA-1"]}}},
        _FRAME,
    )
    frames = list(read_recording(_write(tmp_path / name, content + b"\n\n")))
    assert [frame.at_ms for frame in frames] == [1000, 2000, 1_786_407_333_463]
    assert {(frame.type, frame.ticker) for frame in frames} == {("orderbook_delta", "KXA-1")}
    assert all(json.loads(frame.message) == _DELTA for frame in frames)


def test_frames_without_a_time_take_a_neighbours(tmp_path: Path) -> None:
    """Snapshots carry none: the first take the first time there is, later ones the last; time never runs back."""
    early = {**_FRAME, "msg": {**_DELTA, "ts_ms": None, "ts": "2026-08-11T00:15:33.4Z"}}
    path = _write(tmp_path / "tape.ndjson", _lines(_SNAPSHOT, _FRAME, _SNAPSHOT, early))
    assert [frame.at_ms % 100_000 for frame in read_recording(path)] == [33_463] * 4


def test_several_files_are_one_history(tmp_path: Path) -> None:
    """By time of receiving, whatever file a frame lies in."""
    (tmp_path / "deep").mkdir()
    for name, times in (("a.ndjson", (10, 30)), ("deep/b.jsonl", (20, 40))):
        _write(tmp_path / name, _lines(*({"recv_ms": one, "event": _FRAME} for one in times)))
    (tmp_path / "notes.txt").write_text("no recording")
    files = find_recordings(tmp_path)
    assert [file.name for file in files] == ["a.ndjson", "b.jsonl"]
    assert [frame.at_ms for frame in read_recordings(files)] == [10, 20, 30, 40]


def test_what_cannot_be_served_is_named(tmp_path: Path) -> None:
    """Which file, which line, and what to do."""
    with pytest.raises(RecordingError, match=r"nowhere\.ndjson does not exist"):
        find_recordings(tmp_path / "nowhere.ndjson")
    with pytest.raises(RecordingError, match="holds no recording"):
        find_recordings(tmp_path)
    broken = _write(tmp_path / "broken.ndjson", _lines({"recv_ms": 1, "event": _FRAME}) + b"{nonsense\n")
    with pytest.raises(RecordingError, match=r"broken\.ndjson, line 2, is no recorded frame"):
        list(read_recording(broken))
    for packed in ("gz", "zst"):
        torn = tmp_path / f"torn.ndjson.{packed}"
        torn.write_bytes(b"not packed at all")
        with pytest.raises(RecordingError, match="cannot read"):
            list(read_recording(torn))
    cut = _write(tmp_path / "cut.ndjson.gz", _lines(*[{"recv_ms": 1, "event": _FRAME}] * 500))
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(RecordingError, match="cannot read"):
        list(read_recording(cut))
    timeless = _write(tmp_path / "timeless.ndjson", _lines(_SNAPSHOT))
    with pytest.raises(RecordingError, match="says nowhere when"):
        list(read_recording(timeless))
