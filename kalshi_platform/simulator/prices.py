"""Prices, sizes and times as the exchange writes them, and the grids that prices stand on.

Inside the simulator a price is an integer of 1e-4 dollars and a size an integer of 1e-2 contracts (protocol §4).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache

DOLLAR = 10_000
"""One dollar, the payout of a contract, in price units."""

PRICE_TEXT = tuple(f"{price // DOLLAR}.{price % DOLLAR:04d}" for price in range(DOLLAR + 1))
"""Every possible price as the wire writes it; looked up, because it is needed for every message."""


_HUNDREDTHS = tuple(f".{n:02d}" for n in range(100))


def size_text(hundredths: int) -> str:
    """Write a size or a change of one: always two decimals, with a sign only when negative."""
    if hundredths < 0:
        return f"-{-hundredths // 100}{_HUNDREDTHS[-hundredths % 100]}"
    return f"{hundredths // 100}{_HUNDREDTHS[hundredths % 100]}"


def rfc3339(micros: int) -> str:
    """Write a time like the exchange: UTC, with a `Z` and without the trailing zeros of the fraction."""
    seconds, fraction = divmod(micros, 1_000_000)
    whole = _second_text(seconds)
    digits = f"{fraction:06d}".rstrip("0")
    return f"{whole}.{digits}Z" if digits else f"{whole}Z"


@lru_cache(maxsize=64)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339_ms(millis: int) -> str:
    """Write a time given in milliseconds; see `rfc3339`."""
    return rfc3339(millis * 1000)


@dataclass(frozen=True, slots=True)
class Band:
    """One stretch of the price scale with one step."""

    start: int
    end: int
    step: int


@dataclass(frozen=True)
class PriceStructure:
    """The prices at which orders may rest; `name` is a label, the bands are what counts."""

    name: str
    bands: tuple[Band, ...]

    @cached_property
    def prices(self) -> tuple[int, ...]:
        """Every price strictly between zero and a dollar, ascending."""
        ticks = {price for band in self.bands for price in range(band.start, band.end + 1, band.step)}
        return tuple(sorted(ticks - {0, DOLLAR}))

    @cached_property
    def index(self) -> dict[int, int]:
        """Where each price stands in `prices`."""
        return {price: position for position, price in enumerate(self.prices)}

    def ranges(self) -> list[dict[str, str]]:
        """The bands as REST and lifecycle messages carry them."""
        return [
            {"start": PRICE_TEXT[band.start], "end": PRICE_TEXT[band.end], "step": PRICE_TEXT[band.step]}
            for band in self.bands
        ]


_STEPS = {"whole": 100, "half": 50, "quint": 20, "deci": 10}


def _tapered(name: str, edge: int, centre: int, width: int) -> PriceStructure:
    """Steps of one size up to `width` from either end, and of another between."""
    bands = (Band(0, width, edge), Band(width, DOLLAR - width, centre), Band(DOLLAR - width, DOLLAR, edge))
    return PriceStructure(name, bands)


LINEAR_CENT = PriceStructure("linear_cent", (Band(0, DOLLAR, 100),))
DECI_CENT = PriceStructure("deci_cent", (Band(0, DOLLAR, 10),))
CENTI_CENT = PriceStructure("center_centi_edge_centi_cent", (Band(0, DOLLAR, 1),))
TAPERED_DECI_CENT = _tapered("tapered_deci_cent", 10, 100, 1000)
COMBO_STRUCTURE = _tapered("center_deci_edge_centi_cent", 1, 10, 100)

CENTRE_AND_EDGE = tuple(
    _tapered(f"center_{centre}_edge_{edge}_cent", _STEPS[edge], _STEPS[centre], 1000)
    for centre in ("whole", "half", "quint")
    for edge in ("half", "quint", "deci")
    if _STEPS[edge] < _STEPS[centre]
)
"""The six whose edges are finer than their centre; which the seventh is, the protocol notes do not say."""

STRUCTURES = (DECI_CENT, LINEAR_CENT, TAPERED_DECI_CENT, CENTI_CENT, COMBO_STRUCTURE, *CENTRE_AND_EDGE)

STRUCTURE_MIX = (
    (DECI_CENT, 0.6),
    (LINEAR_CENT, 0.2),
    (TAPERED_DECI_CENT, 0.08),
    *((structure, 0.015) for structure in (CENTI_CENT, COMBO_STRUCTURE, *CENTRE_AND_EDGE)),
)
"""How often a new market stands on which grid (chosen here; the exchange publishes no shares)."""
