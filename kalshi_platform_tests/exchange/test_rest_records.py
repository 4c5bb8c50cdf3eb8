"""Decoded objects become records, and nothing that came with them is lost."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_platform.exchange.rest.objects import Event, Market, Trade
from kalshi_platform.exchange.rest.records import decode, read_page, to_raw, to_record, to_records

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def market(**more: Any) -> dict[str, Any]:
    """The least that a market is."""
    return {"ticker": "A", "event_ticker": "E", "status": "active"} | more


def test_unknown_fields_at_every_depth() -> None:
    """An event keeps its own, each of its markets theirs, each price range its."""
    ranges = [{"start": "0", "end": "1", "step": "0.01", "colour": "red"}]
    nested = [market(mood="calm", price_ranges=ranges)]
    event = to_record({"event_ticker": "E", "series_ticker": "S", "markets": nested, "weather": None, "odds": 3}, Event)
    assert event.extra == {"odds": 3}
    assert event.markets[0].extra == {"mood": "calm"}
    assert event.markets[0].price_ranges[0].extra == {"colour": "red"}


def test_numbers_stay_exact() -> None:
    """No float on the way, whether the field is known or not."""
    body = b'{"ticker":"A","event_ticker":"E","status":"s","floor_strike":4128.10,"cap_strike":7,"new":0.1}'
    found = to_record(decode(body), Market)
    assert (str(found.floor_strike), found.cap_strike, found.extra) == ("4128.10", Decimal(7), {"new": Decimal("0.1")})


def test_null_is_absent_and_unknown_values_are_welcome() -> None:
    """Null lists are empty, enumerations are open."""
    found = to_record(market(status="dreaming", mve_selected_legs=None, result=None), Market)
    assert (found.status, found.mve_selected_legs, found.result) == ("dreaming", (), None)
    assert to_records(None, Market) == []


@pytest.mark.parametrize("raw", [{}, [], 3, market(ticker=1), market(price_ranges={}), market(price_ranges=[1])])
def test_another_shape_is_refused(raw: Any) -> None:
    """With an error that says what is wrong."""
    with pytest.raises(msgspec.ValidationError):
        to_record(raw, Market)


@given(st.dictionaries(st.text().map("x_".__add__), VALUES))
def test_whatever_comes_is_kept(more: dict[str, Any]) -> None:
    """All unknown fields but null ones, unchanged."""
    found = to_record(decode(json.dumps(market(**more)).encode()), Market)
    assert found.extra == {key: value for key, value in more.items() if value is not None}


def test_a_record_becomes_what_was_sent() -> None:
    """Unknown fields at every depth included; null and empty lists are left out."""
    ranges = [{"start": "0", "end": "1", "step": "0.01", "colour": "red"}]
    sent = market(mood="calm", price_ranges=ranges, floor_strike=Decimal("1.50"), custom_strike={"a": None})
    nulls = {"result": None, "mve_selected_legs": []}
    assert to_raw(to_record(sent | nulls, Market)) == market(
        mood="calm",
        price_ranges=({"start": "0", "end": "1", "step": "0.01", "colour": "red"},),
        floor_strike=Decimal("1.50"),
        custom_strike={"a": None},
    )


@given(st.dictionaries(st.text().filter(lambda name: not name.startswith(" ")), VALUES))
def test_whatever_is_sent_comes_back(more: dict[str, Any]) -> None:
    """Except nulls, whatever the names of fields are."""
    sent = {name: value for name, value in more.items() if name not in Market.__struct_fields__}
    expected = market() | {name: value for name, value in sent.items() if value is not None}
    assert to_raw(to_record(market() | sent, Market)) == expected


TRADE = {
    "trade_id": "t", "ticker": "KXA-1", "created_time": "2026-11-21T00:00:00Z", "count_fp": "1.00",
    "yes_price_dollars": "0.5000", "is_block_trade": False,
}  # fmt: skip


@pytest.mark.parametrize(
    "more", [{}, {"taker_side": None}, {"new": 1.10}, {"new": {"a": [1.5, None]}, "taker_side": "yes"}]
)
@pytest.mark.parametrize("cursor", [{}, {"cursor": ""}, {"cursor": None}, {"cursor": "x"}, {"cursor": "x", "other": 1}])
def test_a_page_is_the_same_whichever_way_it_is_read(more: dict[str, Any], cursor: dict[str, Any]) -> None:
    """Straight into records, or through plain Python because of what nobody expected."""
    body = {"trades": [TRADE, TRADE | more], **cursor}
    records, following = read_page(json.dumps(body).encode(), "trades", Trade)
    assert records == to_records(decode(json.dumps(body["trades"]).encode()), Trade)
    assert following == (cursor.get("cursor") or None)


def test_a_page_that_is_none() -> None:
    """No list is an empty one; no such key, another shape, or no JSON is an error."""
    assert read_page(b'{"trades": null}', "trades", Trade) == ([], None)
    with pytest.raises(KeyError):
        read_page(b'{"markets": []}', "trades", Trade)
    for body in (b'{"trades": [{"ticker": 1}]}', b'{"trades": {}}', b"<html>"):
        with pytest.raises(msgspec.DecodeError):
            read_page(body, "trades", Trade)
