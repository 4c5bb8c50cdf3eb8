"""An hour of books for the definition of best prices: what was heard of it, and its markets some at a time.

Puts views before those of `connect`, in a connection that serves nothing else. Kept out: the definition
(`aggregates`), and writing what it gives (`aggregate`).
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

import duckdb
import pyarrow as pa

from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.holes import manifest_holes
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.partitions import in_days, in_hours
from kalshi_platform.lake.reader import quoted
from kalshi_platform.lake.schema import TEXT, TIME

PORTION = 100_000
"""Changes and levels of checkpoints that are taken at once. An hour of 1,000,000 in 5,000 markets did not fit into the
memory at once; so it takes 687 MiB and 30 s of CPU, and 254,000 changes of one market, which is not cut, 323 MiB."""

_DELTAS, _SNAPSHOTS = RAW["orderbook_deltas"], RAW["orderbook_snapshots"]
_HOLE: Mapping[str, pa.DataType] = {"hour": TIME, "ticker": TEXT, "from_at": TIME, "until_at": TIME}
_HEARD = (
    """
CREATE OR REPLACE VIEW uncovered_intervals AS
SELECT hour, channel, ticker, from_at, until_at, date FROM raw.uncovered_intervals
WHERE channel <> 'orderbook_delta' OR hour NOT IN (SELECT hour FROM told_hours)
UNION ALL SELECT hour, 'orderbook_delta', ticker, from_at, until_at, CAST(hour AS DATE) FROM told_holes
""",
    """
CREATE OR REPLACE VIEW coverage_hours AS SELECT hour, channel, date FROM raw.coverage_hours
UNION ALL SELECT hour, 'orderbook_delta', CAST(hour AS DATE) FROM told_hours
""",
)
_FIRST_BOOK = f"""
SELECT epoch_us(min(snapshot_ts)) FROM raw.{_SNAPSHOTS.name} WHERE snapshot_ts >= $start AND {in_days("$start", "$end")}
"""  # noqa: S608 - names of ours
_DELTA_ROWS = f"""
SELECT ticker, count(*) AS weight FROM raw.{_DELTAS.name} WHERE {in_hours("$start", "$start")} GROUP BY ticker
"""  # noqa: S608 - names of ours
_LEVELS = f"""
SELECT ticker, sum(len(yes_prices) + len(no_prices)) AS weight FROM raw.{_SNAPSHOTS.name}
WHERE source = 'checkpoint' AND snapshot_ts BETWEEN $start AND $end AND {in_days("$start", "$end")} GROUP BY ticker
"""  # noqa: S608 - names of ours
_WEIGHTS = (
    f"SELECT ticker, sum(weight)::BIGINT FROM ({_DELTA_ROWS} UNION ALL {_LEVELS}) GROUP BY ticker ORDER BY ticker"  # noqa: S608 - names of ours
)


def take_coverage(connection: duckdb.DuckDBPyConnection, lake: Lake, start: datetime, end: datetime) -> None:
    """Let the definition see what manifests know of the hour, which is as new as its file.

    The files of a day are written behind it; they know of the other hours.
    """
    told = manifest_holes(lake, start, end)
    holes = [(hour, one.ticker, one.from_at, one.until_at) for hour, found in told.items() for one in found]
    columns = list(zip(*holes, strict=True)) or [()] * len(_HOLE)
    rows = [pa.array(values, kind) for values, kind in zip(columns, _HOLE.values(), strict=True)]
    connection.register("told_holes", pa.table(rows, list(_HOLE)))
    connection.register("told_hours", pa.table({"hour": pa.array(list(told), TIME)}))
    for view in _HEARD:
        connection.execute(view)


def heard_from(connection: duckdb.DuckDBPyConnection, lake: Lake, start: datetime, end: datetime) -> datetime:
    """From when on books of an hour can be told: where a capture began in it, the first book that anybody was sent."""
    if read_footer(lake, _DELTAS, start - HOUR) is not None:
        return start
    ((first,),) = connection.execute(_FIRST_BOOK, {"start": start, "end": end}).fetchall()
    return start if first is None else min(max(start, datetime_from_us(first)), end)


def portions(connection: duckdb.DuckDBPyConnection, start: datetime, end: datetime) -> Iterator[tuple[str, str]]:
    """The first and the last market of each portion, in order; a market alone may be more than one."""
    first, last, weight = None, "", 0
    for ticker, own in connection.execute(_WEIGHTS, {"start": start, "end": end}).fetchall():
        if first is not None and weight + own > PORTION:
            yield first, last
            first, weight = None, 0
        first, last, weight = first or ticker, ticker, weight + own
    if first is not None:
        yield first, last


def take_markets(connection: duckdb.DuckDBPyConnection, first: str, last: str) -> None:
    """Let the definition see some markets alone."""
    for dataset in (_DELTAS, _SNAPSHOTS):
        only = f"ticker BETWEEN {quoted(first)} AND {quoted(last)}"
        connection.execute(f"CREATE OR REPLACE VIEW {dataset.name} AS FROM {dataset.layer}.{dataset.name} WHERE {only}")
