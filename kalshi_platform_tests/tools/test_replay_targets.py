"""The same recording into database, lake, feed and socket: the same content everywhere."""

import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.records import Row
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.tools.children import platform_command
from kalshi_platform.tools.replay import Replay
from kalshi_platform.tools.replay_lake import LakeTarget
from kalshi_platform.tools.replay_targets import FeedTarget, ReplayReport, Target
from kalshi_platform.tools.tape_files import Line, TapeFiles, TapeOptions
from kalshi_platform_tests.queries import fetch

START_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def frames() -> Iterator[tuple[bytes, int]]:
    """A book, which is kept a second later and at three turns; changes, some equal within a millisecond; trades."""

    def frame(kind: str, seq: int, at_ms: int, **msg: object) -> tuple[bytes, int]:
        body = {"market_ticker": "KXA", "ts_ms": at_ms, **msg}
        return json.dumps({"type": kind, "sid": 1 + (kind == "trade"), "seq": seq, "msg": body}).encode(), at_ms

    yield frame("orderbook_snapshot", 1, START_MS, yes_dollars_fp=[["0.4000", "5.00"]])
    for number in range(300):
        at_ms = START_MS + number // 2 * HOUR_MS // 50
        yield frame("orderbook_delta", number + 2, at_ms, price_dollars="0.4000", delta_fp="1.25", side="yes")
    for number in range(20):
        trade_id = f"0b0a4d3e-5f57-4c62-8d6f-0123456789{number:02x}"
        yield frame("trade", number + 1, START_MS + number * 60_000, trade_id=trade_id, count_fp="2.50",
                    yes_price_dollars="0.4000", taker_outcome_side="no")  # fmt: skip


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A folder with a recording of several files, the last of them cut."""
    folder = tmp_path / "tape"
    tape = TapeFiles(folder, TapeOptions(rotate_seconds=HOUR_MS / 1000), START_MS * 1000, [])
    for raw, at_ms in sorted(frames(), key=lambda one: one[1]):
        tape.append([Line(at_ms * 1000, at_ms * 1000, 1, raw)], at_ms * 1000)
    tape.close((START_MS + 4 * HOUR_MS) * 1000)
    last = max(folder.iterdir())
    last.write_bytes(last.read_bytes() + b"\x28\xb5\x2f\xfd\x00")
    return folder


async def replay(target: str | Target, *paths: Path) -> ReplayReport:
    """Replay everything."""
    return await Replay(target, "g", HOUR_MS, lambda _path, _frames: None).run(list(paths))


async def test_lake_and_database_hold_the_same(tape: Path, tmp_path: Path, gatherer_database: str) -> None:
    """Every row in its hour or day, once although it was recorded twice; a partition that is there is left alone."""
    report = await replay(gatherer_database, tape)
    assert +report.new_rows == {"orderbook_deltas": 300, "trades": 20, "orderbook_snapshots": 5}
    lake = Lake(tmp_path / "lake")
    copy = tmp_path / "copy.ndjson"
    copy.write_text("".join(json.dumps({"recv_ms": ms, "event": json.loads(raw)}) + "\n" for raw, ms in frames()))
    found = await replay(LakeTarget(lake), tape, copy)
    assert found.new_rows == +report.new_rows
    assert found.rows["trades"] == 40
    held = [row for start in lake.starts(RAW["orderbook_deltas"])
            for row in pq.read_table(lake.path(RAW["orderbook_deltas"], start)).to_pylist()]  # fmt: skip
    wanted = await fetch(
        gatherer_database,
        "SELECT exchange_ts, ticker, side, price / 1e6 AS price, size_delta / 1e2 AS size_delta, occurrence, position, "
        "received_at FROM orderbook_deltas ORDER BY exchange_ts, position",
    )
    assert [{name: row[name] for name in wanted[0].keys()} for row in held] == [dict(row) for row in wanted]  # noqa: SIM118
    with pytest.raises(ConfigurationError, match="already, which a recording may know less of"):
        await replay(LakeTarget(lake), tape)
    assert (await replay(LakeTarget(lake, overwrite=True), tape)).new_rows == +report.new_rows


async def test_what_waits_for_the_lake_is_bounded(tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many hours a recording has, few rows of all of them together are in memory."""
    monkeypatch.setattr("kalshi_platform.tools.replay_lake._MOST_ROWS", 40)
    waiting = []

    class Watched(LakeTarget):
        def add(self, row: Row) -> None:
            super().add(row)
            waiting.append(sum(map(len, self._waiting.values())))

    report = await replay(Watched(Lake(tmp_path / "bounded")), tape)
    assert max(waiting) < 40
    assert report.new_rows["orderbook_deltas"] == 300


async def test_the_feed_is_for_people(tape: Path) -> None:
    """Dollars, contracts and times, each line with its table."""
    stream = io.StringIO()
    report = await replay(FeedTarget(stream), tape)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == report.rows.total() == 325
    trade = next(one for one in lines if one["table"] == "trades")
    assert (trade["price"], trade["size"], trade["taker_side"]) == ("0.4000", "2.50", False)
    assert trade["exchange_ts"] == "2026-09-21T14:13:20Z"
    book = next(one for one in lines if one["table"] == "orderbook_snapshots")
    assert (book["yes_prices"], book["yes_sizes"]) == (["0.4000"], ["5.00"])


@pytest.mark.slow
def test_a_recording_is_an_exchange(tape: Path) -> None:
    """The simulator plays the files as one tape, the cut one too; Ctrl-C ends it."""
    command = platform_command("replay", str(tape), "--to", "socket", "--port", "0", "--speed", "max")
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ), start_new_session=True
    )
    try:
        assert process.stderr is not None
        ready = json.loads(process.stderr.readline())
        assert (ready["event"], ready["markets"]) == ("ready", 1)
        assert json.loads(process.stderr.readline())["frames"] == 321
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
