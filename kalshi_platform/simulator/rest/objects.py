"""Series, events, markets, books and trades as REST writes them (protocol §5, §2.5).

Shapes only: which of them a request gets is `rest`'s business.
"""

from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from kalshi_platform.simulator.book import Book, Side
from kalshi_platform.simulator.market import Event, FeeChange, Market, Series, Status
from kalshi_platform.simulator.prices import COMBO_STRUCTURE, DOLLAR, PRICE_TEXT, rfc3339, rfc3339_ms, size_text
from kalshi_platform.simulator.trade_tape import TapeEntry

Json = dict[str, Any]

_SOURCES = [{"name": "The simulator", "url": "https://example.com/simulator"}]
_PICTURES = "https://example.com/simulator/pictures"
_TERMS = "https://example.com/simulator/terms.pdf"
_WEEK_MS = 7 * 86_400_000


def series(item: Series) -> Json:
    """A series."""
    return {
        "ticker": item.ticker,
        "title": item.title,
        "category": item.category,
        "categories": [item.category],
        "frequency": item.frequency,
        "tags": [],
        "settlement_sources": _SOURCES,
        "contract_url": _TERMS,
        "contract_terms_url": _TERMS,
        "fee_type": "quadratic",
        "fee_multiplier": 1,
        "additional_prohibitions": [],
        "exchange_index": 0,
        "last_updated_ts": rfc3339_ms(item.created_ms),
    }


def event(item: Event, category: str, markets: Sequence[Market] | None = None) -> Json:
    """An event, with its markets inside when they were asked for."""
    body: Json = {
        "event_ticker": item.ticker,
        "series_ticker": item.series_ticker,
        "title": item.title,
        "sub_title": item.sub_title,
        "category": category,
        "collateral_return_type": "MECNET" if item.mutually_exclusive else "",
        "mutually_exclusive": item.mutually_exclusive,
        "settlement_sources": _SOURCES,
        "strike_date": rfc3339_ms(item.strike_ms),
        "exchange_index": 0,
        "last_updated_ts": rfc3339_ms(item.created_ms),
    }
    if markets is not None:
        body["markets"] = [market(one) for one in markets]
    return body


def market(item: Market) -> Json:
    """A market: its listing, its best prices, and its result once there is one."""
    return _listing(item) | _strike(item) | _quote(item) | _settlement(item)


def _listing(item: Market) -> Json:
    listing = item.listing
    return {
        "ticker": listing.ticker,
        "event_ticker": listing.event_ticker,
        "market_type": "binary",
        "title": listing.title,
        "yes_sub_title": listing.yes_sub_title,
        "no_sub_title": listing.yes_sub_title,
        "created_time": rfc3339_ms(listing.created_ms),
        "updated_time": rfc3339_ms(item.updated_ms),
        "open_time": rfc3339_ms(item.open_ms),
        "close_time": rfc3339_ms(item.close_ms),
        "expected_expiration_time": rfc3339_ms(listing.expected_expiration_ms),
        "expiration_time": rfc3339_ms(listing.expected_expiration_ms + _WEEK_MS),
        "latest_expiration_time": rfc3339_ms(listing.expected_expiration_ms + _WEEK_MS),
        "settlement_timer_seconds": 1,
        "can_close_early": True,
        "notional_value_dollars": PRICE_TEXT[DOLLAR],
        "rules_primary": f"If the outcome is: {listing.yes_sub_title}, then the market resolves to Yes.",
        "rules_secondary": "",
        "early_close_condition": "This market may close as soon as the outcome is known.",
        "occurrence_datetime": rfc3339_ms(listing.expected_expiration_ms),
        "price_level_structure": item.structure.name,
        "price_ranges": item.structure.ranges(),
        "exchange_index": 1 if listing.is_combo else 0,
        "settlement_bounds_type": "default",
    }


def _strike(item: Market) -> Json:
    """What the market asks: a number to be exceeded, or for a combo several outcomes at once."""
    listing = item.listing
    if not listing.is_combo:
        return {"strike_type": "greater", "floor_strike": listing.strike}
    return {
        "strike_type": "custom",
        "custom_strike": {"Associated Markets": ",".join(leg.market_ticker for leg in listing.legs)},
        "mve_collection_ticker": listing.collection,
        "mve_selected_legs": [
            {"event_ticker": leg.event_ticker, "market_ticker": leg.market_ticker, "side": leg.side}
            for leg in listing.legs
        ],
        "is_provisional": not item.volume,
    }


def _quote(item: Market) -> Json:
    quote = item.quote()
    return {
        "status": str(item.status),
        "yes_bid_dollars": PRICE_TEXT[quote.yes_bid],
        "yes_bid_size_fp": size_text(quote.yes_bid_size),
        "yes_ask_dollars": PRICE_TEXT[quote.yes_ask],
        "yes_ask_size_fp": size_text(quote.yes_ask_size),
        "no_bid_dollars": PRICE_TEXT[DOLLAR - quote.yes_ask],
        "no_ask_dollars": PRICE_TEXT[DOLLAR - quote.yes_bid],
        "last_price_dollars": PRICE_TEXT[quote.last_price],
        "previous_price_dollars": PRICE_TEXT[0],
        "previous_yes_bid_dollars": PRICE_TEXT[0],
        "previous_yes_ask_dollars": PRICE_TEXT[0],
        "volume_fp": size_text(quote.volume),
        "volume_24h_fp": size_text(quote.volume),
        "open_interest_fp": size_text(quote.open_interest),
    }


def _settlement(item: Market) -> Json:
    body: Json = {"result": item.result, "expiration_value": ""}
    if item.status is Status.FINALIZED:
        body["settlement_value_dollars"] = PRICE_TEXT[DOLLAR if item.result == "yes" else 0]
        body["settlement_ts"] = rfc3339_ms(item.settled_ms)
    return body


def orderbook(book: Book, depth: int) -> Json:
    """A book: both keys are always there, levels ascend, the best stands last; `depth` 0 is all of it."""
    return {"yes_dollars": _levels(book, "yes", depth), "no_dollars": _levels(book, "no", depth)}


def _levels(book: Book, side: Side, depth: int) -> list[list[str]]:
    return [[PRICE_TEXT[price], size_text(size)] for price, size in book.ladder(side)[-depth:]]


def trade(entry: TapeEntry) -> Json:
    """A trade; its time has microseconds, unlike on the socket."""
    fact = entry.trade
    return {
        "trade_id": entry.trade_id,
        "ticker": entry.ticker,
        "count_fp": size_text(fact.size),
        "yes_price_dollars": PRICE_TEXT[fact.yes_price],
        "no_price_dollars": PRICE_TEXT[DOLLAR - fact.yes_price],
        "taker_side": fact.taker,
        "taker_outcome_side": fact.taker,
        "taker_book_side": "bid" if fact.taker == "yes" else "ask",
        "created_time": rfc3339(entry.micros),
        "is_block_trade": fact.is_block,
    }


def fee_change(item: Series) -> Json:
    """The change by which a series got its fee."""
    return {
        "id": str(uuid5(NAMESPACE_URL, f"fee:{item.ticker}")),
        "series_ticker": item.ticker,
        "fee_type": "quadratic",
        "fee_multiplier": 1,
        "scheduled_ts": rfc3339_ms(item.created_ms),
    }


def event_fee_change(change: FeeChange) -> Json:
    """A change by which an event got a fee of its own."""
    return {
        "id": str(uuid5(NAMESPACE_URL, f"fee:{change.event.ticker}:{change.changed_ms}")),
        "event_ticker": change.event.ticker,
        "series_ticker": change.event.series_ticker,
        "fee_type_override": change.fee_type,
        "fee_multiplier_override": change.multiplier,
        "scheduled_ts": rfc3339_ms(change.changed_ms),
    }


def event_metadata(item: Event, markets: Sequence[Market]) -> Json:
    """How an event is shown; there are no pictures here, only their addresses."""
    shown = [
        {"market_ticker": one.ticker, "image_url": f"{_PICTURES}/{one.ticker}.png", "color_code": "#0AC285"}
        for one in markets
    ]
    return {
        "image_url": f"{_PICTURES}/{item.ticker}.png",
        "market_details": shown,
        "settlement_sources": _SOURCES,
        "competition": item.series_ticker,
        "competition_scope": "Event",
    }


def structured_target(item: Event, category: str) -> Json:
    """What an event is about."""
    return {
        "id": str(uuid5(NAMESPACE_URL, f"target:{item.ticker}")),
        "name": item.sub_title,
        "type": "simulated_round",
        "details": {"competition": item.series_ticker, "category": category},
        "source_ids": {},
        "last_updated_ts": rfc3339_ms(item.created_ms),
    }


def milestone(item: Event, category: str) -> Json:
    """The moment at which an event is decided."""
    return {
        "id": str(uuid5(NAMESPACE_URL, f"milestone:{item.ticker}")),
        "category": category,
        "type": "simulated_outcome",
        "start_date": rfc3339_ms(item.strike_ms),
        "related_event_tickers": [item.ticker],
        "primary_event_tickers": [item.ticker],
        "title": item.title,
        "notification_message": f"{item.title} is decided.",
        "details": {},
        "last_updated_ts": rfc3339_ms(item.created_ms),
    }


def collection(ticker: str, series_ticker: str, events: list[Event]) -> Json:
    """A kind of combo over some events."""
    return {
        "collection_ticker": ticker,
        "series_ticker": series_ticker,
        "exchange_index": 1,
        "title": "Several outcomes at once",
        "description": "Resolves to Yes where every leg does.",
        "open_date": rfc3339_ms(min(event.created_ms for event in events)),
        "close_date": rfc3339_ms(max(event.strike_ms for event in events)),
        "associated_events": [{"ticker": event.ticker, "is_yes_only": False, "active_quoters": []} for event in events],
        "associated_event_tickers": [event.ticker for event in events],
        "is_single_market_per_event": False,
        "is_all_yes": False,
        "price_level_structure": COMBO_STRUCTURE.name,
        "price_ranges": COMBO_STRUCTURE.ranges(),
        "is_ordered": False,
        "size_min": 2,
        "size_max": 2,
        "functional_description": "and",
    }
