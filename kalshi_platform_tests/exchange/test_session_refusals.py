"""Commands that are refused or never answered, and subscriptions that end: the session goes on."""

import pytest

from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.commands import DEADLINE_US, MOST_ATTEMPTS
from kalshi_platform.exchange.events import (
    Ended,
    Gap,
    Heard,
    Late,
    OutOfSequence,
    Refused,
    Started,
    Unanswered,
)
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform_tests.exchange.session_at_hand import NOW, commands, receive, snapshot, started, subscribed


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


def test_replies_have_their_whole_time_after_a_standstill() -> None:
    """What was answered while nobody listened lies unread: it is not asked for again."""
    session = Session([Channel.TRADE])
    commands(session)
    session.tick(NOW)
    session.stood_still(NOW + 2 * DEADLINE_US)
    assert session.tick(NOW + 3 * DEADLINE_US - 1) == commands(session) == []
    assert session.tick(NOW + 3 * DEADLINE_US) == [Unanswered("subscribe", 1, is_hopeless=False)]


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


def test_of_a_forgotten_subscription_nobody_claims_that_all_has_come() -> None:
    """Its hole is there still, when many more have ended since."""
    session = started(["A"])
    snapshot(session, 1)
    snapshot(session, 5)
    assert not session.is_whole(1)
    for sid in range(1, 40):
        receive(session, type="error", sid=sid, msg={"code": 25, "msg": "overflow"})
        subscribed(session, sid=sid + 1)
    assert session.is_whole(39)
    assert not session.is_whole(1)
