"""The protocol of one connection, without a socket (kalshi-protocol.md §3.6)."""

import json
from typing import Any

from kalshi_platform.core.messages import Envelope, decode
from kalshi_platform.core.sequence import SequenceBreak
from kalshi_platform.exchange.session import (
    CHUNK,
    Channel,
    Ended,
    Event,
    Gap,
    Heard,
    OutOfSequence,
    Refused,
    Session,
    Started,
)


def commands(session: Session) -> list[dict[str, Any]]:
    """What the session wants to send now."""
    return [json.loads(one) for one in session.take_commands()]


def receive(session: Session, **frame: Any) -> list[Event]:
    """Let the session receive a frame."""
    return session.receive(decode(json.dumps(frame)))


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
        "channels": ["orderbook_delta"], "market_tickers": ["A", "B"], "use_yes_price": False, "skip_ticker_ack": True,
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
    assert session.receive_rejected(Envelope(type="orderbook_delta", sid=1, seq=1)) == []
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
