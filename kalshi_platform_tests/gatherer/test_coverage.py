"""What one connection heard and missed, as rows."""

from kalshi_platform.core.records import GapRow, SessionRow
from kalshi_platform.gatherer.coverage import Cause, Coverage, Cure, End, Hole

BOOK = "orderbook_delta"


class Record:
    """Rows by key: as the database has them after upserts."""

    def __init__(self) -> None:
        self.gaps: dict[tuple[object, ...], GapRow] = {}
        self.sessions: dict[tuple[object, ...], SessionRow] = {}
        self.coverage = Coverage("g", "orderbook-1", self.add)

    def add(self, row: GapRow | SessionRow) -> None:
        """A later version replaces the earlier one."""
        if isinstance(row, GapRow):
            self.gaps[row[:10]] = row
        else:
            self.sessions[row[:5]] = row

    def ends(self) -> dict[str, tuple[int, int | None, str | None]]:
        """Start, end and its reason by ticker; of the latest session."""
        return {row.ticker: (row.started_at, row.ended_at, row.ended_by) for row in self.sessions.values()}


def listening(*tickers: str) -> Record:
    """A connection whose books came at 1, 2, 3 and so on."""
    record = Record()
    record.coverage.subscribed(BOOK, 1)
    for at, ticker in enumerate(tickers, 1):
        record.coverage.listening(BOOK, ticker, at)
        record.coverage.last_us = at
    return record


def test_a_session_stands_while_it_lasts_and_ends_once() -> None:
    """A crash leaves it open, not absent."""
    record = listening("A", "B")
    assert record.ends() == {"A": (1, None, None), "B": (2, None, None)}
    record.coverage.left(BOOK, ["A", "Z"], 7)
    record.coverage.stopped(9)
    assert record.ends() == {"A": (1, 7, End.UNSUBSCRIBED), "B": (2, 9, End.STOPPED)}


def test_a_broken_socket_ends_sessions_at_its_last_frame_and_leaves_one_hole() -> None:
    """What came after that frame is unknown until the books are back."""
    record = listening("A", "B")
    record.coverage.disconnected(50)
    assert {end for _, end, _ in record.ends().values()} == {2}
    (gap,) = record.gaps.values()
    assert (gap.cause, gap.markets, gap.from_at, gap.detected_at, gap.until_at) == (Cause.DISCONNECTED, 2, 2, 50, None)
    record.coverage.disconnected(60)
    assert len(record.gaps) == 1, "an attempt that heard nothing is no other hole"
    record.coverage.heal(lambda hole: Cure.RECONNECT if hole.detected_at <= record.coverage.broken_us else None, 70)
    (gap,) = record.gaps.values()
    assert (gap.until_at, gap.healed_by) == (70, Cure.RECONNECT)


def test_a_channel_without_markets_is_one_session() -> None:
    """Its ticker is empty."""
    record = Record()
    record.coverage.subscribed("trade", 3)
    record.coverage.listening("trade", "", 5)
    record.coverage.listening("trade", "", 6)
    record.coverage.subscribed("trade", 4)
    record.coverage.listening("trade", "", 8)
    assert [(one.sid, one.started_at, one.ended_by) for one in record.sessions.values()] == [
        (3, 5, End.ENDED), (4, 8, None),
    ]  # fmt: skip


def test_a_market_that_cannot_be_read_has_one_hole_until_it_is_whole() -> None:
    """A changed format would otherwise write a row for every frame."""
    record = listening("A")
    hole = Hole(Cause.REJECTED, BOOK, 1, "A")
    assert record.coverage.missed(hole, 10) is not None
    assert record.coverage.missed(hole, 11) is None
    record.coverage.heal(lambda _: Cure.SNAPSHOTS, 12)
    assert record.coverage.missed(hole, 13) is not None
    assert [gap.until_at for gap in record.gaps.values()] == [12, None]


def test_a_book_heals_its_own_holes_and_nothing_else_is_looked_at() -> None:
    """A torn stream has holes by the thousand and books by the thousand: each book asks about as many as concern it."""
    record = listening(*(f"M{number}" for number in range(100)))
    for number in range(100):
        record.coverage.missed(Hole(Cause.REJECTED, BOOK, 1, f"M{number}"), 10)
        record.coverage.missed(Hole(Cause.SEQUENCE, BOOK, 1, "", 10 * number + 1, 10 * number + 3, 100), 10)
    asked: list[GapRow] = []

    def cure(hole: GapRow) -> Cure | None:
        asked.append(hole)
        return Cure.SNAPSHOTS if hole.ticker == "M7" else None

    record.coverage.heal(cure, 12, ("M7",))
    assert {(gap.ticker, gap.until_at) for gap in record.gaps.values() if gap.until_at} == {("M7", 12)}
    assert len(asked) <= 3, "one of all those that await every book, and M7's"
    record.coverage.heal(lambda _: Cure.SNAPSHOTS, 13, ())
    assert sum(gap.until_at == 13 for gap in record.gaps.values()) == 100
    record.coverage.heal(lambda _: Cure.SNAPSHOTS, 14)
    assert not record.coverage.has_holes


def test_every_break_of_a_sequence_is_a_hole_of_its_own() -> None:
    """And each says which numbers it lacks."""
    record = listening("A")
    for expected, seen in ((3, 5), (6, 9)):
        record.coverage.missed(Hole(Cause.SEQUENCE, BOOK, 1, "", expected, seen, 1), 10)
    record.coverage.heal(lambda hole: Cure.LATE_FRAMES if hole.seen_seq == 5 else None, 12)
    assert [(gap.expected_seq, gap.healed_by) for gap in record.gaps.values()] == [(3, Cure.LATE_FRAMES), (6, None)]
    record.coverage.stopped(20)
    assert [gap.healed_by for gap in record.gaps.values()] == [Cure.LATE_FRAMES, Cure.UNHEALED]


def test_what_was_missed_of_a_stream_without_books_is_over_when_it_is_seen() -> None:
    """A while is waited for late frames, in which everything is heard; a socket that is down hears nothing."""
    record = Record()
    record.coverage.subscribed("trade", 3)
    record.coverage.listening("trade", "", 5)
    record.coverage.last_us = record.coverage.numbered_us = 5
    record.coverage.missed(Hole(Cause.SEQUENCE, "trade", 3, "", 2, 4), 10)
    record.coverage.heal(lambda _: Cure.UNHEALED, 5_000_010)
    record.coverage.disconnected(6_000_000)
    record.coverage.stopped(7_000_000)
    assert [(gap.cause, gap.until_at) for gap in record.gaps.values()] == [
        (Cause.SEQUENCE, 10), (Cause.DISCONNECTED, 7_000_000),
    ]  # fmt: skip
