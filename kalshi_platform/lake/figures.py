"""Figures of one file for a picture: how much happened in each minute, and how wide the spread was.

Reads no more than the columns it needs. Kept out: how figures look (`defs.pictures`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.layout import Lake

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Minutes:
    """How many rows each minute of a window has, silent ones included."""

    start: datetime
    counts: Sequence[int]

    @property
    def moments(self) -> list[datetime]:
        """The start of each minute."""
        return [self.start + number * _MINUTE for number in range(len(self.counts))]


@dataclass(frozen=True, slots=True)
class Spreads:
    """Spreads of the minutes in which any market was quoted on both sides, in cents.

    Attributes:
        moments: The start of each such minute.
        median: Of all quotes of the minute.
        widest: The ninth decile.
    """

    moments: Sequence[datetime]
    median: Sequence[float]
    widest: Sequence[float]


def rows_per_minute(lake: Lake, dataset: Dataset, start: datetime, until: datetime) -> Minutes:
    """Count the rows of one partition by the minute of their time, up to `until`."""
    counts = [0] * -((start - until) // _MINUTE)
    for batch in _batches(lake, dataset, start, [str(dataset.time)]):
        found = pc.value_counts(pc.floor_temporal(batch.column(0), unit="minute"))
        for one in found.to_pylist():
            place = (one["values"] - start) // _MINUTE
            if 0 <= place < len(counts):
                counts[place] += one["counts"]
    return Minutes(start, counts)


def spreads(lake: Lake, dataset: Dataset, starts: Iterable[datetime]) -> Spreads:
    """Spreads of partitions of tickers, by the minute."""
    columns = [str(dataset.time), "yes_bid", "yes_ask"]
    parts = []
    for batch in chain.from_iterable(_batches(lake, dataset, start, columns) for start in starts):
        time, bid, ask = (batch.column(name) for name in columns)
        quoted = pc.and_(pc.greater(bid, pa.scalar(0)), pc.less(ask, pa.scalar(1)))
        cents = pc.multiply(pc.cast(pc.subtract(ask, bid), pa.float64()), 100.0)
        rows = pa.table({"minute": pc.floor_temporal(time, unit="minute"), "cents": cents})
        parts.append(rows.filter(pc.fill_null(quoted, fill_value=False)))
    if not any(part.num_rows for part in parts):
        return Spreads((), (), ())
    options = pc.TDigestOptions(q=[0.5, 0.9])
    grouped = pa.concat_tables(parts).group_by("minute").aggregate([("cents", "tdigest", options)]).sort_by("minute")
    deciles = grouped["cents_tdigest"].to_pylist()
    return Spreads(grouped["minute"].to_pylist(), [one[0] for one in deciles], [one[1] for one in deciles])


def _batches(lake: Lake, dataset: Dataset, start: datetime, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with lake.open(lake.path(dataset, start)) as file:
        yield from pq.ParquetFile(file).iter_batches(columns=columns)
