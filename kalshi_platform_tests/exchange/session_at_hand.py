"""A session without a socket, and the exchange's side of its talk: what the tests of the protocol share."""

import json
from typing import Any

from kalshi_platform.core.messages import decode
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.events import (
    Event,
    Started,
)
from kalshi_platform.exchange.session import Channel, Session

NOW = 1_795_219_200 * SECOND
"""2026-11-21, µs since 1970."""


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
