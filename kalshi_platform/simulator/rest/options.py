"""Every choice about the REST side of a simulated exchange: rate limits, caching, the historical cutoff, faults.

Kept out: what the exchange lists and how busy it is (`options`), and how the choices are carried out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

TIERS: Mapping[str, tuple[int, int, int, int]] = {
    "basic": (200, 400, 100, 200),
    "advanced": (300, 600, 300, 600),
    "expert": (600, 600, 600, 600),
    "premier": (1_200, 1_200, 1_200, 1_200),
    "paragon": (2_400, 2_400, 2_400, 2_400),
    "prime": (4_800, 4_800, 4_800, 4_800),
    "prestige": (12_000, 12_000, 9_600, 9_600),
}
"""Tier → read tokens a second, most of them at once, and the same for writes (protocol §2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestOptions:
    """How REST behaves."""

    tier: str = "basic"
    """Usage tier of every key: what its token bucket holds, and what `/account/limits` says."""

    default_cost: int = 10
    """Tokens that a signed request takes; anonymous ones are not billed."""

    endpoint_costs: Mapping[str, int] = field(default_factory=dict)
    """Other costs, by path below `/trade-api/v2` with its `{names}` as in the routes."""

    cache_seconds: float = 15.0
    """How old an answer to an anonymous request may be; 0 is always fresh."""

    historical_cutoff_ms: int = 0
    """Markets settled and trades made before this are found under /historical only; 0 moves nothing."""

    omit_last_cursor: bool = False
    """Whether a last page has no `cursor` at all instead of an empty one; both were seen."""

    failures: Mapping[int, int] = field(default_factory=dict)
    """Number of a request, counted from 1 → the status that it is answered with instead of its answer."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: names the field and what it accepts.
        """
        if self.tier not in TIERS:
            raise ValueError(f"tier must be one of {', '.join(TIERS)}, not {self.tier}")
        for name in ("default_cost", "cache_seconds", "historical_cutoff_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}")
