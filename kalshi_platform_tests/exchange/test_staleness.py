"""Silence of a subscription: what is a dead one, and what a pause of the exchange's."""

import json

from kalshi_platform.core.messages import decode
from kalshi_platform.core.units import SECOND, us_from_rfc3339
from kalshi_platform.exchange.events import Stale
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.staleness import FRAMES_FOR_A_RHYTHM, Hours, weekly_pause
from kalshi_platform_tests.exchange.session_at_hand import NOW, commands, snapshot, started, subscribed

TRADE = {
    "trade_id": "8b1d1111-0000-0000-0000-000000000000", "market_ticker": "A", "yes_price_dollars": "0.36",
    "count_fp": "2.50", "ts_ms": 1_795_219_200_000,
}  # fmt: skip


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
