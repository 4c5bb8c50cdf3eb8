"""Partitions: how the record is cut into pieces that are made, checked and made again on their own.

- Add here: every partitions definition; assets that depend on each other share one.
- Keep out: markets. Partitions are time alone: Dagster's pages suffer from 30,000 on (ecosystem.md part 1 section 6).
- Hours are UTC, because the hour of a clock that changes is missing or doubled twice a year.
- Dagster's word: partitions, https://docs.dagster.io/guides/build/partitions-and-backfills
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from kalshi_platform.core.schema import Table
from kalshi_platform.lake.datasets import RAW, Dataset, Period

HOURLY = dg.HourlyPartitionsDefinition(start_date="2026-08-01-00:00", timezone="UTC")
"""Every hour since the first one that anybody has recorded with today's fields."""

DAILY = dg.DailyPartitionsDefinition(start_date="2021-07-01", timezone="UTC", end_offset=1)
"""Every day since the exchange opened, because trades can be had that far back; the one that is still going on
included: its file grows with each closed hour."""

HOUR = timedelta(hours=1)


def partitions_of(what: Table | Dataset) -> dg.TimeWindowPartitionsDefinition:
    """How a stream table or a dataset of the lake is cut: as its files are."""
    return HOURLY if period_of(what) is Period.HOUR else DAILY


def period_of(what: Table | Dataset) -> Period:
    """How much time one partition holds."""
    return what.period if isinstance(what, Dataset) else RAW[what.name].period


def window_of(what: Table | Dataset, partition_key: str) -> tuple[datetime, datetime]:
    """Start and end of the hour or day that a partition key names."""
    window = partitions_of(what).time_window_for_partition_key(partition_key)
    return window.start, window.end


def key_at(what: Table | Dataset, moment: datetime) -> str:
    """The key of the partition that a moment lies in."""
    return period_of(what).floor(moment).strftime(partitions_of(what).fmt)


def hours_closed(first: datetime, mark: datetime, most: int) -> list[datetime]:
    """Starts of the hours from that of `first` on which ended by `mark`, as far as there are partitions for them."""
    last = HOURLY.get_last_partition_window()
    end = min(mark, last.end) if last else HOURLY.start
    hour = max(first.astimezone(UTC).replace(minute=0, second=0, microsecond=0), HOURLY.start)
    return [hour + n * HOUR for n in range(min(most, (end - hour) // HOUR))]
