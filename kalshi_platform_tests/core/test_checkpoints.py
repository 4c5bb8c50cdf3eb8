"""When a book is kept, and that what is kept is true."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.messages import decode
from kalshi_platform.core.records import DeltaRow, Row, SnapshotRow
from kalshi_platform_tests.core.frames import NOW, T0, delta, record, snapshot


def test_a_checkpoint_holds_every_change_before_its_moment_and_none_after() -> None:
    """The change that crosses the boundary comes after the checkpoint that it ends."""
    capture = Capture("g", checkpoint_ms=1000)
    rows = record(
        capture,
        snapshot(1, T0 + 100, yes_dollars_fp=[["0.40", "1.00"]]),
        delta(2, T0 + 999, "0.41"),
        delta(3, T0 + 1000, "0.42"),
    )
    checkpoint = rows[2]
    assert isinstance(checkpoint, SnapshotRow)
    assert (checkpoint.snapshot_ts, checkpoint.source, checkpoint.gatherer_id) == ((T0 + 1000) * 1000, "checkpoint", "")
    assert checkpoint.yes_prices == (400_000, 410_000)
    assert isinstance(rows[3], DeltaRow)


def test_quiet_markets_are_checkpointed_by_the_sweep() -> None:
    """A market without news gets its checkpoint once the boundary has settled, and only one."""
    capture = Capture("g", checkpoint_ms=1000)
    record(capture, snapshot(1, T0 + 100), snapshot(2, T0 + 1500, ticker="KXB"))
    assert capture.checkpoints(T0 + 999, NOW) == []
    assert [row.ticker for row in capture.checkpoints(T0 + 1000, NOW)] == ["KXA"]
    assert [row.ticker for row in capture.checkpoints(T0 + 9000, NOW)] == ["KXB"]
    assert capture.checkpoints(T0 + 99_000, NOW) == []


def test_a_market_of_a_quarter_of_an_hour_has_checkpoints_of_its_own() -> None:
    """It never sees an hour's turn: one stands soon after its first book, one after the exchange emptied it."""
    capture = Capture("g")
    rows = record(
        capture,
        snapshot(1, T0 + 300, yes_dollars_fp=[["0.40", "1.00"]]),
        delta(2, T0 + 1999, "0.41"),
        delta(3, T0 + 2000, "0.42"),
        delta(4, T0 + 899_000, "0.43"),
        snapshot(5, T0 + 900_100),
        snapshot(6, T0 + 900_200),
    )
    rows += capture.checkpoints(T0 + 902_000, NOW)
    kept = [row for row in rows if isinstance(row, SnapshotRow) and row.source == "checkpoint"]
    assert [(row.snapshot_ts, row.yes_prices) for row in kept] == [
        ((T0 + 2000) * 1000, (400_000, 410_000)), ((T0 + 902_000) * 1000, ()),
    ]  # fmt: skip
    assert capture.checkpoints(T0 + 9_000_000, NOW) == []


def test_a_book_that_only_came_waits_for_the_hour() -> None:
    """A million quiet markets are not written twice when a gatherer starts; nor is a book that is sent once more."""
    capture = Capture("g")
    levels = {"yes_dollars_fp": [["0.40", "1.00"]]}
    rows = record(capture, snapshot(1, T0 + 300, **levels))
    assert capture.checkpoints(T0 + 9_000, NOW) == []
    rows += record(capture, snapshot(2, T0 + 10_000, **levels))
    assert capture.checkpoints(T0 + 3_599_999, NOW) == []
    assert [row.snapshot_ts for row in capture.checkpoints(T0 + 3_600_000, NOW)] == [(T0 + 3_600_000) * 1000]
    rows += record(capture, delta(3, T0 + 3_600_001))
    assert [type(row) for row in rows] == [SnapshotRow, SnapshotRow, DeltaRow]


@pytest.mark.parametrize("is_swept", [True, False])
@pytest.mark.parametrize(("changed", "kept"), [(1_999_000, 2_000), (3_600_000, 3_600_000), (7_300_000, 3_600_000)])
def test_the_first_change_writes_the_checkpoint_that_waited(changed: int, kept: int, *, is_swept: bool) -> None:
    """A market that was quiet at first has one of its own, without the change; a replay without sweeps has the same."""
    capture = Capture("g")
    levels = {"yes_dollars_fp": [["0.40", "1.00"]]}
    record(capture, snapshot(1, T0 + 300, **levels))
    assert not is_swept or capture.checkpoints(T0 + 9_000, NOW) == []
    record(capture, snapshot(2, T0 + 10_000, **levels))
    checkpoint, change = record(capture, delta(3, T0 + changed, "0.41"))
    assert isinstance(checkpoint, SnapshotRow)
    assert (checkpoint.snapshot_ts, checkpoint.yes_prices) == ((T0 + kept) * 1000, (400_000,))
    assert isinstance(change, DeltaRow)


@pytest.mark.parametrize("says_when", [True, False])
def test_a_market_that_never_changes_has_a_checkpoint_before_it_is_emptied(*, says_when: bool) -> None:
    """All of its life was heard."""
    capture = Capture("g")
    (first,) = capture.record(
        decode(snapshot(1, T0 + 300 if says_when else None, yes_dollars_fp=[["0.40", "1.00"]])), (T0 + 300) * 1000
    )
    assert capture.checkpoints(T0 + 800_000, NOW) == []
    rows = [
        first, *capture.record(decode(snapshot(2, T0 + 900_100 if says_when else None)), (T0 + 900_100) * 1000),
        *capture.checkpoints(T0 + 902_000, NOW),
    ]  # fmt: skip
    kept = [(row.source, row.snapshot_ts // 1000 - T0, row.yes_prices) for row in rows if isinstance(row, SnapshotRow)]
    assert kept == [
        ("ws", 300, (400_000,)), ("checkpoint", 2_000 if says_when else 7_000, (400_000,)), ("ws", 900_100, ()),
        ("checkpoint", 902_000, ()),
    ]  # fmt: skip


def test_a_change_that_comes_after_the_sweep_is_in_the_checkpoint_that_waited() -> None:
    """It is stamped before; and a book that came to be doubted meanwhile is in none."""
    capture = Capture("g")
    for ticker in ("KXA", "KXB"):
        record(capture, snapshot(1, T0 + 300, ticker, yes_dollars_fp=[["0.40", "1.00"]]))
    assert capture.checkpoints(T0 + 9_000, NOW) == []
    capture.distrust("KXB")
    late, checkpoint, _ = record(capture, delta(2, T0 + 1_999, "0.41"), delta(3, T0 + 9_500, "0.42"))
    assert isinstance(late, DeltaRow)
    assert isinstance(checkpoint, SnapshotRow)
    assert (checkpoint.snapshot_ts, checkpoint.yes_prices) == ((T0 + 2_000) * 1000, (400_000, 410_000))
    assert capture.counts.late_deltas == 0
    healed = snapshot(4, T0 + 20_000, "KXB", yes_dollars_fp=[["0.43", "1.00"]])
    rows = record(capture, healed, delta(5, T0 + 30_000, market_ticker="KXB"))
    assert [row.snapshot_ts // 1000 - T0 for row in rows if isinstance(row, SnapshotRow)] == [20_000, 22_000]


@given(
    st.lists(st.tuples(st.integers(0, 700), st.sampled_from(["0.10", "0.20"]), st.booleans()), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 900)), min_size=1, max_size=3),
    st.none() | st.integers(-5_000, 5_000),
    st.sampled_from(["new", "gap", "again"]),
)
def test_whenever_somebody_begins_to_listen_checkpoints_are_true(
    changes: list[tuple[int, str, bool]], listeners: list[tuple[int, int]], clock: int | None, why: str
) -> None:
    """Each is what all changes before its moment make, however late the book comes, and swept before some changes.

    The book comes to a new listener, after a gap, or once more; and may say when it was sent, or a wrong clock must.
    """
    stamped, sweeps, ms = [], [], T0
    for step, price, is_swept in changes:
        ms += step
        stamped.append((ms, price))
        sweeps.append(is_swept)
    capture, rows = Capture("g"), list[Row]()
    for place, late in sorted(listeners):
        book = Counter(price for _, price in stamped[:place])
        sent = (stamped[:place] or [(T0, "")])[-1][0] + late
        sides = {"yes_dollars_fp": [[price, f"{count}.00"] for price, count in sorted(book.items())]}
        capture = Capture("g") if why == "new" else capture
        if why == "gap":
            capture.distrust()
        rows += capture.record(
            decode(snapshot(1, sent if clock is None else None, **sides)), (sent + (clock or 0)) * 1000
        )
        until = len(stamped) if why == "new" else min([at for at, _ in listeners if at > place], default=len(stamped))
        for (at, price), is_swept in list(zip(stamped, sweeps, strict=True))[place:until]:
            rows += capture.checkpoints(at, NOW) if is_swept else []
            rows += record(capture, delta(2, at, price))
        if why == "new":
            rows += capture.checkpoints(ms + 20_000, NOW)
        soon = (sent // 1000 + 2) * 1000
        if clock is None and why == "new" and stamped[place:] and ms >= soon:
            assert soon * 1000 in [row.snapshot_ts for row in rows if isinstance(row, SnapshotRow)]
    for row in [*rows, *capture.checkpoints(ms + 20_000, NOW)]:
        if isinstance(row, SnapshotRow) and row.source == "checkpoint":
            true = Counter(price for at, price in stamped if at * 1000 < row.snapshot_ts)
            assert row.yes_sizes == tuple(100 * count for _, count in sorted(true.items()))


def test_a_book_that_does_not_say_when_it_was_sent_is_kept_when_every_clock_agrees() -> None:
    """By a clock that is three seconds slow it came before changes that it holds, and before the hour's turn."""
    for came in (T0 + 802_300, T0 + 3_598_000):
        capture = Capture("g")
        capture.record(decode(snapshot(1, None, yes_dollars_fp=[["0.40", "1.00"]])), came * 1000)
        rows = [*record(capture, delta(2, came + 9_000)), *capture.checkpoints(T0 + 9_000_000, NOW)]
        kept = [row.snapshot_ts // 1000 for row in rows if isinstance(row, SnapshotRow)]
        assert kept
        assert min(kept) > came + 5_000


def test_a_book_that_became_known_late_waits_for_the_next_boundary() -> None:
    """A snapshot taken after the boundary says nothing of the book at the boundary."""
    capture = Capture("g", checkpoint_ms=1000)
    record(capture, snapshot(1, T0 + 100))
    capture.distrust()
    record(capture, delta(2, T0 + 900), snapshot(3, T0 + 1000))
    assert capture.checkpoints(T0 + 1500, NOW) == []
    assert [row.snapshot_ts for row in capture.checkpoints(T0 + 2000, NOW)] == [(T0 + 2000) * 1000]


def test_a_fresh_snapshot_does_not_swallow_the_checkpoint_that_is_due() -> None:
    """The book that it replaces was certain at the boundary."""
    capture = Capture("g", checkpoint_ms=1000)
    record(capture, snapshot(1, T0 + 100, yes_dollars_fp=[["0.40", "1.00"]]))
    rows = record(capture, snapshot(2, T0 + 1500))
    assert [(row.source, row.yes_prices) for row in rows if isinstance(row, SnapshotRow)] == [
        ("checkpoint", (400_000,)), ("ws", ()),
    ]  # fmt: skip


def test_an_hour_s_turn_comes_in_pieces() -> None:
    """However many markets are due, the stream is not held up."""
    capture = Capture("g", checkpoint_ms=1000)
    for number in range(25):
        record(capture, snapshot(number + 1, T0 + 100, ticker=f"KX{number}"))
    pieces = [capture.checkpoints(T0 + 1000, NOW, most=10) for _ in range(4)]
    assert [len(piece) for piece in pieces] == [10, 10, 5, 0]
    assert len({row.ticker for piece in pieces for row in piece}) == 25


def test_a_book_in_doubt_is_not_checkpointed() -> None:
    """Rather no checkpoint than a wrong one."""
    capture = Capture("g", checkpoint_ms=1000)
    record(capture, snapshot(1, T0 + 100), delta(2, T0 + 200))
    capture.distrust("KXA")
    assert capture.checkpoints(T0 + 5000, NOW) == []
    assert capture.untrusted == {"KXA"}
