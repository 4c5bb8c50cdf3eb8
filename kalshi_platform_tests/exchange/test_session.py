"""The protocol of one connection, without a socket (kalshi-protocol.md §3.6)."""

import json

from kalshi_platform.core.messages import DeltaFrame, Envelope, decode
from kalshi_platform.core.sequence import SequenceBreak
from kalshi_platform.core.usual_changes import Change
from kalshi_platform.exchange.commands import DEADLINE_US
from kalshi_platform.exchange.events import (
    Gap,
    Heard,
    Late,
    Misplaced,
    Missed,
    OutOfSequence,
    Refused,
    Started,
    Unanswered,
)
from kalshi_platform.exchange.markets import CHUNK, RESYNC_EVERY_US
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform_tests.exchange.session_at_hand import NOW, commands, receive, snapshot, started, subscribed

TRADE = {
    "trade_id": "8b1d1111-0000-0000-0000-000000000000", "market_ticker": "A", "yes_price_dollars": "0.36",
    "count_fp": "2.50", "ts_ms": 1_795_219_200_000,
}  # fmt: skip


def test_the_first_command_subscribes_and_pins_the_price_frame() -> None:
    """The default of `use_yes_price` is announced to flip, so it is said."""
    (command,) = commands(Session([Channel.ORDERBOOK], ["B", "A"]))
    assert command["cmd"] == "subscribe"
    assert command["params"] == {
        "channels": ["orderbook_delta"], "market_tickers": ["B", "A"], "use_yes_price": False, "skip_ticker_ack": True,
    }  # fmt: skip


def test_channels_for_all_markets_name_none() -> None:
    """Ticker and trade hear every market when they name none."""
    (command,) = commands(Session([Channel.TRADE]))
    assert command["params"] == {"channels": ["trade"]}


def test_many_markets_are_added_in_chunks_once_the_sid_is_known() -> None:
    """The first chunk subscribes, the others are added to the same sid."""
    tickers = [f"K{number:05d}" for number in range(2 * CHUNK + 1)]
    session = Session([Channel.ORDERBOOK], tickers)
    (first,) = commands(session)
    subscribed(session, sid=4)
    rest = commands(session)
    assert [one["params"]["action"] for one in rest] == ["add_markets", "add_markets"]
    assert all(one["params"]["sids"] == [4] for one in rest)
    asked = first["params"]["market_tickers"] + [ticker for one in rest for ticker in one["params"]["market_tickers"]]
    assert asked == tickers


def test_sequence_is_shared_by_all_markets_and_counts_acks() -> None:
    """Facts 3 to 5: snapshots of two markets, then an ack, then data, without a gap."""
    session = started(["A", "B"])
    for seq, ticker in ((1, "A"), (2, "B")):
        assert isinstance(snapshot(session, seq, ticker)[0], Heard)
    assert receive(session, id=2, type="ok", sid=1, seq=3, msg={}) == []
    assert receive(session, id=3, type="error", sid=1, seq=4, msg={"code": 14, "msg": "?"}) == [Refused(14, "?")]
    assert isinstance(snapshot(session, 5)[0], Heard)


def test_a_gap_asks_for_fresh_books_of_the_whole_sid() -> None:
    """Fact 11: nobody knows which market lost a message; fact 8: subscribing again would do nothing."""
    session = started(["A", "B"])
    snapshot(session, 1)
    gap, heard = snapshot(session, 4)
    assert gap == Gap("orderbook_delta", 1, SequenceBreak(expected=2, seen=4), markets=2)
    assert isinstance(heard, Heard)
    (command,) = commands(session)
    assert command["params"] == {"sids": [1], "action": "get_snapshot", "market_tickers": ["A", "B"]}
    assert isinstance(snapshot(session, 5)[0], Heard)


def test_a_gap_on_a_snapshot_does_not_hide() -> None:
    """A snapshot must not reset the counter (kalshi-pitfalls.md 3)."""
    session = started(["A", "B"])
    assert isinstance(snapshot(session, 2)[0], Gap)


def test_a_rejected_frame_takes_its_place_in_the_sequence() -> None:
    """A frame that cannot be decoded makes no phantom gap."""
    session = started(["A"])
    assert session.receive_rejected(Envelope(type="orderbook_delta", sid=1, seq=1), NOW) == [
        Missed("orderbook_delta", 1, None)
    ]
    assert isinstance(snapshot(session, 2)[0], Heard)


def test_a_repeated_frame_is_not_heard_twice() -> None:
    """Recording it would invent a change."""
    session = started(["A"])
    snapshot(session, 1)
    assert snapshot(session, 1) == [OutOfSequence("orderbook_delta", 1, SequenceBreak(expected=2, seen=1))]


def test_markets_come_and_go() -> None:
    """Adding and deleting work on the same sid."""
    session = started(["A"])
    session.add_markets(["B"])
    session.delete_markets(["A", "unknown"])
    assert [(one["params"]["action"], one["params"]["market_tickers"]) for one in commands(session)] == [
        ("add_markets", ["B"]), ("delete_markets", ["A"]),
    ]  # fmt: skip
    assert session.tickers == {"B"}


def test_a_session_without_markets_waits_for_the_first() -> None:
    """There is no order book subscription without markets."""
    session = Session([Channel.ORDERBOOK])
    assert commands(session) == []
    session.add_markets(["A"])
    session.add_markets(["B"])
    assert [one["cmd"] for one in commands(session)] == ["subscribe"]
    subscribed(session)
    assert [one["params"]["market_tickers"] for one in commands(session)] == [["B"]]


def test_ticker_frames_have_no_sequence() -> None:
    """Fact 6."""
    session = Session([Channel.TICKER])
    subscribed(session, sid=1, channel="ticker")
    assert isinstance(receive(session, type="ticker", sid=1, msg={"market_ticker": "A"})[0], Heard)


def test_ticker_frames_of_a_channel_nobody_asked_for_are_not_believed() -> None:
    """A sid that was never announced, on a channel that is not ours: quarantined, and the exchange asked."""
    session = started(["A"])
    assert receive(session, type="trade", sid=9, seq=1, msg=TRADE) == [Misplaced(9, "sid 9 was never announced")]
    assert [one["cmd"] for one in commands(session)] == ["list_subscriptions"]
    assert receive(session, id=2, type="ok", msg=[
        {"channel": "orderbook_delta", "sid": 1}, {"channel": "trade", "sid": 9},
    ]) == []  # fmt: skip
    assert commands(session) == [{"id": 3, "cmd": "unsubscribe", "params": {"sids": [9]}}]


def test_a_frame_that_its_subscription_does_not_send_is_misplaced() -> None:
    """Its number is taken, its content not; a book may have missed a change."""
    session = started(["A"])
    snapshot(session, 1)
    events = receive(session, type="trade", sid=1, seq=2, msg=TRADE)
    assert events == [
        Missed("orderbook_delta", 1, None),
        Misplaced(1, "TradeFrame on sid 1, which serves orderbook_delta"),
    ]
    assert isinstance(snapshot(session, 3)[0], Heard)


def test_a_late_frame_fills_its_hole_and_is_heard_once() -> None:
    """It is recorded, believed by no book; again it is a repetition."""
    session = started(["A"])
    snapshot(session, 1)
    assert [type(one) for one in snapshot(session, 3)] == [Gap, Heard]
    assert session.awaits_late(NOW)
    assert [type(one) for one in snapshot(session, 2)] == [Late]
    assert not session.awaits_late(NOW)
    assert [type(one) for one in snapshot(session, 2)] == [OutOfSequence]


def test_a_late_snapshot_answers_no_request() -> None:
    """What was asked for must come after the hole."""
    session = started(["A"])
    snapshot(session, 1)
    snapshot(session, 3)
    assert [one["params"]["action"] for one in commands(session)] == ["get_snapshot"]
    receive(session, type="orderbook_snapshot", id=2, sid=1, seq=2, msg={"market_ticker": "A"})
    session.tick(NOW)
    assert session.tick(NOW + DEADLINE_US) == [Unanswered("get_snapshot", 1, is_hopeless=False)]
    assert [one["id"] for one in commands(session)] == [3]
    receive(session, type="orderbook_snapshot", id=3, sid=1, seq=4, msg={"market_ticker": "A"})
    assert session.tick(NOW + 2 * DEADLINE_US) == []
    assert commands(session) == []


def test_many_holes_ask_for_books_once_a_second() -> None:
    """A flood of books would tear a torn stream further."""
    session = started(["A"])
    for seq in (2, 4, 6):
        snapshot(session, seq)
    assert [one["params"]["action"] for one in commands(session)] == ["get_snapshot"]
    session.tick(NOW + RESYNC_EVERY_US - 1)
    assert commands(session) == []
    session.tick(NOW + RESYNC_EVERY_US)
    assert [one["params"]["action"] for one in commands(session)] == ["get_snapshot"]


def test_subscribed_said_twice_does_not_turn_the_count_back() -> None:
    """A duplicated announcement is no new subscription."""
    session = started(["A"])
    snapshot(session, 1)
    assert subscribed(session) == []
    assert isinstance(snapshot(session, 2)[0], Heard)


def test_data_before_its_announcement_is_heard() -> None:
    """The announcement was overtaken, or lost: the channel was asked for and nobody else serves it."""
    session = Session([Channel.ORDERBOOK], ["A"])
    commands(session)
    assert snapshot(session, 1)[0] == Started("orderbook_delta", 1)
    assert subscribed(session) == []
    assert [type(one) for one in snapshot(session, 2)] == [Heard]


def test_the_next_changes_are_counted_without_a_word_and_what_is_unusual_is_left() -> None:
    """A wrong number, another channel's frame, an unknown or ended subscription: `receive` must tell."""
    session = started(["A"])
    snapshot(session, 1)

    def change(seq: int, sid: int = 1) -> Change:
        body = {"market_ticker": "A", "price_dollars": "0.10", "delta_fp": "1.00", "side": "yes"}
        frame = decode(json.dumps({"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": body}))
        assert isinstance(frame, DeltaFrame)
        return frame, b"", NOW

    first = [change(2), change(3)]
    assert session.next_changes([*first, change(5)]) == 2
    assert session.next_changes([*first, change(4, sid=9)]) == 2
    session.count_changes(first)
    assert session.next_changes([change(3)]) == 0
    assert session.next_changes([change(6)]) == 0
    assert session.next_changes([change(4, sid=9)]) == 0
    assert session.receive(change(4)[0], NOW) == [Heard(change(4)[0])]
    assert session.next_changes([change(5)]) == 1
    receive(session, type="error", sid=1, seq=5, msg={"code": 25})
    assert session.next_changes([change(6)]) == 0
