"""The protocol of one connection, without a socket (kalshi-protocol.md §3.6)."""

import json
from typing import Any

import pytest

from kalshi_platform.core.messages import DeltaFrame, Envelope, decode
from kalshi_platform.core.sequence import SequenceBreak
from kalshi_platform.core.units import SECOND, us_from_rfc3339
from kalshi_platform.exchange.commands import DEADLINE_US, MOST_ATTEMPTS
from kalshi_platform.exchange.events import (
    Ended,
    Event,
    Gap,
    Heard,
    Late,
    Misplaced,
    Missed,
    OutOfSequence,
    Refused,
    Stale,
    Started,
    Unanswered,
)
from kalshi_platform.exchange.markets import CHUNK, RESYNC_EVERY_US
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.staleness import FRAMES_FOR_A_RHYTHM, Hours, weekly_pause

TRADE = {
    "trade_id": "8b1d1111-0000-0000-0000-000000000000", "market_ticker": "A", "yes_price_dollars": "0.36",
    "count_fp": "2.50", "ts_ms": 1_795_219_200_000,
}  # fmt: skip
NOW = 1_795_219_200 * SECOND  # 2026-11-21


def commands(session: Session) -> list[dict[str, Any]]:
    """What the session wants to send now."""
    return [json.loads(one) for one in session.take_commands()]


def receive(session: Session, **frame: Any) -> list[Event]:
    """Let the session receive a frame."""
    return session.receive(decode(json.dumps(frame)), NOW)


def subscribed(session: Session, sid: int = 1, channel: str = "orderbook_delta") -> list[Event]:
    """Let the exchange accept the subscription."""
    return receive(session, id=1, type="subscribed", msg={"channel": channel, "sid": sid})


def snapshot(session: Session, seq: int, ticker: str = "A", sid: int = 1) -> list[Event]:
    """Let the exchange send a book."""
    return receive(session, type="orderbook_snapshot", sid=sid, seq=seq, msg={"market_ticker": ticker})


def started(tickers: list[str]) -> Session:
    """A session whose order book subscription is up."""
    session = Session([Channel.ORDERBOOK], tickers)
    commands(session)
    assert subscribed(session) == [Started("orderbook_delta", 1)]
    return session


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


def test_a_terminal_error_subscribes_anew() -> None:
    """Codes 10 and 25 end one subscription; the next has a new sid and starts at 1 (fact 9)."""
    session = started(["A", "B"])
    snapshot(session, 1)
    events = receive(session, type="error", sid=1, seq=2, msg={"code": 25, "msg": "overflow"})
    assert events == [Ended("orderbook_delta", 1, 25, "overflow")]
    (command,) = commands(session)
    assert command["params"]["market_tickers"] == ["A", "B"]
    assert subscribed(session, sid=2) == [Started("orderbook_delta", 2)]
    assert isinstance(snapshot(session, 1, sid=2)[0], Heard)


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


def test_a_command_without_reply_is_sent_again_and_given_up() -> None:
    """Three times, then the connection is hopeless."""
    session = Session([Channel.TRADE])
    commands(session)
    now, seen = NOW, []
    for _ in range(MOST_ATTEMPTS):
        session.tick(now)
        now += DEADLINE_US
        seen += session.tick(now)
    assert seen == [Unanswered("subscribe", attempt, attempt == MOST_ATTEMPTS) for attempt in (1, 2, 3)]
    assert [(one["cmd"], one["id"]) for one in commands(session)] == [("subscribe", 2), ("subscribe", 3)]


def test_a_silent_resubscription_asks_for_the_books() -> None:
    """Fact 8: a second subscribe is answered by `ok` and no books; its sid is taken from the `ok`."""
    session = Session([Channel.ORDERBOOK], ["A"])
    commands(session)
    events = receive(session, id=1, type="ok", sid=3, seq=8, msg={})
    assert [type(one) for one in events] == [Started, Gap]
    assert [one["params"] for one in commands(session)] == [
        {"sids": [3], "action": "get_snapshot", "market_tickers": ["A"]}
    ]
    assert [type(one) for one in snapshot(session, 9, sid=3)] == [Heard]


def test_resubscribing_waits_for_the_end_and_gets_a_new_sid() -> None:
    """Fact 9: frames of the old sid are heard until `unsubscribed`, the new sid counts from 1."""
    session = started(["A"])
    snapshot(session, 1)
    session.resubscribe(Channel.ORDERBOOK)
    session.resubscribe(Channel.ORDERBOOK)
    assert commands(session) == [{"id": 2, "cmd": "unsubscribe", "params": {"sids": [1]}}]
    assert [type(one) for one in snapshot(session, 2)] == [Heard]
    assert receive(session, id=2, type="unsubscribed", sid=1, seq=3) == [Ended("orderbook_delta", 1, 0, "unsubscribed")]
    assert [one["cmd"] for one in commands(session)] == ["subscribe"]
    assert subscribed(session, sid=2) == [Started("orderbook_delta", 2)]
    assert [type(one) for one in snapshot(session, 1, sid=2)] == [Heard]


def test_the_last_frames_of_a_dead_subscription_are_kept_once() -> None:
    """They are facts, though no book believes them."""
    session = started(["A"])
    receive(session, type="error", sid=1, seq=2, msg={"code": 25})
    assert [type(one) for one in snapshot(session, 1)] == [Late]
    assert [type(one) for one in snapshot(session, 1)] == [OutOfSequence]


@pytest.mark.parametrize("code", [10, 25])
def test_a_subscription_that_keeps_dying_is_started_with_growing_waits(code: int) -> None:
    """At once the first time; an exchange in trouble is not hammered."""
    session = started(["A"])
    for sid in (1, 2, 3):
        receive(session, type="error", sid=sid, msg={"code": code})
        wait = 0 if sid == 1 else 2 ** (sid - 2) * SECOND
        if wait:
            session.tick(NOW + wait - 1)
            assert commands(session) == []
            session.tick(NOW + wait)
        assert [one["cmd"] for one in commands(session)] == ["subscribe"]
        subscribed(session, sid=sid + 1)


def test_error_7_means_that_the_subscription_is_gone() -> None:
    """The exchange does not know the sid of our command: start anew."""
    session = started(["A"])
    session.add_markets(["B"])
    commands(session)
    events = receive(session, id=2, type="error", msg={"code": 7, "msg": "Unknown subscription ID"})
    assert events == [Ended("orderbook_delta", 1, 7, "Unknown subscription ID")]
    assert commands(session)[0]["params"]["market_tickers"] == ["A", "B"]


def test_error_8_gives_the_channel_up() -> None:
    """A channel that the exchange does not have will not come by asking again."""
    session = Session([Channel.TRADE])
    commands(session)
    assert receive(session, id=1, type="error", msg={"code": 8, "msg": "Unknown channel name"}) == [
        Refused(8, "Unknown channel name")
    ]
    session.tick(NOW)
    assert session.tick(NOW + DEADLINE_US) == []
    assert commands(session) == []


def test_error_26_finds_out_how_many_there_is_room_for() -> None:
    """A chunk that is refused is asked for in halves; what is refused alone somebody else must follow."""
    session = started(["A"])
    session.add_markets(["B", "C"])
    commands(session)
    limit = {"code": 26, "msg": "limit"}
    assert receive(session, id=2, type="error", sid=1, seq=1, msg=limit) == [Refused(26, "limit")]
    assert [one["params"]["market_tickers"] for one in commands(session)] == [["B"], ["C"]]
    receive(session, id=3, type="ok", sid=1, seq=2)
    assert receive(session, id=4, type="error", sid=1, seq=3, msg=limit) == [Refused(26, "limit", ("C",))]
    assert session.tickers == {"A", "B"}
    assert commands(session) == []


@pytest.mark.parametrize("code", [17, 18, 27])
def test_errors_that_pass_are_tried_again_later(code: int) -> None:
    """Too many requests, a time-out, or the retired internal error."""
    session = started(["A"])
    session.add_markets(["B"])
    commands(session)
    assert receive(session, id=2, type="error", msg={"code": code, "msg": "?"}) == [Refused(code, "?")]
    session.tick(NOW + SECOND - 1)
    assert commands(session) == []
    session.tick(NOW + SECOND)
    assert [one["params"]["market_tickers"] for one in commands(session)] == [["B"]]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 14, 15, 16, 19, 20, 21, 22, 23, 24, 28, 99])
def test_other_errors_and_retired_ones_are_told_and_survived(code: int) -> None:
    """Also such as are never sent any more, or not yet."""
    session = started(["A"])
    assert receive(session, type="error", msg={"code": code, "msg": "?"}) == [Refused(code, "?")]
    assert isinstance(snapshot(session, 1)[0], Heard)


def test_already_subscribed_asks_what_is_subscribed() -> None:
    """Code 6 is retired; should it come, our belief is wrong."""
    session = Session([Channel.TRADE])
    commands(session)
    receive(session, id=1, type="error", msg={"code": 6, "msg": "Already subscribed"})
    assert [one["cmd"] for one in commands(session)] == ["list_subscriptions"]
    assert receive(session, id=2, type="ok", msg=[{"channel": "trade", "sid": 4}]) == [Started("trade", 4)]


def test_a_subscription_that_the_exchange_does_not_list_is_started_anew() -> None:
    """It ended without a word."""
    session = started(["A"])
    assert receive(session, type="ok", msg=[]) == [Ended("orderbook_delta", 1, 0, "the exchange does not list it")]
    assert [one["cmd"] for one in commands(session)] == ["subscribe"]


@pytest.mark.parametrize(
    "listed", [[1], [{"sid": None}], [{"sid": "1"}], [{"sid": True, "channel": "trade"}], {}, None]
)
def test_a_list_that_is_none_is_survived(listed: object) -> None:
    """The exchange may answer anything."""
    session = Session([Channel.TICKER])
    assert receive(session, type="ok", msg=listed) == []


def hearing(channel: Channel = Channel.TRADE) -> Session:
    """A session that has heard a trade each second until now."""
    session = Session([channel])
    subscribed(session, channel=channel)
    for number in range(1, 2 * FRAMES_FOR_A_RHYTHM):
        frame = decode(json.dumps({"type": "trade", "sid": 1, "seq": number, "msg": TRADE}))
        session.receive(frame, NOW - (2 * FRAMES_FOR_A_RHYTHM - number) * SECOND)
    commands(session)
    return session


def test_a_silent_subscription_is_started_anew() -> None:
    """Only when silent for longer than its rhythm explains."""
    session = hearing()
    assert session.stale(NOW + 20 * SECOND, 0) == []
    assert session.stale(NOW + 60 * SECOND, 0) == [Stale("trade", 1)]
    assert session.stale(NOW + 61 * SECOND, 0) == []
    assert commands(session) == [{"id": 2, "cmd": "unsubscribe", "params": {"sids": [1]}}]


def test_a_pause_of_the_exchange_is_no_silence() -> None:
    """Neither during it nor just after it."""
    session = hearing()
    assert session.stale(NOW + 7200 * SECOND, None) == []
    assert session.stale(NOW + 7200 * SECOND, NOW + 7190 * SECOND) == []
    assert session.stale(NOW + 7200 * SECOND, NOW + 7100 * SECOND) == [Stale("trade", 1)]


def test_a_quiet_subscription_may_be_silent() -> None:
    """Few markets, few frames: silence says nothing."""
    session = started(["A"])
    snapshot(session, 1)
    assert session.stale(NOW + 86_400 * SECOND, 0) == []


def test_hours_know_thursday_s_pause_and_others() -> None:
    """Thursday 03:00 to 05:00 in New York, winter and summer; and what status and schedule say."""
    assert weekly_pause(NOW) == (us("2026-11-19T08:00Z"), us("2026-11-19T10:00Z"))
    assert weekly_pause(us("2026-07-01T12:00Z")) == (us("2026-06-25T07:00Z"), us("2026-06-25T09:00Z"))
    assert weekly_pause(us("2026-11-19T08:00Z")) == (us("2026-11-19T08:00Z"), us("2026-11-19T10:00Z"))
    assert weekly_pause(us("2026-11-19T07:59Z"))[0] == us("2026-11-12T08:00Z")
    assert Hours().since(us("2026-11-19T09:00Z")) is None
    assert Hours().since(us("2026-11-19T10:00Z")) == us("2026-11-19T10:00Z")
    assert Hours(is_active=False).since(NOW) is None
    assert Hours(active_since_us=NOW - 5).since(NOW) == NOW - 5
    assert Hours(windows=[(NOW - 5, NOW + 5)]).since(NOW) is None
    assert Hours(windows=[(NOW - 5, NOW - 1)]).since(NOW) == NOW - 1


def us(text: str) -> int:
    """RFC 3339 to µs."""
    return us_from_rfc3339(text)


def test_the_next_change_is_counted_without_a_word_and_what_is_unusual_is_left() -> None:
    """A wrong number, another channel's frame, an unknown or ended subscription: `receive` must tell."""
    session = started(["A"])
    snapshot(session, 1)

    def change(seq: int, sid: int = 1) -> DeltaFrame:
        body = {"market_ticker": "A", "price_dollars": "0.10", "delta_fp": "1.00", "side": "yes"}
        frame = decode(json.dumps({"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": body}))
        assert isinstance(frame, DeltaFrame)
        return frame

    assert session.takes_next(change(2), NOW)
    assert not session.takes_next(change(2), NOW)
    assert not session.takes_next(change(5), NOW)
    assert not session.takes_next(change(3, sid=9), NOW)
    assert session.receive(change(3), NOW) == [Heard(change(3))]
    assert session.takes_next(change(4), NOW)
    receive(session, type="error", sid=1, seq=5, msg={"code": 25})
    assert not session.takes_next(change(6), NOW)
