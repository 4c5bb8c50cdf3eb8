"""Exact units."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_platform.core.errors import FrameRejected, Reason
from kalshi_platform.core.units import (
    MAX_SIZE,
    amount_from_contracts,
    contracts_from_size,
    datetime_from_us,
    dollars_from_price,
    price_from_dollars,
    size_from_contracts,
    us_from_datetime,
    us_from_rfc3339,
)


@given(st.integers(0, 1_000_000))
def test_every_price_survives_the_way_there_and_back(price: int) -> None:
    """A price's text means the same price."""
    assert price_from_dollars(dollars_from_price(price)) == price


@given(st.integers(-MAX_SIZE, MAX_SIZE))
def test_every_size_survives_the_way_there_and_back(size: int) -> None:
    """A size's text means the same size."""
    assert size_from_contracts(contracts_from_size(size)) == size


@given(st.decimals(0, 1, places=9))
def test_a_price_is_exact_or_refused(dollars: Decimal) -> None:
    """No price is ever rounded."""
    micro = dollars * 1_000_000
    if micro == int(micro):
        assert price_from_dollars(f"{dollars:f}") == micro
    else:
        with pytest.raises(FrameRejected) as caught:
            price_from_dollars(f"{dollars:f}")
        assert caught.value.reason is Reason.BAD_PRICE


@pytest.mark.parametrize(("text", "price"), [("0.5600", 560_000), ("0", 0), ("1.0000", 1_000_000), ("0.0001", 100)])
def test_prices_as_the_exchange_sends_them(text: str, price: int) -> None:
    """Dollars become micro-dollars."""
    assert price_from_dollars(text) == price


@pytest.mark.parametrize(
    "text",
    [
        "0.12345678",
        "1.000001",
        "-0.01",
        "",
        ".",
        ".5",
        "1e-2",
        " 0.5",
        "0.5 ",
        "\u0660.\u0665",
        "0_1",
        "nan",
        "0" * 5000,
    ],
)
def test_prices_that_do_not_fit_are_refused(text: str) -> None:
    """Too fine, out of range, or no plain decimal."""
    with pytest.raises(FrameRejected):
        price_from_dollars(text)


@pytest.mark.parametrize("text", ["1.005", "--1", "+1", "1,5", "9999999999999999999", "²"])
def test_sizes_that_do_not_fit_are_refused(text: str) -> None:
    """Too fine, too large, or no plain decimal."""
    with pytest.raises(FrameRejected) as caught:
        size_from_contracts(text)
    assert caught.value.reason is Reason.BAD_SIZE


def test_a_resting_size_is_never_negative() -> None:
    """Only deltas have a sign."""
    assert amount_from_contracts("2.50") == 250
    with pytest.raises(FrameRejected):
        amount_from_contracts("-2.50")


@given(st.datetimes(datetime(2021, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_are_exact(moment: datetime) -> None:
    """Microseconds survive, by number and by text, with trailing zeros stripped or not."""
    time_us = us_from_datetime(moment)
    assert datetime_from_us(time_us) == moment
    assert us_from_rfc3339(moment.isoformat()) == time_us
    stripped = moment.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
    assert us_from_rfc3339(stripped) == time_us


@pytest.mark.parametrize("text", ["yesterday", "2026-11-21T00:00:00", ""])
def test_times_without_a_zone_or_sense_are_refused(text: str) -> None:
    """A stamp must name its zone."""
    with pytest.raises(FrameRejected):
        us_from_rfc3339(text)
