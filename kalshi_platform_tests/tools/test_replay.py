"""Replay of the recorded tape through decode, capture and the writers into PostgreSQL."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.core.capture import HOUR_MS
from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.tools.replay import Replay, ReplayReport
from kalshi_platform_tests.queries import fetch


async def _replay(url: str, *paths: Path, gatherer_id: str = "gatherer-1") -> ReplayReport:
    return await Replay(url, gatherer_id, HOUR_MS, lambda _path, _frames: None).run(list(paths))


def _tape(folder: Path) -> Iterator[dict[str, Any]]:
    """The recorded frames, read without any code of ours."""
    for path in sorted(folder.rglob("*.ndjson.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                yield json.loads(line)["event"]


@pytest.mark.slow
async def test_nine_real_markets_are_kept_exactly(shared_data: Path, gatherer_database: str) -> None:
    """Every delta and trade of the tape is a row, though thousands share market, millisecond, side and price."""
    events = shared_data / "gold15m" / "events"
    report = await _replay(gatherer_database, events)
    sent = Counter(event["type"] for event in _tape(events))
    assert report.new_rows["orderbook_deltas"] == sent["orderbook_delta"] == 778_646
    assert report.new_rows["trades"] == sent["trade"] == 14_276
    assert (report.negative_levels, report.crossed_books, report.rejected) == (0, 0, Counter())

    content = Counter(
        (
            event["msg"]["ts_ms"], event["msg"]["market_ticker"], event["msg"]["side"] == "yes",
            round(float(event["msg"]["price_dollars"]) * 10**6), round(float(event["msg"]["delta_fp"]) * 100),
        )
        for event in _tape(events)
        if event["type"] == "orderbook_delta"
    )  # fmt: skip
    assert max(content.values()) > 1
    kept = await fetch(
        gatherer_database,
        "SELECT (extract(epoch FROM exchange_ts) * 1000)::bigint AS ms, ticker, side, price, size_delta, count(*) "
        "FROM orderbook_deltas GROUP BY 1, 2, 3, 4, 5",
    )
    assert {tuple(row)[:5]: row["count"] for row in kept} == content

    unmatched = await fetch(
        gatherer_database,
        "SELECT * FROM trades AS trade WHERE NOT is_block_trade AND NOT EXISTS (SELECT FROM orderbook_deltas AS delta "
        "WHERE delta.exchange_ts = trade.exchange_ts AND delta.ticker = trade.ticker "
        "AND delta.side <> trade.taker_side AND delta.size_delta = -trade.size "
        "AND delta.price = CASE WHEN trade.taker_side THEN 1000000 - trade.price "
        "ELSE trade.price END)",
    )
    assert unmatched == []

    again = await _replay(gatherer_database, events)
    assert again.rows == report.rows
    assert not any(again.new_rows.values())


async def test_raw_frames_of_other_recorders_are_kept(shared_data: Path, gatherer_database: str) -> None:
    """Frames of April 2026 without `ts_ms`, prices below a cent, and frames of the dual era."""
    report = await _replay(gatherer_database, *(shared_data / name for name in ("btc1h", "subpenny", "feb2026")))
    books = 13 + 9  # as sent, and those that changed as they were kept soon after
    assert report.new_rows == {"orderbook_deltas": 76, "orderbook_snapshots": books, "tickers": 10, "trades": 10}
    assert (report.negative_levels, report.crossed_books) == (0, 0)
    again = await _replay(gatherer_database, *(shared_data / name for name in ("btc1h", "subpenny", "feb2026")))
    assert not any(again.new_rows.values())


async def test_bad_frames_are_quarantined_and_the_stream_goes_on(tmp_path: Path, gatherer_database: str) -> None:
    """Each lands in `rejected_messages` with its reason; of an unknown type the first few, and a count of all."""

    def delta(seq: int, **changes: object) -> bytes:
        msg = {
            "market_ticker": "KXA", "price_dollars": "0.5000", "delta_fp": "1.00",
            "side": "yes", "ts_ms": 1786407333000,
        }  # fmt: skip
        return json.dumps({"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": {**msg, **changes}}).encode()

    unknown = b'{"type":"brand_new","sid":9,"msg":{"a":1}}'
    lines = [
        delta(1),
        delta(2, price_dollars="0.12345678"),
        delta(3, delta_fp="1.005"),
        delta(4)[:40],
        b"[]",
        *[unknown] * 50,
        b'{"type":"trade","sid":2,"seq":1,"msg":{"nul":"\\u0000"}}\x00',
        delta(5),
    ]
    path = tmp_path / "frames.ndjson"
    path.write_bytes(b"\n".join(lines))
    report = await _replay(gatherer_database, path)
    assert report.rejected == {
        "bad_price": 1, "bad_size": 1, "not_json": 2, "not_an_object": 1, "unknown_type": 50,
    }  # fmt: skip
    rows = await fetch(gatherer_database, "SELECT reason, detail, raw FROM rejected_messages")
    kept = Counter(row["reason"] for row in rows)
    assert kept == {"bad_price": 1, "bad_size": 1, "not_json": 2, "not_an_object": 1, "unknown_type": 1}
    assert {bytes(row["raw"]).rstrip(b"\n") for row in rows} == {*lines[1:5], unknown, lines[-2]}
    assert report.new_rows["orderbook_deltas"] == 2


async def test_our_older_tapes_go_on_over_a_rotation(tmp_path: Path, gatherer_database: str) -> None:
    """Their header named a connection: the second file has the books of the first, and no header is a frame.

    Without the book, the hour that turns in the second file would have no checkpoint of it.
    """
    book = {"market_ticker": "KXA", "yes_dollars_fp": [["0.4000", "5.00"]]}
    change = {"market_ticker": "KXA", "price_dollars": "0.4000", "delta_fp": "1.00", "side": "yes",
              "ts_ms": 1786410933000}  # fmt: skip
    for part, (kind, msg) in enumerate((("orderbook_snapshot", book), ("orderbook_delta", change)), start=1):
        header = {"recorder": {"connection": "20260810T000000.000000Z-7", "part": part, "channels": ["trade"]}}
        frame = json.dumps({"type": kind, "sid": 1, "seq": part, "msg": msg})
        line = {"recv_ts_ns": (1786407333 + part * 3600) * 10**9, "raw": frame}
        (tmp_path / f"20260810T000000.000000Z-7-{part:04d}.ndjson").write_text(
            f"{json.dumps(header)}\n{json.dumps(line)}"
        )
    report = await _replay(gatherer_database, tmp_path)
    assert (report.frames, report.files, +report.rejected) == (2, 2, Counter())
    books = await fetch(
        gatherer_database, "SELECT source, yes_sizes FROM orderbook_snapshots ORDER BY received_at, source DESC"
    )
    assert [(row["source"], list(row["yes_sizes"])) for row in books] == [("ws", [500]), ("checkpoint", [600])]


async def test_seq_and_gatherer_change_nothing(tmp_path: Path, new_gatherer_database: Callable[[], str]) -> None:
    """Two gatherers with other sequence numbers write the same keys."""
    keys = []
    for name, offset in (("gatherer-1", 0), ("gatherer-2", 5000)):
        path = tmp_path / f"{name}.ndjson"
        frames = (
            {"type": "orderbook_delta", "sid": 1, "seq": offset + seq, "msg": {
                "market_ticker": "KXA", "price_dollars": "0.5", "delta_fp": "1", "side": "no",
                "ts_ms": 1786407333000 + seq // 7}}
            for seq in range(1, 50)
        )  # fmt: skip
        path.write_text("\n".join(json.dumps(frame) for frame in frames))
        url = new_gatherer_database()
        await _replay(url, path, gatherer_id=name)
        columns = "exchange_ts, ticker, side, price, size_delta, occurrence, position"
        keys.append(await fetch(url, f"SELECT {columns} FROM orderbook_deltas ORDER BY {columns}"))  # noqa: S608
    assert keys[0] == keys[1]
    assert len(keys[0]) == 49


async def test_an_unreachable_database_ends_the_replay_in_plain_words(tmp_path: Path) -> None:
    """A replay does not wait for ever, as a gatherer would."""
    path = tmp_path / "one.ndjson"
    path.write_text('{"type":"ticker","sid":1,"msg":{"market_ticker":"K","ts_ms":1786407333000}}')
    with pytest.raises(IntegrityError, match="cannot write"):
        await asyncio.wait_for(_replay("postgresql://nobody@127.0.0.1:1/none", path), 60)
