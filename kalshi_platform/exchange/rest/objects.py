"""What REST speaks of (kalshi-protocol.md §5): markets, events, series, books, trades, candles and the rest.

Prices and sizes are the exchange's own text, exact ("0.5600", "12.00"), times its RFC3339 text or Unix seconds, JSON
numbers Decimal. Enumerations are open: plain text, because unknown values come without notice (kalshi-pitfalls.md 20).
Only what names an object is required, since fields come and go. Kept out: endpoints, and how records are made.
"""

from decimal import Decimal
from typing import Any

from kalshi_platform.exchange.rest.records import Record

Level = tuple[str, str]
"""Price and size, as text."""


class ShardStatus(Record, frozen=True, kw_only=True):
    """Whether one shard of the exchange is up and trades."""

    exchange_index: int
    description: str | None = None
    exchange_active: bool | None = None
    trading_active: bool | None = None
    intra_exchange_transfers_active: bool | None = None


class ExchangeStatus(Record, frozen=True, kw_only=True):
    """Whether the exchange is up and trades, and when it means to be back."""

    exchange_active: bool
    trading_active: bool
    intra_exchange_transfers_active: bool | None = None
    exchange_estimated_resume_time: str | None = None
    exchange_index_statuses: tuple[ShardStatus, ...] = ()


class MaintenanceWindow(Record, frozen=True, kw_only=True):
    """One planned pause."""

    start_datetime: str
    end_datetime: str


class Schedule(Record, frozen=True, kw_only=True):
    """Trading hours by weekday (HH:MM, New York time) and planned pauses."""

    standard_hours: tuple[dict[str, Any], ...] = ()
    maintenance_windows: tuple[MaintenanceWindow, ...] = ()


class Bucket(Record, frozen=True, kw_only=True):
    """A token bucket as the exchange keeps it for a key."""

    refill_rate: Decimal
    bucket_capacity: Decimal


class AccountLimits(Record, frozen=True, kw_only=True):
    """What the key that asks may spend."""

    usage_tier: str | None = None
    read: Bucket
    write: Bucket | None = None
    grants: tuple[dict[str, Any], ...] = ()


class EndpointCost(Record, frozen=True, kw_only=True):
    """An endpoint that costs other than the default."""

    method: str
    path: str
    cost: int


class EndpointCosts(Record, frozen=True, kw_only=True):
    """Tokens per request: the default and the exceptions."""

    default_cost: int = 10
    endpoint_costs: tuple[EndpointCost, ...] = ()


class Series(Record, frozen=True, kw_only=True):
    """A family of events under one set of rules."""

    ticker: str
    title: str | None = None
    frequency: str | None = None
    category: str | None = None
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    settlement_sources: tuple[dict[str, Any], ...] = ()
    contract_url: str | None = None
    contract_terms_url: str | None = None
    product_metadata: dict[str, Any] | None = None
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None
    additional_prohibitions: tuple[str, ...] = ()
    volume_fp: str | None = None
    last_updated_ts: str | None = None
    exchange_index: int | None = None


class SeriesFeeChange(Record, frozen=True, kw_only=True):
    """A change of a series' fee."""

    id: str
    series_ticker: str
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None
    scheduled_ts: str | None = None


class EventFeeChange(Record, frozen=True, kw_only=True):
    """A change of one event's fee; without an override the event follows its series again."""

    id: str
    event_ticker: str
    series_ticker: str | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None
    scheduled_ts: str | None = None


class PriceRange(Record, frozen=True, kw_only=True):
    """A stretch of the price scale and its step."""

    start: str
    end: str
    step: str


class Market(Record, frozen=True, kw_only=True):
    """One market."""

    ticker: str
    event_ticker: str
    status: str
    market_type: str | None = None
    title: str | None = None
    subtitle: str | None = None
    yes_sub_title: str | None = None
    no_sub_title: str | None = None
    created_time: str | None = None
    updated_time: str | None = None
    open_time: str | None = None
    close_time: str | None = None
    expected_expiration_time: str | None = None
    expiration_time: str | None = None
    latest_expiration_time: str | None = None
    occurrence_datetime: str | None = None
    settlement_timer_seconds: int | None = None
    settlement_ts: str | None = None
    settlement_value_dollars: str | None = None
    settlement_bounds_type: str | None = None
    settlement_floor_dollars: str | None = None
    yes_bid_dollars: str | None = None
    yes_bid_size_fp: str | None = None
    yes_ask_dollars: str | None = None
    yes_ask_size_fp: str | None = None
    no_bid_dollars: str | None = None
    no_ask_dollars: str | None = None
    last_price_dollars: str | None = None
    previous_yes_bid_dollars: str | None = None
    previous_yes_ask_dollars: str | None = None
    previous_price_dollars: str | None = None
    notional_value_dollars: str | None = None
    volume_fp: str | None = None
    volume_24h_fp: str | None = None
    open_interest_fp: str | None = None
    result: str | None = None
    expiration_value: str | None = None
    can_close_early: bool | None = None
    early_close_condition: str | None = None
    fee_waiver_expiration_time: str | None = None
    strike_type: str | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    functional_strike: str | None = None
    custom_strike: dict[str, Any] | None = None
    rules_primary: str | None = None
    rules_secondary: str | None = None
    mve_collection_ticker: str | None = None
    mve_selected_legs: tuple[dict[str, Any], ...] = ()
    primary_participant_key: str | None = None
    price_level_structure: str | None = None
    price_ranges: tuple[PriceRange, ...] = ()
    is_provisional: bool | None = None
    exchange_index: int | None = None


class Event(Record, frozen=True, kw_only=True):
    """One thing that will happen; its markets only where they were asked for."""

    event_ticker: str
    series_ticker: str
    title: str | None = None
    sub_title: str | None = None
    category: str | None = None
    collateral_return_type: str | None = None
    mutually_exclusive: bool | None = None
    strike_date: str | None = None
    strike_period: str | None = None
    markets: tuple[Market, ...] = ()
    product_metadata: dict[str, Any] | None = None
    settlement_sources: tuple[dict[str, Any], ...] = ()
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None
    last_updated_ts: str | None = None
    exchange_index: int | None = None


class MarketDetails(Record, frozen=True, kw_only=True):
    """How one market of an event is shown."""

    market_ticker: str
    image_url: str | None = None
    color_code: str | None = None


class EventMetadata(Record, frozen=True, kw_only=True):
    """How an event is shown and what settles it; the exchange gives it apart from the event."""

    image_url: str | None = None
    featured_image_url: str | None = None
    market_details: tuple[MarketDetails, ...] = ()
    settlement_sources: tuple[dict[str, Any], ...] = ()
    competition: str | None = None
    competition_scope: str | None = None


class OrderBook(Record, frozen=True, kw_only=True):
    """Both sides' bids, ascending, the best last."""

    ticker: str
    yes_dollars: tuple[Level, ...] = ()
    no_dollars: tuple[Level, ...] = ()


class Trade(Record, frozen=True, kw_only=True):
    """One trade; `taker_outcome_side` is the direction, `taker_side` its deprecated twin (kalshi-pitfalls.md 16)."""

    trade_id: str
    ticker: str
    created_time: str
    count_fp: str
    yes_price_dollars: str
    no_price_dollars: str | None = None
    taker_outcome_side: str | None = None
    taker_book_side: str | None = None
    taker_side: str | None = None
    is_block_trade: bool | None = None


class Ohlc(Record, frozen=True, kw_only=True):
    """Prices within one period; trades also have a mean and the price before."""

    open_dollars: str | None = None
    low_dollars: str | None = None
    high_dollars: str | None = None
    close_dollars: str | None = None
    mean_dollars: str | None = None
    previous_dollars: str | None = None
    min_dollars: str | None = None
    max_dollars: str | None = None


class Candle(Record, frozen=True, kw_only=True):
    """One period of a market, named by its end in Unix seconds; live and historical candles have this one shape."""

    end_period_ts: int
    yes_bid: Ohlc | None = None
    yes_ask: Ohlc | None = None
    price: Ohlc | None = None
    volume_fp: str | None = None
    open_interest_fp: str | None = None


class Cutoff(Record, frozen=True, kw_only=True):
    """Up to when markets and trades have moved to /historical."""

    market_settled_ts: str
    trades_created_ts: str
    orders_updated_ts: str | None = None
    market_positions_last_updated_ts: str | None = None


class Milestone(Record, frozen=True, kw_only=True):
    """Something that happens in the world, and the events that hang on it."""

    id: str
    category: str | None = None
    type: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    related_event_tickers: tuple[str, ...] = ()
    primary_event_tickers: tuple[str, ...] = ()
    title: str | None = None
    notification_message: str | None = None
    source_id: str | None = None
    source_ids: dict[str, Any] | None = None
    details: dict[str, Any] | None = None
    last_updated_ts: str | None = None


class Collection(Record, frozen=True, kw_only=True):
    """A kind of combo: which events may be combined, and how."""

    collection_ticker: str
    series_ticker: str | None = None
    title: str | None = None
    description: str | None = None
    open_date: str | None = None
    close_date: str | None = None
    associated_events: tuple[dict[str, Any], ...] = ()
    associated_event_tickers: tuple[str, ...] = ()
    is_single_market_per_event: bool | None = None
    is_all_yes: bool | None = None
    price_level_structure: str | None = None
    price_ranges: tuple[PriceRange, ...] = ()
    is_ordered: bool | None = None
    size_min: int | None = None
    size_max: int | None = None
    functional_description: str | None = None
    exchange_index: int | None = None


class StructuredTarget(Record, frozen=True, kw_only=True):
    """A person, team or thing that markets of type `structured` are about."""

    id: str
    name: str | None = None
    type: str | None = None
    details: dict[str, Any] | None = None
    source_id: str | None = None
    source_ids: dict[str, Any] | None = None
    last_updated_ts: str | None = None
