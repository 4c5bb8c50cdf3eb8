"""Bytes a row, and CPU to write it, of the lake's deltas: sort orders, zstd levels, encodings and row groups.

For decisions, not a budget: the table in benchmarks/README.md comes from here. Each line is what the platform writes,
but for what the line names. The last column is the share of row groups that a reader of one ticker (of the hundred
liveliest, in the mean) cannot leave out. Run: python benchmarks/encodings.py [ROWS]; needs ../shared and numpy.
"""

import sys
import time
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltas import hour_of_deltas

from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.decimals import to_decimals
from kalshi_platform.lake.encoding import row_group_rows, writer_options

DATASET = RAW["orderbook_deltas"]
OURS = "ticker, time"


@dataclass(frozen=True)
class Way:
    """One way of writing the same rows."""

    name: str
    order: str = OURS
    group: int = row_group_rows(DATASET)
    changed: tuple[tuple[str, Any], ...] = ()


def _without(*columns: str) -> tuple[tuple[str, Any], ...]:
    """Options that write some columns as they are, without differences; dictionaries where they pay."""
    kept = {name: how for name, how in writer_options(DATASET)["column_encoding"].items() if name not in columns}
    return (("column_encoding", kept), ("use_dictionary", [*writer_options(DATASET)["use_dictionary"], *columns]))


ALL_DELTAS = tuple(writer_options(DATASET)["column_encoding"])
WAYS = (
    Way("as the platform writes"),
    Way("in order of arrival", order="arrival"),
    Way("by time, ticker", order="time, ticker"),
    Way("zstd 1", changed=(("compression_level", 1),)),
    Way("zstd 6", changed=(("compression_level", 6),)),
    Way("zstd 9", changed=(("compression_level", 9),)),
    Way("snappy", changed=(("compression", "snappy"), ("compression_level", None))),
    Way("no differences: dictionaries", changed=_without(*ALL_DELTAS)),
    Way("seq without differences", changed=_without("seq")),
    Way("received_at without differences", changed=_without("received_at")),
    Way("row groups of 25,000", group=25_000),
    Way("row groups of 250,000", group=250_000),
    Way("row groups of 1,000,000", group=1_000_000),
)


def measured(rows: pa.Table, way: Way) -> tuple[float, float, float]:
    """Bytes a row, CPU-seconds a million rows, and the share of row groups that one ticker needs."""
    sink = pa.BufferOutputStream()
    options = {**writer_options(DATASET), **dict(way.changed)}
    start = time.process_time()
    with pq.ParquetWriter(sink, DATASET.schema, **options) as writer:
        writer.write_table(rows, way.group)
    seconds = time.process_time() - start
    buffer = sink.getvalue()
    metadata = pq.ParquetFile(pa.BufferReader(buffer)).metadata
    spans = [metadata.row_group(n).column(1).statistics for n in range(metadata.num_row_groups)]
    counts = pc.value_counts(rows["ticker"]).to_pylist()
    liveliest = [one["values"] for one in sorted(counts, key=lambda one: -one["counts"])[:100]]
    needed = [sum(span.min <= ticker <= span.max for span in spans) / len(spans) for ticker in liveliest]
    return buffer.size / rows.num_rows, seconds / rows.num_rows * 1e6, sum(needed) / len(needed)


def main() -> None:
    """Print the table."""
    arrival = to_decimals(hour_of_deltas(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000), DATASET.schema)
    orders = {
        "arrival": arrival,
        OURS: arrival.sort_by([(name, "ascending") for name in DATASET.sort]),
        "time, ticker": arrival.sort_by([(name, "ascending") for name in ("exchange_ts", "ticker", "position")]),
    }
    sys.stdout.write(
        f"{arrival.num_rows:,} rows\n| | bytes a row | CPU-s a million rows | row groups of one ticker |\n"
    )
    sys.stdout.write("|---|---|---|---|\n")
    for way in WAYS:
        size, seconds, share = measured(orders[way.order], way)
        sys.stdout.write(f"| {way.name} | {size:.2f} | {seconds:.2f} | {share:.0%} |\n")


if __name__ == "__main__":
    main()
