"""Whatever happens on the way: afterwards the books are the exchange's, and the rows are what was received.

A small exchange with real sequence semantics (kalshi-protocol.md §3.6) talks to a real session, capture and router
over a wire that loses, repeats, reorders and cuts. It shares no code with the simulator or the platform.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.errors import ExchangeUnavailable, FrameRejected, Reason
from kalshi_platform.core.records import DeltaRow, GapRow, Row, SessionRow
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.gatherer.coverage import Coverage, Cure, End
from kalshi_platform.gatherer.router import Router
from kalshi_platform.service.metrics import GathererMetrics

T0 = 1_795_219_200_000
TICKERS = ("A", "B", "C", "D")
Frame = dict[str, Any]


class ModelSubscription:
    """One sid of the model exchange."""

    def __init__(self, sid: int) -> None:
        self.sid, self.seq, self.tickers = sid, 0, set[str]()

    def numbered(self, **frame: Any) -> Frame:
        """A frame with this subscription's next number."""
        self.seq += 1
        return {**frame, "sid": self.sid, "seq": self.seq}


class ModelExchange:
    """The order book channel as the protocol describes it; what it sends goes onto a wire."""

    def __init__(self) -> None:
        self.ms = T0
        self.books: dict[str, dict[tuple[str, int], int]] = {ticker: {} for ticker in TICKERS}
        self.wire: list[Frame] = []
        self.sent: Counter[tuple[object, ...]] = Counter()
        self.connect()

    def connect(self) -> None:
        """A new connection: nothing is remembered of the last."""
        self.wire, self.subscription, self.last_sid = [], cast("ModelSubscription | None", None), 0

    def change(self, choice: int) -> None:
        """One level of one market changes, often by the same amount within the same millisecond."""
        ticker, side = TICKERS[choice % 4], ("yes", "no")[choice // 4 % 2]
        price, size = 10 + choice // 8 % 2, (choice // 16 % 3 - 1) or 1
        self.ms += choice // 48 % 3 == 0
        book = self.books[ticker]
        size = 1 if book.get((side, price), 0) + size < 0 else size
        book[side, price] = book.get((side, price), 0) + size
        self.sent[self.ms, ticker, side == "yes", price * 10_000, size * 100] += 1
        if self.subscription is not None and ticker in self.subscription.tickers:
            msg = {"market_ticker": ticker, "side": side, "price_dollars": f"0.{price}", "delta_fp": f"{size}.00"}
            self.send(self.subscription.numbered(type="orderbook_delta", msg={**msg, "ts_ms": self.ms}))

    def die(self, code: int) -> None:
        """A terminal error."""
        if self.subscription is not None:
            self.send(self.subscription.numbered(type="error", msg={"code": code}))
            self.subscription = None

    def command(self, raw: bytes) -> None:
        """Obey one command."""
        command = json.loads(raw)
        params = command.get("params", {})
        getattr(self, f"_{command['cmd']}")(command["id"], params)

    def _subscribe(self, number: int, params: Frame) -> None:
        if self.subscription is None:
            self.last_sid += 1
            self.subscription = ModelSubscription(self.last_sid)
            self.send({"id": number, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": self.last_sid}})
            self._add(self.subscription, params["market_tickers"])
        else:
            self._add(self.subscription, params["market_tickers"])
            self.send(self.subscription.numbered(id=number, type="ok", msg={}))

    def _add(self, one: ModelSubscription, tickers: list[str]) -> None:
        for ticker in tickers:
            if ticker not in one.tickers:
                one.tickers.add(ticker)
                self._snapshot(one, ticker)

    def _snapshot(self, one: ModelSubscription, ticker: str, **more: Any) -> None:
        msg: Frame = {"market_ticker": ticker}
        for (side, price), size in sorted(self.books[ticker].items()):
            if size:
                msg.setdefault(f"{side}_dollars_fp", []).append([f"0.{price}", f"{size}.00"])
        self.send(one.numbered(type="orderbook_snapshot", msg=msg, sending_ts_ms=self.ms, **more))

    def _unsubscribe(self, number: int, params: Frame) -> None:
        one = self._named(number, params)
        if one is not None:
            self.send(one.numbered(id=number, type="unsubscribed"))
            self.subscription = None

    def _update_subscription(self, number: int, params: Frame) -> None:
        one = self._named(number, params)
        if one is None:
            return
        tickers = params["market_tickers"]
        if params["action"] == "get_snapshot":
            for ticker in tickers:
                self._snapshot(one, ticker, id=number)
            return
        if params["action"] == "delete_markets":
            one.tickers.difference_update(tickers)
        self.send(one.numbered(id=number, type="ok", msg={}))
        if params["action"] == "add_markets":
            self._add(one, tickers)

    def _list_subscriptions(self, number: int, _params: Frame) -> None:
        listed = [] if self.subscription is None else [{"channel": "orderbook_delta", "sid": self.subscription.sid}]
        self.send({"id": number, "type": "ok", "msg": listed})

    def _named(self, number: int, params: Frame) -> ModelSubscription | None:
        if self.subscription is None or params["sids"] != [self.subscription.sid]:
            self.send({"id": number, "type": "error", "msg": {"code": 7, "msg": "Unknown subscription ID"}})
            return None
        return self.subscription

    def send(self, frame: Frame) -> None:
        """Onto the wire."""
        self.wire.append(frame)


class Notes:
    """Where the router's rows go: a sink that keeps them, by connection."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.rejected: Counter[Reason] = Counter()

    def add(self, row: Row) -> None:
        """One row."""
        self.rows.append(row)

    def add_changes(self, rows: Sequence[DeltaRow]) -> None:
        """Many rows."""
        self.rows += rows

    def reject(self, _raw: bytes, rejection: FrameRejected, _connection: str, _received_us: int) -> bool:
        """One frame that was not used."""
        self.rejected[rejection.reason] += 1
        return False


class World:
    """The exchange, the wire, and the platform behind it."""

    def __init__(self) -> None:
        self.exchange = ModelExchange()
        self.metrics = GathererMetrics()
        self.coverage = Coverage("g", "c", self.note)
        self.kept: list[GapRow | SessionRow] = []
        self.tickers = {"A", "B", "C"}
        self.received: Counter[tuple[object, ...]] = Counter()
        self.recorded: Counter[tuple[object, ...]] = Counter()
        self.connect()

    def connect(self) -> None:
        """A new connection, with a new session and capture."""
        self.exchange.connect()
        self.session = Session([Channel.ORDERBOOK], self.tickers)
        self.capture, self.notes = Capture("g", 1_000_000), Notes()
        sink = cast("Sink", self.notes)
        self.router = Router(self.coverage, self.session, self.capture, sink, self.metrics, lambda _: None)
        self.placed: set[tuple[int, int]] = set()
        self.repeated: Counter[bool] = Counter()
        self.obey()

    def obey(self) -> None:
        """Commands reach the exchange."""
        for command in self.session.take_commands():
            self.exchange.command(command)

    def deliver(self, index: int = 0, count: int = 1) -> None:
        """Some frames arrive together."""
        wire = self.exchange.wire
        self.feed([wire.pop(min(index, len(wire) - 1)) for _ in range(min(count, len(wire)))])

    def feed(self, frames: Sequence[Frame]) -> None:
        """The platform takes frames, and its answers go out."""
        for frame in frames:
            self.expect(frame)
        self.router.feed([(json.dumps(frame).encode(), self.exchange.ms * 1000) for frame in frames])
        self.obey()

    def expect(self, frame: Frame) -> None:
        """Remember what must come of a frame."""
        place = (frame.get("sid", 0), frame.get("seq", 0))
        if place[1] and place in self.placed:
            self.repeated[frame["type"].startswith("orderbook")] += 1
        elif frame["type"] == "orderbook_delta":
            msg = frame["msg"]
            price, size = int(msg["price_dollars"][2:]) * 10_000, int(msg["delta_fp"][:-3]) * 100
            self.received[msg["ts_ms"], msg["market_ticker"], msg["side"] == "yes", price, size] += 1
        self.placed.add(place)

    def pass_time(self, seconds: int) -> None:
        """The clock runs; a hopeless connection is made anew."""
        self.exchange.ms += seconds * 1000
        try:
            self.router.sweep(T0 - 1, self.exchange.ms * 1000)
        except ExchangeUnavailable:
            self.cut()
        self.obey()

    def cut(self) -> None:
        """The connection breaks with everything on the wire; what it recorded is compared."""
        self.compare()
        self.coverage.disconnected(self.exchange.ms * 1000)
        self.connect()

    def compare(self) -> None:
        """Rows of this connection: keys are unique, and nothing was turned away but repetitions."""
        deltas = [row for row in self.notes.rows if isinstance(row, DeltaRow)]
        assert len({row[:6] for row in deltas}) == len(deltas)
        self.recorded.update((row.exchange_ts // 1000, *row[1:5]) for row in deltas)
        turned_away = self.notes.rejected[Reason.OUT_OF_SEQUENCE]
        assert self.repeated[True] <= turned_away <= self.repeated.total()
        assert self.notes.rejected.total() == turned_away
        assert self.recorded == self.received
        assert not self.received - self.exchange.sent

    def note(self, row: GapRow | SessionRow) -> None:
        """What the connection says of its coverage."""
        self.kept.append(row)

    def follow(self, choice: int) -> None:
        """Markets come and go."""
        ticker = TICKERS[choice % 4]
        if ticker in self.tickers:
            self.tickers.discard(ticker)
            self.session.delete_markets([ticker])
            self.router.retire([ticker], self.exchange.ms * 1000)
        else:
            self.tickers.add(ticker)
            self.session.add_markets([ticker])
        self.obey()

    def step(self, what: str, choice: int) -> None:
        """One thing happens."""
        match what:
            case "lose" | "repeat" | "reorder" | "deliver":
                self.on_the_wire(what, choice)
            case "change":
                self.exchange.change(choice)
            case "die":
                self.exchange.die((10, 25)[choice % 2])
            case "cut":
                self.cut()
            case "follow":
                self.follow(choice)
            case "resubscribe":
                self.session.resubscribe(Channel.ORDERBOOK)
                self.obey()
            case "wait":
                self.pass_time(choice % 13)

    def on_the_wire(self, what: str, choice: int) -> None:
        """Something happens to frames on their way."""
        wire = self.exchange.wire
        if what == "reorder":
            self.deliver(choice % 6)
        elif what == "deliver":
            self.deliver(count=choice % 8)
        elif wire and what == "lose":
            wire.pop(0)
        elif wire:
            wire.insert(choice % (len(wire) + 1), wire[0])

    def heal(self) -> None:
        """The wire is good from now on, time passes, and every market changes now and then."""
        for _ in range(14):
            for choice in range(4):
                self.exchange.change(choice)
            while self.exchange.wire:
                self.deliver()
            self.pass_time(11)
        while self.exchange.wire:
            self.deliver()


KINDS = ("change", "deliver", "reorder", "lose", "repeat", "die", "cut", "follow", "resubscribe", "wait")
Steps = list[tuple[str, int]]


def several(kinds: list[str]) -> st.SearchStrategy[Steps]:
    """Many steps of few kinds: what nobody does often by chance is done often here."""
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 143)), min_size=5, max_size=120)


ANY_STEPS = st.lists(st.sampled_from(KINDS), min_size=2, max_size=10).flatmap(several)


def check_coverage(world: World) -> None:
    """Every hole is closed by the good end, and every market that is followed was heard until the end."""
    holes = {row[:10]: row for row in world.kept if isinstance(row, GapRow)}
    assert all(row.until_at is not None and row.from_at <= row.detected_at <= row.until_at for row in holes.values())
    assert Cure.UNHEALED not in {row.healed_by for row in holes.values()}
    sessions = {row[:6]: row for row in world.kept if isinstance(row, SessionRow)}
    assert all(row.ended_at is not None and row.ended_at >= row.started_at for row in sessions.values())
    assert {row.ticker for row in sessions.values() if row.ended_by == End.STOPPED} == world.tickers


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(ANY_STEPS)
@example([("follow", 2), ("follow", 1), ("wait", 7), ("follow", 0), ("wait", 5), ("wait", 8), ("lose", 0)])
@example([("lose", 0), ("die", 0), ("wait", 0), ("wait", 12), ("reorder", 5)])
@example([("follow", 0), ("cut", 0), ("lose", 0), ("lose", 0), ("wait", 8), ("die", 1), ("wait", 11), ("reorder", 3)])
def test_books_end_equal_and_rows_are_what_was_received(steps: Steps) -> None:
    """Any interleaving of acks, data, gaps, repetitions, reorderings, cuts and resyncs."""
    world = World()
    for what, choice in steps:
        world.step(what, choice)
    world.heal()
    world.compare()
    world.coverage.stopped(world.exchange.ms * 1000)
    check_coverage(world)
    for ticker in world.tickers:
        book = world.capture.book(ticker)
        assert book is not None, ticker
        kept = {("yes", price // 10_000): size // 100 for price, size in book.yes.items()}
        kept |= {("no", price // 10_000): size // 100 for price, size in book.no.items()}
        assert kept == {level: size for level, size in world.exchange.books[ticker].items() if size}, ticker
