"""What is asked for: which markets, from when until when; and the months that this is.

Kept out: what it takes to fetch it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from kalshi_platform.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRequest:
    """Trades of a range of time.

    Attributes:
        start: First second, aware.
        end: Second behind the last, aware; where it lies ahead, what is past by then is fetched, and the rest when the
            same request comes again.
        tickers: These markets.
        series: Or every market of these series.
        all_markets: Or every market of the exchange, combos included.

    Raises:
        ConfigurationError: None of the three is chosen, or more than one; or the range is none.
    """

    start: datetime
    end: datetime
    tickers: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    all_markets: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be fetched."""
        if [bool(self.tickers), bool(self.series), self.all_markets].count(True) != 1:
            raise ConfigurationError(
                "a backfill is of tickers, or of series, or of all markets: choose one of the three"
            )
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ConfigurationError("a backfill's start and end name their time zone")
        if self.start >= self.end:
            raise ConfigurationError(f"the backfill ends ({self.end}) before it starts ({self.start}): turn them round")
        if self.start.microsecond or self.end.microsecond:
            raise ConfigurationError("a backfill starts and ends at whole seconds, as the exchange counts them")

    @property
    def job_id(self) -> str:
        """The job that this request is; the same request always is the same job."""
        return blake2b(msgspec.json.encode(self.described(), order="sorted"), digest_size=12).hexdigest()

    def described(self) -> dict[str, Any]:
        """The request as JSON."""
        return {
            "start": self.start.astimezone(UTC).isoformat(),
            "end": self.end.astimezone(UTC).isoformat(),
            "tickers": sorted(set(self.tickers)),
            "series": sorted(set(self.series)),
            "all_markets": self.all_markets,
        }


def months(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """A range cut at the beginnings of months, UTC."""
    while start < end:
        day = start.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0)
        following = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
        yield start, min(following, end)
        start = following
