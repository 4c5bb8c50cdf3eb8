"""Filters that exclude each other are refused before anything is sent."""

from typing import Any

import pytest

from kalshi_platform.exchange.rest.filters import MarketFilters


@pytest.mark.parametrize(
    ("filters", "complaint"),
    [
        ({"min_created_ts": 1, "max_close_ts": 2}, "created and close exclude each other"),
        ({"min_updated_ts": 1, "min_settled_ts": 2}, "settled and updated exclude each other"),
        ({"min_close_ts": 1, "status": "open"}, "status open does not go with a time filter on close"),
        ({"max_settled_ts": 1, "status": "closed"}, "status closed does not go"),
        ({"max_created_ts": 1, "status": "settled"}, "status settled does not go"),
        ({"min_updated_ts": 1, "status": "open"}, "status open does not go"),
        ({"min_updated_ts": 1, "event_ticker": "E"}, "goes with mve_filter=exclude"),
        ({"min_updated_ts": 1, "series_ticker": "S"}, "needs mve_filter=exclude"),
        ({"mve_filter": "maybe"}, "only or exclude"),
    ],
)
def test_what_the_exchange_would_refuse(filters: dict[str, Any], complaint: str) -> None:
    """The text says which two do not go together."""
    with pytest.raises(ValueError, match=complaint):
        MarketFilters(**filters)


def test_what_is_sent() -> None:
    """Lists become one text, what is not given stays away."""
    sent = MarketFilters(status="settled", tickers=("A", "B"), min_settled_ts=0).query()
    assert {name: value for name, value in sent.items() if value is not None} == {
        "status": "settled",
        "tickers": "A,B",
        "min_settled_ts": 0,
    }
    MarketFilters(min_updated_ts=1, series_ticker="S", mve_filter="exclude")
