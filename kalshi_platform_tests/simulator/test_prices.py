import pytest

from kalshi_platform.simulator.prices import (
    DECI_CENT,
    DOLLAR,
    LINEAR_CENT,
    PRICE_TEXT,
    TAPERED_DECI_CENT,
    PriceStructure,
    rfc3339,
    rfc3339_ms,
    size_text,
)


def test_texts_have_the_wire_form() -> None:
    """Four decimals for prices, two for sizes, a fraction without trailing zeros for times."""
    assert (PRICE_TEXT[0], PRICE_TEXT[DOLLAR]) == ("0.0000", "1.0000")
    assert PRICE_TEXT[6410] == "0.6410"
    assert [size_text(n) for n in (0, 7, -7, 250, -250, 123456)] == [
        "0.00",
        "0.07",
        "-0.07",
        "2.50",
        "-2.50",
        "1234.56",
    ]
    assert rfc3339_ms(1795219201034) == "2026-11-21T00:00:01.034Z"
    assert rfc3339_ms(1795219201030) == "2026-11-21T00:00:01.03Z"
    assert rfc3339(1795219201000000) == "2026-11-21T00:00:01Z"


@pytest.mark.parametrize(("structure", "prices"), [(DECI_CENT, 999), (LINEAR_CENT, 99), (TAPERED_DECI_CENT, 279)])
def test_grids_are_symmetric(structure: PriceStructure, prices: int) -> None:
    """What is a price on the yes side is one on the no side; nothing costs nothing or a dollar."""
    assert len(structure.prices) == prices
    assert {DOLLAR - price for price in structure.prices} == set(structure.prices)
    assert [structure.prices[n] for n in structure.index.values()] == list(structure.index)
