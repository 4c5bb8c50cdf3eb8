"""Frames become rows, books and checkpoints."""

import gc
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.errors import FrameRejected, Reason
from kalshi_platform.core.messages import decode, envelope
from kalshi_platform.core.occurrences import Occurrences
from kalshi_platform.core.records import DeltaRow, SnapshotRow, TickerRow, TradeRow
from kalshi_platform_tests.core.frames import NOW, T0, delta, frame, record, snapshot


def test_equal_deltas_of_one_millisecond_are_all_kept_apart() -> None:
    """Occurrence counts equal deltas, position all of the market's; both begin anew with the millisecond."""
    capture = Capture("g")
    rows = record(capture, delta(1, T0), delta(2, T0), delta(3, T0, change="2.00"), delta(4, T0), delta(5, T0 + 1))
    assert [(row.occurrence, row.position) for row in rows if isinstance(row, DeltaRow)] == [
        (0, 0), (1, 1), (0, 2), (2, 3), (0, 0),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["0.10", "0.20"]), st.booleans()), max_size=60))
def test_two_streams_agree_on_every_key(changes: list[tuple[int, str, bool]]) -> None:
    """`seq` differs between gatherers, the key does not, and no two rows share one."""
    keys = []
    for first_seq in (1, 1000):
        capture = Capture("g")
        ms, frames = T0, []
        for number, (step, price, side) in enumerate(changes):
            ms += step
            frames.append(delta(first_seq + number, ms, price, side="yes" if side else "no"))
        keys.append([row[:6] for row in record(capture, *frames)])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == len(changes)


def test_a_lossy_stream_invents_nothing() -> None:
    """The union of two streams that each lost frames holds what anybody saw, and nothing else."""
    everything = [delta(seq, T0, change=f"{seq % 3}.00") for seq in range(1, 31)]
    lossy = [
        record(Capture("g"), *(raw for number, raw in enumerate(everything) if number % 5 != skip)) for skip in (1, 3)
    ]
    whole = record(Capture("g"), *everything)
    union = {row[:6] for rows in lossy for row in rows}
    assert union <= {row[:6] for row in whole}
    best = Counter[tuple[object, ...]]()
    for rows in lossy:
        best |= Counter(row[:5] for row in rows)
    assert Counter(key[:5] for key in union) == best


def test_a_market_that_leaves_is_forgotten_after_the_checkpoint_of_its_end() -> None:
    """Else the lake would show its last book for ever, or the gatherer remember it for ever."""
    capture = Capture("g", checkpoint_ms=1000)
    record(capture, snapshot(1, T0 + 100, yes_dollars_fp=[["0.40", "1.00"]]), snapshot(2, T0 + 1500))
    capture.retire("KXA")
    assert capture.book("KXA") is not None
    (end,) = capture.checkpoints(T0 + 2000, NOW) or capture.checkpoints(T0 + 2001, NOW)
    assert (end.snapshot_ts, end.yes_prices) == ((T0 + 2000) * 1000, ())
    assert capture.book("KXA") is None
    capture.retire("KXA")


def test_a_market_that_lives_on_elsewhere_is_not_checkpointed_where_it_left() -> None:
    """What changes there is not heard here any more: the old book at the next boundary would be a wrong one."""
    capture = Capture("g", checkpoint_ms=1000)
    record(capture, snapshot(1, T0 + 100))
    capture.retire("KXA", lives_on=True)
    assert record(capture, delta(2, T0 + 300))
    assert capture.checkpoints(T0 + 9000, NOW) == []
    assert capture.checkpoints(T0 + 9000, NOW) == []
    assert capture.book("KXA") is None
    assert not capture.untrusted


def test_a_change_after_the_end_of_a_leaving_market_harms_nobody() -> None:
    """What is still on its way when the market is left makes a row and no trouble."""
    capture = Capture("g", checkpoint_ms=1000)
    record(capture, snapshot(1, T0 + 100))
    capture.retire("KXA")
    rows = record(capture, delta(2, T0 + 1001))
    assert [type(row) for row in rows] == [SnapshotRow, DeltaRow]
    assert [row.snapshot_ts for row in capture.checkpoints(T0 + 9000, NOW)] == [(T0 + 2000) * 1000]
    assert capture.checkpoints(T0 + 9000, NOW) == []
    assert capture.book("KXA") is None


def test_a_market_that_comes_back_stays() -> None:
    """Followed again before it was forgotten."""
    capture = Capture("g", checkpoint_ms=1000)
    record(capture, snapshot(1, T0 + 100))
    capture.retire("KXA")
    record(capture, snapshot(2, T0 + 200))
    capture.checkpoints(T0 + 1000, NOW)
    assert capture.book("KXA") is not None


def test_a_negative_level_is_an_alarm_and_no_clamp() -> None:
    """The delta is recorded as sent, the book is not believed any more."""
    capture = Capture("g")
    rows = record(capture, snapshot(1, T0), delta(2, T0 + 1, change="-1.00"))
    assert isinstance(rows[1], DeltaRow)
    assert capture.counts.negative_levels == 1
    assert capture.book("KXA") is None


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"price": "0.12345678"}, Reason.BAD_PRICE),
        ({"change": "1.005"}, Reason.BAD_SIZE),
        ({"side": "maybe"}, Reason.BAD_SIDE),
    ],
)
def test_a_value_that_does_not_fit_is_rejected_and_its_book_distrusted(bad: dict[str, str], reason: Reason) -> None:
    """The stream goes on, the market waits for a snapshot."""
    capture = Capture("g")
    record(capture, snapshot(1, T0))
    with pytest.raises(FrameRejected) as caught:
        record(capture, delta(2, T0, **bad))
    assert caught.value.reason is reason
    assert capture.untrusted == {"KXA"}
    record(capture, snapshot(3, T0 + 5), delta(4, T0 + 6))
    book = capture.book("KXA")
    assert book is not None
    assert book.yes == {500_000: 100}


@pytest.mark.parametrize("ms", [0, T0 * 1000, 1_500_000_000_000])
def test_a_time_that_no_clock_shows_is_rejected(ms: int) -> None:
    """Before the exchange opened, or days after the receipt."""
    with pytest.raises(FrameRejected) as caught:
        record(Capture("g"), delta(1, ms))
    assert caught.value.reason is Reason.BAD_TIME


def test_an_undecodable_delta_costs_its_market_s_book() -> None:
    """What was missed is at least known to be missed."""
    capture = Capture("g")
    record(capture, snapshot(1, T0), snapshot(2, T0, ticker="KXB"))
    capture.missed(envelope(b'{"type":"orderbook_delta","sid":1,"seq":3,"msg":{"market_ticker":"KXB"}}'))
    assert capture.untrusted == {"KXB"}
    capture.missed(envelope(b'{"type":"orderbook_delta","sid":1,"seq":4}'))
    assert capture.untrusted == {"KXA", "KXB"}


def test_old_deltas_have_their_time_from_ts() -> None:
    """Before April 2026 only `ts` was sent; whole milliseconds of it are the time."""
    raw = frame("orderbook_delta", 1, price_dollars="0.5", delta_fp="1", side="no", ts="2026-04-18T05:34:13.4606Z")
    (row,) = Capture("g").record(decode(raw), NOW)
    assert isinstance(row, DeltaRow)
    assert row.exchange_ts % 1_000_000 == 460_000


def test_a_trade_s_taker_may_be_named_in_three_ways_or_not_at_all() -> None:
    """`taker_side` is deprecated and may vanish (kalshi-pitfalls.md 16)."""
    base = {
        "trade_id": "8b1d1111-0000-0000-0000-000000000000",
        "yes_price_dollars": "0.36",
        "count_fp": "2.50",
        "ts_ms": T0,
    }
    ways = [{"taker_outcome_side": "no", "taker_side": "yes"}, {"taker_book_side": "bid"}, {"taker_side": "no"}, {}]
    rows = [Capture("g").record(decode(frame("trade", 1, **base, **way)), NOW)[0] for way in ways]
    assert [row.taker_side for row in rows if isinstance(row, TradeRow)] == [False, True, False, None]


def test_a_flickering_quote_is_kept_as_often_as_it_came() -> None:
    """There and back within one millisecond are three updates, not two."""
    capture = Capture("g")
    frames = [
        json.dumps({"type": "ticker", "sid": 2, "msg": {"market_ticker": "KXA", "yes_bid_dollars": bid, "ts_ms": T0}})
        for bid in ("0.10", "0.11", "0.10")
    ]
    rows = record(capture, *(raw.encode() for raw in frames))
    assert len({row.digest for row in rows if isinstance(row, TickerRow)}) == 3
    again = record(Capture("other"), *(raw.encode() for raw in frames))
    assert [row.digest for row in again if isinstance(row, TickerRow)] == [
        row.digest for row in rows if isinstance(row, TickerRow)
    ]


def test_tickers_that_fell_silent_are_forgotten() -> None:
    """Markets come by the ten thousand a day, and connections live for weeks; who is heard on is counted on."""
    gc.collect()
    capture, before = Capture("g"), _occurrences()
    digests = set()
    for minute in range(20):
        at = T0 + minute * 60_000
        for number in range(100):
            record(capture, _quote(f"KX{minute}-{number}", at))
        record(capture, _quote("KXA", at))
        capture.checkpoints(at, NOW)
        (row,) = record(capture, _quote("KXA", at))
        assert isinstance(row, TickerRow)
        digests.add(row.digest)
    assert len(digests) == 1
    assert _occurrences() - before < 500


def _quote(ticker: str, ms: int) -> bytes:
    return json.dumps({"type": "ticker", "sid": 2, "msg": {"market_ticker": ticker, "ts_ms": ms}}).encode()


def _occurrences() -> int:
    return sum(isinstance(one, Occurrences) for one in gc.get_objects())


@pytest.mark.parametrize("ticker", ["", "K\x00", "K\ud800", "ü", "K" * 500])
def test_a_ticker_that_no_database_could_hold_is_rejected(ticker: str) -> None:
    """Tickers are short printable ASCII."""
    with pytest.raises(FrameRejected) as caught:
        record(Capture("g"), delta(1, T0, market_ticker=ticker))
    assert caught.value.reason in {Reason.BAD_TICKER, Reason.NOT_JSON}
