"""The exchange's objects as rows: series, events and markets in the schema's columns.

What cannot be read, a time or a price of a shape nobody knows, becomes an empty column: the whole object stands
beside it, so nothing is lost. Kept out: asking for the objects, storing the rows.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from kalshi_platform.core.catalogue import EventFacts, MarketFacts, SeriesFacts
from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.units import price_from_dollars
from kalshi_platform.exchange.rest.objects import Event, Market, Series
from kalshi_platform.exchange.rest.records import to_raw

STATUSES: Mapping[str, str] = {
    "unopened": "initialized",
    "open": "active",
    "paused": "inactive",
    "settled": "finalized",
}
"""Words that REST takes as filters, and wrote in earlier years → the words with which it answers today
(kalshi-protocol.md §2.4). Any other word stays as it came: enumerations are open (kalshi-pitfalls.md 20)."""


def series_facts(series: Series, seen_at: datetime) -> SeriesFacts:
    """A row of `series`."""
    return SeriesFacts(
        ticker=series.ticker,
        title=series.title,
        category=series.category,
        frequency=series.frequency,
        fee_type=series.fee_type,
        fee_multiplier=series.fee_multiplier,
        updated_ts=moment(series.last_updated_ts),
        seen_at=seen_at,
        object=to_raw(series),
    )


def event_facts(event: Event, seen_at: datetime) -> EventFacts:
    """A row of `events`; markets nested in the event stay in its object."""
    return EventFacts(
        event_ticker=event.event_ticker,
        series_ticker=event.series_ticker,
        title=event.title,
        sub_title=event.sub_title,
        category=event.category,
        mutually_exclusive=event.mutually_exclusive,
        strike_date=moment(event.strike_date),
        updated_ts=moment(event.last_updated_ts),
        seen_at=seen_at,
        object=to_raw(event),
    )


def market_facts(market: Market, seen_at: datetime) -> MarketFacts:
    """A row of `markets`."""
    return MarketFacts(
        ticker=market.ticker,
        event_ticker=market.event_ticker,
        status=STATUSES.get(market.status, market.status),
        market_type=market.market_type,
        yes_sub_title=market.yes_sub_title,
        no_sub_title=market.no_sub_title,
        open_time=moment(market.open_time),
        close_time=moment(market.close_time),
        expected_expiration_time=moment(market.expected_expiration_time),
        latest_expiration_time=moment(market.latest_expiration_time),
        settlement_ts=moment(market.settlement_ts),
        result=market.result or None,
        settlement_value=_price(market.settlement_value_dollars),
        strike_type=market.strike_type,
        floor_strike=market.floor_strike,
        cap_strike=market.cap_strike,
        updated_ts=moment(market.updated_time),
        seen_at=seen_at,
        object=to_raw(market),
    )


def moment(rfc3339: str | None) -> datetime | None:
    """A time as the exchange writes it; None where there is none, or none that can be read."""
    try:
        when = datetime.fromisoformat(rfc3339 or "")
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _price(dollars: str | None) -> int | None:
    try:
        return price_from_dollars(dollars) if dollars else None
    except FrameRejected:  # finer than a micro-dollar, which no market has paid yet
        return None
