"""Silence of a subscription: what is a dead one, and what a pause of the exchange's."""

import json
from collections.abc import Iterable
from itertools import accumulate, chain, repeat
from math import exp, sin, tau
from random import Random

from kalshi_platform.core.messages import decode
from kalshi_platform.core.units import SECOND, us_from_rfc3339
from kalshi_platform.exchange.events import Stale
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.exchange.staleness import LEARNING_US, Hours, Rhythm, weekly_pause
from kalshi_platform_tests.exchange.session_at_hand import NOW, commands, snapshot, started

TRADE = {
    "trade_id": "8b1d1111-0000-0000-0000-000000000000", "market_ticker": "A", "yes_price_dollars": "0.36",
    "count_fp": "2.50", "ts_ms": 1_795_219_200_000,
}  # fmt: skip
SUBSCRIBED = {"id": 1, "type": "subscribed"}


def hearing(channel: Channel = Channel.TRADE) -> Session:
    """A session that has heard a trade every other second until now."""
    session = Session([channel])
    frames = LEARNING_US // SECOND
    session.receive(decode(json.dumps(SUBSCRIBED | {"msg": {"channel": channel, "sid": 1}})), NOW - 2 * LEARNING_US)
    for number in range(1, frames + 1):
        frame = decode(json.dumps({"type": "trade", "sid": 1, "seq": number, "msg": TRADE}))
        session.receive(frame, NOW - 2 * (frames - number) * SECOND)
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
    assert session.stale(NOW + 7100 * SECOND, None) == []
    assert session.stale(NOW + 7120 * SECOND, NOW + 7100 * SECOND) == []
    assert session.stale(NOW + 7200 * SECOND, NOW + 7100 * SECOND) == [Stale("trade", 1)]


def test_a_quiet_subscription_may_be_silent() -> None:
    """Few markets, few frames: silence says nothing."""
    session = started(["A"])
    snapshot(session, 1)
    assert session.stale(NOW + 86_400 * SECOND, 0) == []


def heard(intervals: Iterable[float], *, active_since_us: int = 0) -> tuple[int, int, Rhythm]:
    """How often a subscription with these seconds between its frames was taken for dead, when it ended, its rhythm."""
    rhythm, alarms, now_us = Rhythm(0), 0, 0
    for now in accumulate(intervals):
        now_us = round(now * SECOND)
        alarms += rhythm.is_stale(now_us, active_since_us)
        rhythm.note(now_us)
    return alarms, now_us, rhythm


def test_frames_in_company_do_not_make_the_time_between_bursts_suspect() -> None:
    """Ten at once, then two minutes of nothing: that is how this one sounds, until it is silent for an hour."""
    alarms, now_us, rhythm = heard([0.001, *repeat(0.001, 9), 120.0] * 60)
    assert alarms == 0
    assert not rhythm.is_stale(now_us + 600 * SECOND, 0)
    assert rhythm.is_stale(now_us + 3600 * SECOND, 0)


def test_a_quiet_night_is_not_held_against_the_day_before() -> None:
    """Five a second by day and one in a minute by night, by lot: in a week hardly any silence is an alarm."""
    dice = Random(3)  # noqa: S311 - a repeatable lot

    def week() -> Iterable[float]:
        now = 0.0
        while now < 7 * 86_400:
            interval = dice.expovariate(0.3 * exp(2.9 * sin(tau * now / 86_400)))
            now += interval
            yield interval

    alarms, now_us, rhythm = heard(week())
    assert alarms <= 7
    assert rhythm.is_stale(now_us + 3600 * SECOND, 0)


def test_a_flood_of_first_books_is_no_rhythm() -> None:
    """They come on request; a quiet market that follows must not be subscribed again and again."""
    alarms, now_us, rhythm = heard(chain(repeat(0.01, 5000), repeat(45.0, 200)))
    assert alarms == 0
    assert rhythm.is_stale(now_us + 1800 * SECOND, 0)


def test_time_in_a_pause_is_not_part_of_the_rhythm() -> None:
    """Two silent hours on Thursday do not make two silent hours usual."""
    _, now_us, rhythm = heard(repeat(1.0, 3600))
    for minute in range(120):
        assert not rhythm.is_stale(now_us + minute * 60 * SECOND, None)
    resumed_us = now_us + 7200 * SECOND
    rhythm.note(resumed_us + SECOND)
    assert not rhythm.is_stale(resumed_us + 30 * SECOND, resumed_us)
    assert rhythm.is_stale(resumed_us + 60 * SECOND, resumed_us)


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


def test_one_that_dies_young_is_found_all_the_same() -> None:
    """After a restart of the exchange all gatherers are young at once."""
    rhythm = Rhythm(NOW)
    for number in range(2_000):
        rhythm.note(NOW + number * SECOND // 10)
    died = NOW + 200 * SECOND
    assert not rhythm.is_stale(died + 30 * SECOND, NOW)
    assert rhythm.is_stale(died + LEARNING_US, NOW)


def test_time_in_which_nobody_listened_is_no_silence() -> None:
    """Full queues stop reading for minutes; the rhythm after that is the one before."""
    rhythm, now = Rhythm(NOW), NOW
    for _ in range(10_000):
        now += SECOND // 10
        rhythm.note(now)
    now += 600 * SECOND
    assert not rhythm.is_stale(now, None)  # asked when reading goes on, as in a pause
    rhythm.note(now)
    assert rhythm.is_stale(now + 60 * SECOND, NOW)
