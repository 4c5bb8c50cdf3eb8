"""The `msg` objects of the WebSocket protocol, as JSON text (protocol §3.5).

An event is encoded once for all who hear of it; what differs per subscription (`type`, `sid`, `seq`) is put around it
by `subscriptions`. Prices and sizes are formatted instead of encoded because this is the hot path; everything rare
goes through a real encoder.
"""

from functools import lru_cache

import msgspec

from kalshi_platform.simulator.book import Book, Side
from kalshi_platform.simulator.ledger import whole_dollars
from kalshi_platform.simulator.market import Event, FeeChange, Listing, Market, Quote
from kalshi_platform.simulator.order_flow import Delta, Trade
from kalshi_platform.simulator.prices import DOLLAR, PRICE_TEXT, rfc3339_ms, size_text

LIFECYCLE_KINDS = {False: b"market_lifecycle_v2", True: b"multivariate_market_lifecycle"}
"""The type of a market's steps of life, by whether it is a combo."""

_SNAPSHOT_KEYS: dict[Side, str] = {"yes": "yes_dollars_fp", "no": "no_dollars_fp"}

_stamp = lru_cache(maxsize=64)(rfc3339_ms)


def snapshot(market: Market, *, yes_priced: bool) -> str:
    """The whole book; an empty side has no key at all.

    Args:
        market: Whose book.
        yes_priced: Write the no side on the yes scale (`use_yes_price`).
    """
    sides = "".join(_side(market.book, side, yes_priced=yes_priced) for side in ("yes", "no"))
    return f'{{"market_ticker":"{market.ticker}","market_id":"{market.listing.market_id}"{sides}}}'


def _side(book: Book, side: Side, *, yes_priced: bool) -> str:
    ladder = book.ladder(side)
    if not ladder:
        return ""
    if yes_priced and side == "no":
        ladder = [(DOLLAR - price, size) for price, size in reversed(ladder)]
    levels = ",".join(f'["{PRICE_TEXT[price]}","{size_text(size)}"]' for price, size in ladder)
    return f',"{_SNAPSHOT_KEYS[side]}":[{levels}]'


def delta(listing: Listing, fact: Delta, ts_ms: int, *, yes_priced: bool) -> str:
    """One level's change; `ts` is text here, unlike in trades and tickers."""
    price = DOLLAR - fact.price if yes_priced and fact.side == "no" else fact.price
    return (
        f'{{"market_ticker":"{listing.ticker}","market_id":"{listing.market_id}",'
        f'"price_dollars":"{PRICE_TEXT[price]}","delta_fp":"{size_text(fact.change)}","side":"{fact.side}",'
        f'"ts":"{_stamp(ts_ms)}","ts_ms":{ts_ms}}}'
    )


def trade(ticker: str, trade_id: str, fact: Trade, ts_ms: int) -> str:
    """One trade; `ts` counts whole seconds."""
    return (
        f'{{"trade_id":"{trade_id}","market_ticker":"{ticker}","yes_price_dollars":"{PRICE_TEXT[fact.yes_price]}",'
        f'"no_price_dollars":"{PRICE_TEXT[DOLLAR - fact.yes_price]}","count_fp":"{size_text(fact.size)}",'
        f'"taker_side":"{fact.taker}","taker_outcome_side":"{fact.taker}",'
        f'"taker_book_side":"{"bid" if fact.taker == "yes" else "ask"}",'
        f'"is_block_trade":{"true" if fact.is_block else "false"},"ts":{ts_ms // 1000},"ts_ms":{ts_ms}}}'
    )


def ticker(listing: Listing, quote: Quote, ts_ms: int) -> str:
    """Best prices and statistics; the no side is not sent."""
    return (
        f'{{"market_id":"{listing.market_id}","market_ticker":"{listing.ticker}",'
        f'"price_dollars":"{PRICE_TEXT[quote.last_price]}","yes_bid_dollars":"{PRICE_TEXT[quote.yes_bid]}",'
        f'"yes_ask_dollars":"{PRICE_TEXT[quote.yes_ask]}","yes_bid_size_fp":"{size_text(quote.yes_bid_size)}",'
        f'"yes_ask_size_fp":"{size_text(quote.yes_ask_size)}",'
        f'"last_trade_size_fp":"{size_text(quote.last_trade_size)}","volume_fp":"{size_text(quote.volume)}",'
        f'"open_interest_fp":"{size_text(quote.open_interest)}","dollar_volume":{whole_dollars(quote.volume)},'
        f'"dollar_open_interest":{whole_dollars(quote.open_interest)},"ts":{ts_ms // 1000},"ts_ms":{ts_ms},'
        f'"time":"{_stamp(ts_ms)}"}}'
    )


def created(market: Market, event: Event) -> str:
    """A market was listed."""
    listing = market.listing
    return _lifecycle(
        listing.ticker,
        "created",
        open_ts=market.open_ms // 1000,
        close_ts=market.close_ms // 1000,
        exchange_index=0,
        price_level_structure=market.structure.name,
        price_ranges=market.structure.ranges(),
        additional_metadata={
            "name": listing.yes_sub_title,
            "title": listing.title,
            "yes_sub_title": listing.yes_sub_title,
            "no_sub_title": listing.yes_sub_title,
            "rules_primary": f"If {event.title} ends above {listing.strike}, then the market resolves to Yes.",
            "rules_secondary": "",
            "can_close_early": True,
            "event_ticker": listing.event_ticker,
            "expected_expiration_ts": listing.expected_expiration_ms // 1000,
            "strike_type": "greater",
            "floor_strike": listing.strike,
        },
    )


def activated(market_ticker: str, *, is_deactivated: bool = False) -> str:
    """A market takes orders, or takes none for a while."""
    step = "deactivated" if is_deactivated else "activated"
    return _lifecycle(market_ticker, step, is_deactivated=is_deactivated)


def close_date_updated(market: Market) -> str:
    """A market closes at another time."""
    return _lifecycle(market.ticker, "close_date_updated", close_ts=market.close_ms // 1000)


def restructured(market: Market) -> str:
    """A market trades on another grid."""
    return _lifecycle(
        market.ticker,
        "price_level_structure_updated",
        price_level_structure=market.structure.name,
        price_ranges=market.structure.ranges(),
    )


def metadata_updated(market: Market) -> str:
    """Some of what was said at the listing is said again."""
    listing = market.listing
    return _lifecycle(
        market.ticker, "metadata_updated", floor_strike=listing.strike, yes_sub_title=listing.yes_sub_title
    )


def fee_updated(change: FeeChange) -> str:
    """An event has fees of its own, or those of its series again."""
    overrides = {"fee_type_override": change.fee_type, "fee_multiplier_override": change.multiplier}
    return _json({"event_ticker": change.event.ticker} | overrides)


def determined(market: Market, now_ms: int) -> str:
    """The outcome is known."""
    value = "1.0000" if market.result == "yes" else "0.0000"
    return _lifecycle(
        market.ticker, "determined", result=market.result, settlement_value=value, determination_ts=now_ms // 1000
    )


def settled(market: Market) -> str:
    """The winners were paid."""
    return _lifecycle(market.ticker, "settled", settled_ts=market.settled_ms // 1000)


def event_created(event: Event) -> str:
    """An event was listed; the only message that events have."""
    return _json(
        {
            "event_ticker": event.ticker,
            "exchange_index": 0,
            "title": event.title,
            "subtitle": event.sub_title,
            "collateral_return_type": "MECNET" if event.mutually_exclusive else "",
            "series_ticker": event.series_ticker,
            "strike_date": event.strike_ms // 1000,
        }
    )


def _lifecycle(market_ticker: str, event_type: str, **extra: object) -> str:
    return _json({"market_ticker": market_ticker, "event_type": event_type, **extra})


def _json(message: object) -> str:
    return msgspec.json.encode(message).decode()
