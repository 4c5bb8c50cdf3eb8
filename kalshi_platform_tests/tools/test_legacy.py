"""Frames of whole cents, and messages kept under their channel: today's rows."""

import json
from pathlib import Path

import pytest

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.messages import decode
from kalshi_platform.core.records import DeltaRow, SnapshotRow, TickerRow, TradeRow
from kalshi_platform.tools.legacy import framed, modern
from kalshi_platform.tools.recordings import read_frames

TS = 1_760_000_000
ID = "0b0a4d3e-5f57-4c62-8d6f-0123456789ab"
LEGACY = {
    "orderbook_snapshot": {"market_ticker": "KXA", "yes": [[8, 300], [22, 333]], "no": [[54, 20]]},
    "orderbook_delta": {"market_ticker": "KXA", "price": 96, "delta": -54, "side": "yes", "ts": "2025-10-09T08:53:20Z"},
    "trade": {"trade_id": ID, "market_ticker": "KXA", "yes_price": 36, "no_price": 64, "count": 136,
              "taker_side": "no", "ts": TS},
    "ticker": {"market_ticker": "KXA", "price": 48, "yes_bid": 45, "yes_ask": 100, "volume": 33896,
               "open_interest": 20422, "dollar_volume": 16948, "dollar_open_interest": 10211, "ts": TS},
}  # fmt: skip


def rows(raw: bytes) -> list[object]:
    """What a frame becomes."""
    return list(Capture("g").record(decode(raw), (TS + 1) * 10**6))


def test_whole_cents_are_today_s_rows() -> None:
    """Every field exact, in micro-dollars and hundredths."""
    found = []
    for kind, body in LEGACY.items():
        found += rows(modern(json.dumps({"type": kind, "sid": 1, "seq": 7, "msg": body}).encode()))
    snapshot, delta, trade, ticker = found
    assert isinstance(snapshot, SnapshotRow)
    assert (snapshot.yes_prices, snapshot.yes_sizes) == ((80_000, 220_000), (30_000, 33_300))
    assert (snapshot.no_prices, snapshot.no_sizes) == ((540_000,), (2_000,))
    assert isinstance(delta, DeltaRow)
    assert (delta.price, delta.size_delta, delta.side) == (960_000, -5_400, True)
    assert isinstance(trade, TradeRow)
    assert (trade.price, trade.size, trade.taker_side, trade.exchange_ts) == (360_000, 13_600, False, TS * 10**6)
    assert isinstance(ticker, TickerRow)
    assert (ticker.last_price, ticker.yes_ask, ticker.volume) == (480_000, 1_000_000, 3_389_600)
    assert ticker.dollar_volume == 16_948


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type":"trade","sid":1,"seq":1,"msg":{"yes_price":36,"yes_price_dollars":"0.3600","count":1,"count_fp":"1.00"}}',
        b'{"type":"orderbook_delta","msg":{"price":"0.5"}}',
        b'{"type":"ticker","msg":null,"price":1}',
        b'{"price": nonsense',
        b"[]",
    ],
)
def test_all_else_is_left_as_it_is(raw: bytes) -> None:
    """Frames of the dual era have today's fields already; what is broken stays so, to be quarantined."""
    assert modern(raw) is raw


def test_messages_under_their_channel(tmp_path: Path) -> None:
    """A whole frame, its text, or only its body; the same rows as the frame itself, whatever its cents."""
    body = LEGACY["orderbook_delta"]
    frame = {"type": "orderbook_delta", "sid": 1, "seq": 1, "msg": body}
    messages = [frame, json.dumps(frame), body]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"channel": "orderbook_delta", "message": one}) + "\n" for one in messages))
    wanted = rows(modern(json.dumps(frame).encode()))
    assert [rows(one.raw) for one in read_frames(path)] == [wanted] * 3
    book = json.loads(framed("orderbook_delta", json.dumps(LEGACY["orderbook_snapshot"]).encode()))
    assert book["type"] == "orderbook_snapshot"
    assert json.loads(framed("ticker", b'{"market_ticker":"KXA"}'))["type"] == "ticker"
    assert framed("ticker", b"broken") == b"broken"
