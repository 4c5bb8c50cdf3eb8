"""Series, events, markets, books and trades as REST writes them (protocol §5, §2.5).

Shapes only: which of them a request gets is `rest`'s business.
"""

from collections.abc import Sequence
from typing import Any

from kalshi_platform.simulator.book import Book, Side
from kalshi_platform.simulator.market import Event, Market, Series, Status
from kalshi_platform.simulator.prices import DOLLAR, PRICE_TEXT, rfc3339, rfc3339_ms, size_text
from kalshi_platform.simulator.trade_tape import TapeEntry

Json = dict[str, Any]

_SOURCES = [{"name": "The simulator", "url": "https://example.com/simulator"}]
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
    return _listing(item) | _quote(item) | _settlement(item)


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
        "strike_type": "greater",
        "floor_strike": listing.strike,
        "rules_primary": f"If the outcome is above {listing.strike}, then the market resolves to Yes.",
        "rules_secondary": "",
        "price_level_structure": item.structure.name,
        "price_ranges": item.structure.ranges(),
        "exchange_index": 0,
        "settlement_bounds_type": "default",
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
