"""What becomes of frames: sequence, books, quarantine and gaps, down to the rows in the database."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.messages import LifecycleFrame
from kalshi_platform.core.schema import Table
from kalshi_platform.core.units import SECOND, us_from_datetime
from kalshi_platform.database.sink import Sink
from kalshi_platform.database.writer import WriterRow
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.gatherer.coverage import Coverage
from kalshi_platform.gatherer.router import Router
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform_tests.queries import fetch, value

T0 = 1_795_219_200_000
NOW = T0 * 1000 + 500_000


class Bench:
    """A router with everything behind it, and nothing in front."""

    def __init__(self, database: str, *channels: Channel, tickers: Sequence[str] = ("A", "B")) -> None:
        self.database = database
        self.metrics = GathererMetrics()
        self.session = Session([Channel.ORDERBOOK, Channel.LIFECYCLE, *channels], tickers)
        self.capture = Capture("g", 1000)
        self.sink = Sink(database, self, lambda _table: None, _no_waits)
        self.now = NOW
        self.lifecycle: list[LifecycleFrame] = []
        self.coverage = Coverage("g", "orderbook-1", self.sink.add)
        self.router = Router(self.coverage, self.session, self.capture, self.sink, self.metrics, self.lifecycle.append)
        self.commands()
        self.feed(id=1, type="subscribed", msg={"channel": "orderbook_delta", "sid": 1})
        self.feed(id=2, type="subscribed", msg={"channel": "market_lifecycle_v2", "sid": 7})
        self.seq = 0

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """The writers' listener: nothing to say."""

    def failed(self, table: Table, error: Exception) -> None:
        """The test's database does not fail."""
        raise AssertionError(table.name) from error

    def feed(self, **frame: Any) -> None:
        """Let a frame arrive."""
        self.router.feed([(json.dumps(frame).encode(), self.now)])

    def snapshot(self, ticker: str, skip: int = 0) -> None:
        """A book, with frames lost before it."""
        self.seq += 1 + skip
        msg = {"market_ticker": ticker, "yes_dollars_fp": [["0.40", "5.00"]]}
        self.feed(type="orderbook_snapshot", sid=1, seq=self.seq, sending_ts_ms=T0, msg=msg)

    def delta(self, ticker: str, skip: int = 0, **changes: object) -> None:
        """A change of a book, with frames lost before it."""
        self.seq += 1 + skip
        msg = {"market_ticker": ticker, "price_dollars": "0.40", "delta_fp": "1.00", "side": "yes", "ts_ms": T0 + 10}
        self.feed(type="orderbook_delta", sid=1, seq=self.seq, msg={**msg, **changes})

    def commands(self) -> list[dict[str, Any]]:
        """What would be sent to the exchange now."""
        return [json.loads(one) for one in self.session.take_commands()]

    async def write(self) -> None:
        """Write everything that has come."""
        self.sink.close()
        await asyncio.wait_for(self.sink.run(), 30)


async def test_a_gap_is_recorded_distrusted_and_healed(gatherer_database: str) -> None:
    """All books of the sid are in doubt; fresh ones are asked for; deltas meanwhile are kept as facts."""
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    bench.snapshot("B")
    bench.delta("A", skip=3)
    assert bench.capture.book("A") is bench.capture.book("B") is None
    (command,) = bench.commands()
    assert command["params"]["action"] == "get_snapshot"
    assert command["params"]["market_tickers"] == ["A", "B"]
    bench.delta("B")
    for ticker in ("A", "B"):
        bench.snapshot(ticker)
    bench.delta("A", ts_ms=T0 + 20)
    book = bench.capture.book("A")
    assert book is not None
    assert book.yes == {400_000: 600}
    await bench.write()
    (gap,) = await fetch(
        gatherer_database,
        "SELECT gatherer_id, connection, channel, ticker, cause, expected_seq, seen_seq, markets, "
        "from_at <= detected_at, until_at >= detected_at, healed_by FROM capture_gaps",
    )
    assert tuple(gap) == ("g", "orderbook-1", "orderbook_delta", "", "sequence", 3, 6, 2, True, True, "snapshots")
    assert await value(gatherer_database, "SELECT count(*) FROM orderbook_deltas") == 3
    assert bench.metrics.registry.get_sample_value(
        "kalshi_gatherer_sequence_gaps_total", {"channel": "orderbook_delta"}
    ) == 1  # fmt: skip


async def test_a_hole_begins_with_the_last_frame_before_it(gatherer_database: str) -> None:
    """By its stamp where that is earlier than its coming; a session that breaks off ends there as well.

    What the exchange answers in between, without a number, is no proof that nothing was lost before it.
    """
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    bench.snapshot("B")
    listed = [{"channel": "orderbook_delta", "sid": 1}, {"channel": "market_lifecycle_v2", "sid": 7}]
    for seconds, skip in ((1, 0), (3, 2), (4, 0)):
        bench.now = NOW + seconds * 1_000_000 - 500_000
        bench.feed(type="ok", msg=listed)
        bench.now += 500_000
        bench.delta("A", skip=skip, ts_ms=bench.now // 1000 - 250)
    bench.coverage.disconnected(NOW + 9_000_000)
    await bench.write()
    gaps = await fetch(
        gatherer_database,
        "SELECT cause, from_at, detected_at FROM capture_gaps WHERE channel = 'orderbook_delta' ORDER BY detected_at",
    )
    seconds = [(cause, *(round(us_from_datetime(at) - NOW) / 1e6 for at in times)) for cause, *times in gaps]
    assert seconds == [("sequence", 0.75, 3), ("disconnected", 3.75, 9)]
    ends = await fetch(gatherer_database, "SELECT ended_at FROM capture_sessions WHERE ended_by = 'disconnected'")
    assert {us_from_datetime(end) - NOW for (end,) in ends} == {3_750_000}


async def test_a_lost_snapshot_is_asked_for_again(gatherer_database: str) -> None:
    """A book that stays in doubt is not forgotten."""
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    bench.snapshot("B")
    bench.delta("A", delta_fp="-9.00")
    assert bench.capture.book("A") is None
    for seconds in (10, 11, 21):
        bench.router.sweep(T0, NOW + seconds * 1_000_000)
    asked = [one["params"]["market_tickers"] for one in bench.commands()]
    assert asked == [["A"], ["A"]]
    alarms = bench.metrics.registry.get_sample_value("kalshi_gatherer_book_alarms_total", {"kind": "negative_levels"})
    assert alarms == 1


async def test_a_market_that_nobody_follows_is_not_kept_for_ever(gatherer_database: str) -> None:
    """Changes may come after it was left, when it is forgotten already: they are facts, and no book waits for them."""
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    for name in ("LEFT", "B"):
        bench.delta(name)
    assert bench.capture.untrusted == {"LEFT", "B"}
    bench.router.sweep(T0 + 5_000, NOW + 10 * SECOND)
    assert bench.capture.untrusted == {"B"}
    await bench.write()
    assert await value(gatherer_database, "SELECT count(*) FROM orderbook_deltas") == 2


async def test_bad_frames_go_to_the_quarantine_and_the_stream_goes_on(gatherer_database: str) -> None:
    """Each with its reason, without a phantom gap, and with the market's book in doubt."""
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    bench.snapshot("B")
    bench.delta("A", price_dollars="0.12345678")
    bench.delta("B", delta_fp="1.005")
    bench.delta("B", side=None)
    bench.router.feed([(b"[]", NOW)])
    bench.router.feed([(b'{"type":"orderbook_delta","sid":1,"se', NOW)])
    for _ in range(30):
        bench.router.feed([(b'{"type":"brand_new","sid":1}', NOW)])
    bench.seq -= 1
    bench.delta("A")
    assert bench.capture.untrusted == {"A", "B"}
    bench.snapshot("A")
    bench.delta("A")
    await bench.write()
    rows = await fetch(gatherer_database, "SELECT reason, connection FROM rejected_messages ORDER BY reason")
    assert [row["reason"] for row in rows] == [
        "bad_price", "bad_size", "not_an_object", "not_json", "out_of_sequence", "unknown_type", "wrong_shape",
    ]  # fmt: skip
    gaps = await fetch(gatherer_database, "SELECT cause, ticker, healed_by FROM capture_gaps ORDER BY ticker")
    assert [tuple(gap) for gap in gaps] == [("rejected", "A", "snapshots"), ("rejected", "B", None)]
    assert await value(gatherer_database, "SELECT count(*) FROM orderbook_deltas") == 1
    counted = bench.metrics.registry.get_sample_value(
        "kalshi_gatherer_rejected_frames_total", {"reason": "unknown_type"}
    )
    assert counted == 30


async def test_a_new_subscription_begins_anew(gatherer_database: str) -> None:
    """After error 25 the books are those of the new sid, counted from 1."""
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    bench.feed(type="error", sid=1, seq=2, msg={"code": 25, "msg": "overflow"})
    (command,) = bench.commands()
    assert command["cmd"] == "subscribe"
    bench.feed(id=2, type="subscribed", msg={"channel": "orderbook_delta", "sid": 2})
    assert bench.capture.book("A") is None
    bench.feed(type="orderbook_snapshot", sid=2, seq=1, msg={"market_ticker": "A"})
    assert bench.capture.book("A") is not None


async def test_what_fell_silent_was_heard_until_its_last_data(gatherer_database: str) -> None:
    """That the exchange still answered commands says nothing of the subscription: sessions claim no such time."""
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    bench.router.sweep(0, bench.now, 0)
    for _ in range(55):
        bench.now += 12 * SECOND
        bench.delta("A", ts_ms=bench.now // 1000)
    silent_from, is_over = bench.now, False
    while not is_over:
        bench.now += SECOND
        bench.router.sweep(0, bench.now, 0)
        for command in bench.commands():
            if command["cmd"] == "list_subscriptions":
                listed = [{"channel": "orderbook_delta", "sid": 1}, {"channel": "market_lifecycle_v2", "sid": 7}]
                bench.feed(id=command["id"], type="ok", msg=listed)
            elif command["cmd"] == "unsubscribe":
                bench.feed(id=command["id"], type="unsubscribed", sid=1, seq=bench.seq + 1)
                is_over = True
    await bench.write()
    (session,) = await fetch(gatherer_database, "SELECT ended_at FROM capture_sessions WHERE ticker = 'A'")
    (gap,) = await fetch(gatherer_database, "SELECT cause, from_at FROM capture_gaps")
    assert us_from_datetime(session["ended_at"]) == silent_from
    assert (gap["cause"], us_from_datetime(gap["from_at"])) == ("silent", silent_from)


async def test_a_ticker_that_cannot_be_read_is_a_hole(gatherer_database: str) -> None:
    """It lies in the quarantine, and the record of what was heard must say so: there is no number to tell by."""
    bench = Bench(gatherer_database, Channel.TICKER)
    bench.feed(id=3, type="subscribed", msg={"channel": "ticker", "sid": 9})
    bench.feed(type="ticker", sid=9, msg={"market_ticker": "A", "price_dollars": 7.5})
    bench.feed(type="notice", msg={"text": "which is no ticker, for all that nobody knows it"})
    bench.router.sweep(0, bench.now)
    for raw in (b'{"type":"ticker","sid":9,"msg":{"mark', b'{"type":"ticker","sid":9,"msg":"garbage"}'):
        bench.now += SECOND
        bench.router.feed([(raw, bench.now)])
        bench.router.sweep(0, bench.now)
    await bench.write()
    gaps = await fetch(gatherer_database, "SELECT cause, channel, ticker FROM capture_gaps ORDER BY detected_at")
    assert [tuple(row) for row in gaps] == [("rejected", "ticker", name) for name in ("A", "", "")]


async def test_what_could_not_be_read_at_all_was_not_heard(gatherer_database: str) -> None:
    """Where the line breaks before a number shows what was lost, the hole has begun before it."""
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    bench.delta("A", ts_ms=bench.now // 1000)
    bench.router.feed([(b'{"type":"orderbook_delta","sid":1,"seq":3,"m', NOW + SECOND)])
    bench.coverage.disconnected(NOW + 2 * SECOND)
    await bench.write()
    (gap,) = await fetch(gatherer_database, "SELECT from_at FROM capture_gaps WHERE channel = 'orderbook_delta'")
    (session,) = await fetch(gatherer_database, "SELECT ended_at FROM capture_sessions WHERE ticker = 'A'")
    assert us_from_datetime(gap["from_at"]) == us_from_datetime(session["ended_at"]) <= NOW


async def test_a_book_under_names_that_nobody_knows_is_no_empty_book(gatherer_database: str) -> None:
    """The exchange has renamed levels before: whoever looked for the old keys read every book as empty."""
    bench = Bench(gatherer_database)
    bench.snapshot("A")
    news = {"price_ranges": [{"start": "0", "end": "1"}], "flags": [[]], "no_dollars_fp": []}
    for seq, more in ((2, {"yes_levels": [["0.40", "5.00"]]}), (3, news)):
        msg = {"market_ticker": "AB"[seq - 2], **more}
        bench.feed(type="orderbook_snapshot", sid=1, seq=seq, sending_ts_ms=T0, msg=msg)
    assert bench.capture.book("A") is None
    assert bench.capture.book("B") is not None
    await bench.write()
    assert await value(gatherer_database, "SELECT count(*) FROM orderbook_snapshots") == 2
    rejected = await fetch(gatherer_database, "SELECT reason, detail FROM rejected_messages")
    assert [tuple(row) for row in rejected] == [("unknown_type", "orderbook_snapshot with levels under unknown keys")]
    gaps = await fetch(gatherer_database, "SELECT cause, ticker FROM capture_gaps")
    assert [tuple(row) for row in gaps] == [("rejected", "A")]


async def test_lifecycle_frames_are_handed_on(gatherer_database: str) -> None:
    """The registry decides what they mean."""
    bench = Bench(gatherer_database, Channel.MULTIVARIATE_LIFECYCLE)
    bench.feed(type="market_lifecycle_v2", sid=7, seq=1, msg={"market_ticker": "C", "event_type": "created"})
    bench.feed(type="subscribed", msg={"channel": "multivariate_market_lifecycle", "sid": 8})
    combo = {"market_ticker": "KXMVE", "event_type": "created"}
    bench.feed(type="multivariate_market_lifecycle", sid=8, seq=1, msg=combo)
    assert [frame.msg.market_ticker for frame in bench.lifecycle] == ["C", "KXMVE"]


def _no_waits() -> Iterator[float]:
    while True:
        yield 0.0
