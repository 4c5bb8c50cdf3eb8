"""What `GET /markets` may be asked for, checked before it is sent (kalshi-protocol.md §2.4)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

_FAMILIES: dict[str, tuple[tuple[str, ...], frozenset[str | None]]] = {
    "created": (("min_created_ts", "max_created_ts"), frozenset({None, "unopened", "open"})),
    "close": (("min_close_ts", "max_close_ts"), frozenset({None, "closed"})),
    "settled": (("min_settled_ts", "max_settled_ts"), frozenset({None, "settled"})),
    "updated": (("min_updated_ts",), frozenset({None})),
}
"""Family of time filters → its parameters, and the statuses that go with it."""


class MarketStatus(StrEnum):
    """States that may be asked for; `all` asks for none."""

    ALL = "all"
    UNOPENED = "unopened"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketFilters:
    """Filters of `GET /markets`; times are Unix seconds. What is asked for is not what is answered: `open` → `active`.

    Raises:
        ValueError: Two filters exclude each other; the text says which.
    """

    status: str | None = None
    event_ticker: str | None = None
    series_ticker: str | None = None
    tickers: Sequence[str] = ()
    mve_filter: str | None = None
    min_created_ts: int | None = None
    max_created_ts: int | None = None
    min_close_ts: int | None = None
    max_close_ts: int | None = None
    min_settled_ts: int | None = None
    max_settled_ts: int | None = None
    min_updated_ts: int | None = None

    def __post_init__(self) -> None:
        """Refuse what the exchange would refuse."""
        if self.mve_filter not in (None, "only", "exclude"):
            raise ValueError(f"mve_filter is only or exclude, not {self.mve_filter}")
        given = [
            name for name, (fields, _) in _FAMILIES.items() if any(getattr(self, one) is not None for one in fields)
        ]
        if len(given) > 1:
            raise ValueError(f"time filters on {' and '.join(given)} exclude each other; ask once for each")
        if given and self.status not in _FAMILIES[given[0]][1]:
            raise ValueError(f"status {self.status} does not go with a time filter on {given[0]}")
        if self.min_updated_ts is not None:
            self._check_updated()

    def _names_any(self, names: Sequence[str]) -> bool:
        return any(getattr(self, name) is not None for name in names)

    def _check_updated(self) -> None:
        if self.event_ticker or self.tickers or self.mve_filter == "only":
            raise ValueError("min_updated_ts goes with mve_filter=exclude and series_ticker only")
        if self.series_ticker and self.mve_filter != "exclude":
            raise ValueError("min_updated_ts with series_ticker needs mve_filter=exclude")

    def query(self) -> dict[str, str | int | None]:
        """The parameters as they are sent."""
        return asdict(self) | {"tickers": ",".join(self.tickers) or None}
