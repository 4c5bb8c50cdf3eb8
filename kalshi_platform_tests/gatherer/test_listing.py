"""Pages, messages and the clock as one picture of the markets, without an exchange."""

import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.core.messages import LifecycleBody
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.rest.objects import Market, PriceRange
from kalshi_platform.gatherer.listed_market import State, grid
from kalshi_platform.gatherer.listing import (
    CLOSING_GRACE_S,
    CLOSING_LINGER_S,
    OPENING_LEAD_S,
    REST_LAG_US,
    Changes,
    Listing,
)

NOW_S = 1_800_000_000
NOW = NOW_S * SECOND
DAY_S = 86_400
CENTS = (PriceRange(start="0.0000", end="1.0000", step="0.0100"),)
TENTHS = (PriceRange(start="0.0000", end="1.0000", step="0.0010"),)


def rfc3339(second: int) -> str:
    """As REST writes a time."""
    return datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "Z")


def market(ticker: str, status: str = "active", *, opens: int = NOW_S - DAY_S, closes: int = NOW_S + DAY_S,
           volume: int = 0, ranges: tuple[PriceRange, ...] = CENTS, shard: int | None = None) -> Market:  # fmt: skip
    """A market as REST has it."""
    return Market(
        ticker=ticker, event_ticker="E", status=status, open_time=rfc3339(opens), close_time=rfc3339(closes),
        volume_24h_fp=f"{volume}.00", price_ranges=ranges, exchange_index=shard,
    )  # fmt: skip


def says(ticker: str, event: str, **more: Any) -> LifecycleBody:
    """A lifecycle message."""
    return LifecycleBody(market_ticker=ticker, event_type=event, **more)


def listed(*rows: Market, now_us: int = NOW) -> Listing:
    """A listing after one walk."""
    listing = Listing()
    listing.begin_walk(now_us)
    listing.take(rows, now_us, now_us)
    assert listing.end_walk(now_us) == []
    return listing


def test_what_a_shard_has_of_the_trading() -> None:
    """By volume of what is followed; who says nothing of a shard is on the first one."""
    rows = (market("A", volume=600), market("B", volume=300, shard=2), market("C", volume=97, shard=3))
    listing = listed(*rows, market("D", "initialized", opens=NOW_S + DAY_S, volume=10**6, shard=3))
    assert [round(listing.share(shards), 1) for shards in ({0}, {2}, {3}, {2, 3}, set())] == [0.6, 0.3, 0.1, 0.4, 0.0]
    assert Listing().share({0}) == 0.0


def test_a_page_is_followed_the_busiest_first() -> None:
    """What is open, paused or about to open; what is closed or far from opening is not."""
    listing = Listing()
    listing.begin_walk(NOW)
    soon, later = NOW_S + OPENING_LEAD_S - 1, NOW_S + OPENING_LEAD_S + 1
    changes = listing.take(
        [
            market("QUIET"), market("BUSY", volume=900), market("PAUSED", "inactive", volume=3),
            market("SOON", "initialized", opens=soon), market("LATER", "initialized", opens=later),
            market("CLOSED", "closed", closes=NOW_S - DAY_S), market("OVER", "finalized"), market("NEW", "some_news"),
        ],
        NOW, NOW,
    )  # fmt: skip
    assert changes.follow[:2] == ["BUSY", "PAUSED"]
    assert sorted(changes.follow) == ["BUSY", "NEW", "PAUSED", "QUIET", "SOON"]
    assert changes.leave == []
    assert listing.followed()[0] == "BUSY"
    assert listing.activity("BUSY") == 900
    assert listing.counts() == {State.UNOPENED: 2, State.OPEN: 3, State.PAUSED: 1, State.CLOSED: 0}


def test_opening_and_closing_by_the_clock() -> None:
    """No message comes: followed an hour before it opens, left a quarter of an hour after it closed."""
    opens, closes = NOW_S + 2 * OPENING_LEAD_S, NOW_S + 3 * OPENING_LEAD_S
    listing = listed(market("A", "initialized", opens=opens, closes=closes))
    told = []
    for second in range(NOW_S, closes + CLOSING_LINGER_S + 60, 30):
        changes = listing.tick(second * SECOND)
        told += [(second, "follow") for _ in changes.follow] + [(second, "leave") for _ in changes.leave]
        one = listing.get("A")
        if one is not None:
            expected = State.UNOPENED if second < opens else State.OPEN if second < closes else State.CLOSED
            assert one.state is expected
    assert told == [(opens - OPENING_LEAD_S, "follow"), (closes + CLOSING_LINGER_S, "leave")]
    assert len(listing) == 0


def test_a_moved_closing_counts() -> None:
    """The old time passes without a word; reopened after its closing, a market goes on."""
    listing = listed(market("A", closes=NOW_S + 100))
    assert listing.hear(says("A", "close_date_updated", close_ts=NOW_S + 5000), NOW) == Changes([], [], ())
    assert listing.tick((NOW_S + 4000) * SECOND).leave == []
    listing.tick((NOW_S + 5001) * SECOND)
    assert listing.get("A").state is State.CLOSED
    listing.hear(says("A", "close_date_updated", close_ts=NOW_S + 9000), (NOW_S + 5100) * SECOND)
    listing.hear(says("A", "activated"), (NOW_S + 5100) * SECOND)
    assert listing.tick((NOW_S + 8000) * SECOND).leave == []
    assert listing.get("A").state is State.OPEN
    assert listing.tick((NOW_S + 9000 + CLOSING_LINGER_S) * SECOND).leave == ["A"]
    assert listing.hear(says("A", "activated"), (NOW_S + 20_000) * SECOND).follow == ["A"]
    assert listing.tick((NOW_S + 90_000) * SECOND).leave == [], "open for as long as nobody says when it closes"


def test_open_beyond_its_time_where_rest_insists() -> None:
    """Right after the closing REST lags; later it is believed."""
    listing = Listing()
    listing.take([market("A", closes=NOW_S - CLOSING_GRACE_S + 1)], NOW, NOW)
    assert listing.get("A").state is State.CLOSED
    later = NOW + 2 * SECOND
    listing.take([market("A", closes=NOW_S - CLOSING_GRACE_S + 1)], later, later)
    assert listing.get("A").state is State.OPEN
    assert listing.tick(NOW + 3 * DAY_S * SECOND).leave == []
    reopened = listed(market("A", closes=NOW_S - 30))
    reopened.hear(says("A", "activated"), NOW)
    assert reopened.tick(NOW + 3 * DAY_S * SECOND).leave == [], "a message says so as well"


def test_messages_outweigh_pages_that_were_asked_for_before() -> None:
    """A market that settled during the walk is not followed again, one that came is not left."""
    listing = listed(market("A"), market("B"))
    listing.begin_walk(NOW + 1)
    asked = NOW + 10 * SECOND
    assert listing.hear(says("A", "settled", settled_ts=NOW_S), asked + 1).leave == ["A"]
    assert listing.hear(says("C", "created", open_ts=NOW_S, close_ts=NOW_S + DAY_S), asked + 1).follow == ["C"]
    listing.hear(says("B", "deactivated", is_deactivated=True), asked + 1)
    assert listing.take([market("A"), market("B")], asked, asked + 2) == Changes([], [], [])
    assert listing.get("B").state is State.PAUSED
    assert listing.end_walk(asked + 3) == [], "REST need not know C yet"
    late = asked + REST_LAG_US + 2
    listing.begin_walk(late)
    assert listing.take([market("A")], late, late).follow == ["A"], "so long after, REST is right"


def test_a_market_missing_from_rest() -> None:
    """Unseen by a walk it is asked for by name; unknown there too, it is gone. News may be ahead of REST."""
    listing = listed(market("A"), market("B"))
    listing.hear(says("C", "created", open_ts=NOW_S - 1, close_ts=NOW_S + DAY_S), NOW)
    later = NOW + 300 * SECOND
    listing.begin_walk(later)
    listing.take([market("B")], later, later)
    assert listing.end_walk(later) == ["A"]
    assert listing.vanished(["A"]).leave == ["A"]
    assert listing.get("A") is None
    much_later = NOW + 1200 * SECOND
    listing.begin_walk(much_later)
    listing.take([market("B")], much_later, much_later)
    assert listing.end_walk(much_later) == ["C"], "by now REST should know it"


def test_another_price_grid_is_noticed_once() -> None:
    """From a message or from a page, however either writes zeros; the label does not count."""
    listing = listed(market("A"))
    written = [{"start": "0", "end": "1.0", "step": "0.001"}]
    heard = says("A", "price_level_structure_updated", price_level_structure="deci_cent", price_ranges=written)
    assert listing.hear(heard, NOW + 1).restructured == ["A"]
    assert listing.hear(heard, NOW + 2).restructured == ()
    later = NOW + REST_LAG_US + SECOND
    assert listing.take([market("A", ranges=TENTHS)], later, later).restructured == []
    assert listing.take([market("A")], later, later).restructured == ["A"]
    assert listing.take([market("A", ranges=())], later, later).restructured == []
    assert grid(CENTS) is grid((PriceRange(start="0", end="1", step="0.01"),)), "equal grids share one word"


def test_messages_about_strangers_and_of_unknown_kinds() -> None:
    """They follow nothing; `activated` does, its `created` was missed."""
    listing = Listing()
    for event in ("determined", "settled", "metadata_updated", "price_level_structure_updated", "celebrated"):
        assert not any(listing.hear(says("A", event), NOW))
    assert listing.hear(says("A", "activated"), NOW).follow == ["A"]
    assert listing.hear(says("A", "determined", result="yes"), NOW).leave == []
    assert listing.tick(NOW + CLOSING_LINGER_S * SECOND).leave == ["A"]


def test_the_busy_get_the_room_of_the_quiet() -> None:
    """What has no room is offered once a walk; a quiet market leaves for one that trades more than twice as much."""
    listing = Listing()
    listing.begin_walk(NOW)
    rows = [market("Q1", volume=1), market("Q2", volume=5), market("BUSY", volume=900), market("SOSO", volume=9)]
    listing.take(rows[:2], NOW, NOW)
    listing.take(rows[2:], NOW, NOW)
    listing.homeless(["BUSY", "SOSO"])
    assert listing.take(rows, NOW, NOW).follow == []
    assert listing.offers() == Changes(["BUSY", "SOSO"], displaced=["Q1"])
    listing.homeless(["SOSO"])
    assert listing.followed() == ["BUSY", "Q2"]
    assert listing.offers() == Changes(["SOSO", "Q1"], displaced=[]), "SOSO trades less than twice what Q2 does"
    assert listing.offers() == Changes([], displaced=[])


def test_a_market_costs_few_bytes() -> None:
    """A million must fit: below 350 bytes, its name included."""
    rows = 20_000
    markets = (
        market(f"KXSERIES{n // 40:05d}-26NOV21-E{n // 5:06d}-T{n % 5}", volume=n % 1000, closes=NOW_S + n // 5)
        for n in range(rows)
    )
    listing = Listing()
    listing.take([market("WARM")], NOW, NOW)
    tracemalloc.start()
    try:
        for one in markets:
            listing.take([one], NOW, NOW)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listing) == rows + 1
    assert used / rows < 350


class Truth:
    """An exchange of a few markets, where everything may happen to them; pages show how it was when asked."""

    def __init__(self) -> None:
        self.now_s = NOW_S
        self.markets: dict[str, dict[str, int | str]] = {}

    def page(self, names: Iterable[str] | None = None) -> list[Market]:
        """What REST would show of markets now."""
        self.keep_time()
        return [
            market(ticker, str(one["status"]), opens=int(one["opens"]), closes=int(one["closes"]))
            for ticker, one in self.markets.items()
            if names is None or ticker in names
        ]

    def keep_time(self) -> None:
        """Open and close by the clock."""
        for one in self.markets.values():
            if one["status"] == "initialized" and int(one["opens"]) <= self.now_s:
                one["status"] = "active"
            if one["status"] in ("active", "inactive", "initialized") and int(one["closes"]) <= self.now_s:
                one["status"], one["since"] = "closed", one["closes"]

    def happen(self, ticker: str, event: str, seconds: int) -> LifecycleBody | None:
        """Let something happen, if it can; returns the message that is sent about it, if one is."""
        self.keep_time()
        one = self.markets.get(ticker)
        if one is None:
            if event != "created":
                return None
            opens, closes = self.now_s + seconds, self.now_s + 3 * seconds + 60
            self.markets[ticker] = {"status": "initialized", "opens": opens, "closes": closes, "since": 0}
            return says(ticker, "created", open_ts=opens, close_ts=closes)
        changes = {
            "activated": (("inactive",), "active"), "deactivated": (("active",), "inactive"),
            "determined": (("closed",), "determined"), "settled": (("active", "closed", "determined"), "finalized"),
        }  # fmt: skip
        if event == "close_date_updated" and one["status"] in ("active", "inactive"):
            one["closes"] = self.now_s + seconds + 1
            return says(ticker, event, close_ts=one["closes"])
        before, after = changes.get(event, ((), ""))
        if one["status"] not in before:
            return None
        one["status"] = after
        return says(ticker, event, is_deactivated=event == "deactivated")

    def wanted(self) -> set[str]:
        """Markets that ought to be followed."""
        self.keep_time()
        return {
            ticker
            for ticker, one in self.markets.items()
            if one["status"] in ("active", "inactive")
            or (one["status"] == "initialized" and int(one["opens"]) - OPENING_LEAD_S <= self.now_s)
        }


EVENTS = ("created", "activated", "deactivated", "determined", "settled", "close_date_updated")
STEPS = st.one_of(
    st.tuples(st.just("event"), st.sampled_from("ABCD"), st.sampled_from(EVENTS), st.integers(1, 9000), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 5000)),
    st.tuples(st.just("ask")),
    st.tuples(st.just("answer")),
)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_is_lost_or_late_the_next_walk_mends_it(steps: list[tuple[Any, ...]]) -> None:
    """Messages get lost, answers come late, and in the end the markets that ought to be followed are.

    In between, what was heard to have settled is not followed again because of an older answer.
    """
    truth, listing, followed = Truth(), Listing(), set[str]()
    asked: list[tuple[int, list[Market]]] = []
    heard_settled: dict[str, int] = {}

    def publish(changes: Changes) -> None:
        assert not followed & set(changes.follow), "nothing is followed twice"
        assert set(changes.leave) <= followed, "nothing is left that was not followed"
        followed.difference_update(changes.leave)
        followed.update(changes.follow)

    def now() -> int:
        return truth.now_s * SECOND

    for step in steps:
        if step[0] == "wait":
            truth.now_s += step[1]
            publish(listing.tick(now()))
        elif step[0] == "ask":
            asked.append((now(), truth.page()))
        elif step[0] == "answer" and asked:
            asked_us, page = asked.pop(0)
            publish(listing.take(page, asked_us, now()))
            assert not {one for one, when in heard_settled.items() if when >= asked_us} & followed
        elif step[0] == "event":
            _, ticker, event, seconds, is_heard = step
            body = truth.happen(ticker, event, seconds)
            if body is not None and is_heard:
                publish(listing.hear(body, now()))
                if event == "settled":
                    heard_settled[ticker] = now()
    truth.now_s += CLOSING_LINGER_S + 1  # everything that was on the way has come
    publish(listing.tick(now()))
    listing.begin_walk(now())
    publish(
        listing.take([one for one in truth.page() if one.status in ("initialized", "active", "inactive")], now(), now())
    )
    missing = listing.end_walk(now())
    publish(listing.take(truth.page(missing), now(), now()))
    publish(listing.vanished(set(missing) - set(truth.markets)))
    truth.now_s += CLOSING_LINGER_S + 1
    publish(listing.tick(now()))
    publish(listing.take(truth.page(), now(), now()))
    assert followed - truth.wanted() <= {
        ticker for ticker in followed if (one := listing.get(ticker)) and one.state is State.CLOSED
    }
    assert truth.wanted() <= followed


@pytest.mark.parametrize("text", ["", "soon", None])
def test_times_that_cannot_be_read(text: str | None) -> None:
    """A market without times is followed for as long as REST lists it."""
    listing = Listing()
    odd = Market(ticker="A", event_ticker="E", status="initialized", open_time=text, close_time=text)
    assert listing.take([odd], NOW, NOW).follow == ["A"]
    assert listing.tick(NOW + 10**6 * SECOND).leave == []
