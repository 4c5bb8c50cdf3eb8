"""What is known of series, events and markets at one moment, in the schema's columns.

Whoever asks the exchange makes these and hands them to the database. Kept out: the exchange's objects, and storing.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """A row of `series`; fields as the columns, `object` whole as the exchange sent it."""

    ticker: str
    title: str | None = None
    category: str | None = None
    frequency: str | None = None
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None
    updated_ts: datetime | None = None
    seen_at: datetime
    object: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFacts:
    """A row of `events`; fields as the columns, `object` whole as the exchange sent it."""

    event_ticker: str
    series_ticker: str
    title: str | None = None
    sub_title: str | None = None
    category: str | None = None
    mutually_exclusive: bool | None = None
    strike_date: datetime | None = None
    updated_ts: datetime | None = None
    seen_at: datetime
    object: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketFacts:
    """A row of `markets`; fields as the columns, `object` whole as the exchange sent it."""

    ticker: str
    event_ticker: str
    status: str
    market_type: str | None = None
    yes_sub_title: str | None = None
    no_sub_title: str | None = None
    open_time: datetime | None = None
    close_time: datetime | None = None
    expected_expiration_time: datetime | None = None
    latest_expiration_time: datetime | None = None
    settlement_ts: datetime | None = None
    result: str | None = None
    settlement_value: int | None = None
    strike_type: str | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    updated_ts: datetime | None = None
    seen_at: datetime
    object: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSeen:
    """A row of `market_statuses`: somebody saw a market in this status at this moment.

    Attributes:
        source: rest or lifecycle.
    """

    ticker: str
    status: str
    seen_at: datetime
    source: str
