"""The processed layer: each row of the raw layer with the event and the series of its market.

Row group by row group, in the order and the pieces of the raw file, so that the memory does not grow with the hour and
the same inputs give the same bytes. Kept out: where the facts about markets come from on the way to the lake.
"""

from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import Table
from kalshi_platform.lake.datasets import PROCESSED, RAW, Dataset
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.manifest import Coverage, read_manifest
from kalshi_platform.lake.writer import PartitionFacts, write_groups

_ADDED = ("event_ticker", "series_ticker")


def write_processed(lake: Lake, table: Table, start: datetime, markets: pa.Table) -> PartitionFacts:
    """Write one partition of the processed layer from the same partition of the raw layer.

    A market that is not in `markets`, or whose series is not known there, has no event or series in the rows either:
    nothing is guessed from names. What is known of coverage is taken over.

    Args:
        lake: Where both are.
        table: Which stream.
        start: Start of the hour or day.
        markets: Columns ticker, event_ticker and series_ticker, one row a market: see `known_markets`.

    Raises:
        IntegrityError: Where the raw partition is not in the lake.
    """
    raw, dataset = RAW[table.name], PROCESSED[table.name]
    footer = read_footer(lake, raw, start)
    if footer is None:
        raise IntegrityError(f"{lake.path(raw, start)} is missing: export it first")
    manifest = read_manifest(lake, raw, start)
    coverage = None
    if manifest is not None and manifest.markets is not None:
        coverage = Coverage(manifest.markets, manifest.uncovered)
    groups = _enriched(lake, raw, dataset, start, _sorted(markets))
    return write_groups(lake, dataset, (footer.window_start, footer.window_end), groups, coverage)


def known_markets(lake: Lake, start: datetime) -> pa.Table:
    """Ticker, event and series of the markets of a day, as `write_processed` takes them.

    From the state of markets and events of that day; where the lake does not have it, from the nearest later one,
    else from the last one before. Empty where it has none at all.
    """
    markets = _state(lake, RAW["markets"], start, ["ticker", "event_ticker"])
    events = _state(lake, RAW["events"], start, ["event_ticker", "series_ticker"])
    return markets.join(events, "event_ticker", join_type="left outer").select(["ticker", *_ADDED])


def _state(lake: Lake, dataset: Dataset, start: datetime, columns: list[str]) -> pa.Table:
    day = dataset.period.floor(start)
    days = lake.starts(dataset)
    later = [one for one in days if one >= day]
    if not days:
        return pa.schema([dataset.schema.field(name) for name in columns]).empty_table()
    with lake.open(lake.path(dataset, later[0] if later else days[-1])) as file:
        return pq.ParquetFile(file).read(columns=columns)


def _sorted(markets: pa.Table) -> pa.Table:
    """One row a market, whichever order they came in: where two contradict each other, the first by name."""
    ordered = markets.select(["ticker", *_ADDED]).sort_by([(name, "ascending") for name in ("ticker", *_ADDED)])
    return ordered.combine_chunks()


def _enriched(lake: Lake, raw: Dataset, dataset: Dataset, start: datetime, markets: pa.Table) -> Iterator[pa.Table]:
    names = markets["ticker"]
    with lake.open(lake.path(raw, start)) as file:
        source = pq.ParquetFile(file)
        for index in range(source.num_row_groups):
            group = source.read_row_group(index)
            tickers = group["ticker"].combine_chunks().dictionary_encode()
            rows = pc.index_in(tickers.dictionary, value_set=names)  # the first row of each market, or nothing
            for name in _ADDED:
                values = markets[name].take(rows).combine_chunks()
                group = group.append_column(name, values.take(tickers.indices))
            yield group.cast(dataset.schema)
