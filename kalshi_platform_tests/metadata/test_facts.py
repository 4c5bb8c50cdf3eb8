from datetime import UTC, datetime
from decimal import Decimal

import pytest

from kalshi_platform.exchange.rest.objects import Market
from kalshi_platform.exchange.rest.records import to_record
from kalshi_platform.metadata.facts import market_facts, moment

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("open", "active"), ("unopened", "initialized"), ("paused", "inactive"), ("settled", "finalized")]
    + [(word, word) for word in ("initialized", "active", "inactive", "closed", "determined", "finalized", "novel")],
)
def test_a_status_has_one_word(sent: str, kept: str) -> None:
    """Words of filters and of earlier years become those of answers; words that nobody knows stay."""
    assert market_facts(Market(ticker="M", event_ticker="E", status=sent), NOW).status == kept


def test_what_cannot_be_read_is_empty_and_stays_in_the_object() -> None:
    """One odd field is no reason to lose a market."""
    raw = {"ticker": "M", "event_ticker": "E", "status": "finalized", "settlement_value_dollars": "0.12345678"}
    raw |= {"close_time": "soon", "floor_strike": Decimal("1.10"), "brand_new": {"a": 1}, "result": ""}  # type: ignore[dict-item]
    facts = market_facts(to_record(dict(raw), Market), NOW)
    assert (facts.close_time, facts.settlement_value, facts.result) == (None, None, None)
    assert facts.floor_strike == Decimal("1.10")
    assert facts.object["close_time"] == "soon"
    assert facts.object["brand_new"] == {"a": 1}


def test_times() -> None:
    """With and without a zone, to the microsecond."""
    assert moment("2026-11-21T12:00:00Z") == moment("2026-11-21T12:00:00") == NOW
    assert moment("2026-11-21T12:00:00.123456789Z") == NOW.replace(microsecond=123_456)
    assert moment(None) is None
