"""A process that writes a partition, for tests that do something to it meanwhile.

    python -m kalshi_platform_tests.lake.writing ROOT SIZE ROWS [stop|busy]

Each row's `seq` is SIZE, so that a file's rows tell who wrote them. With `stop`, it says `half` once half of the rows
are handed over, and waits for a line; with `busy`, all are of one market, out of order. It tells the most MiB it held.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.schema import source_schema
from kalshi_platform.lake.writer import write_partition

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DELTAS = RAW["orderbook_deltas"]
_BATCH = 20_000
_TICKERS = pa.array([f"KX{n:02}" for n in range(64)])


def batches(seq: int, rows: int, *, stop: bool = False, busy: bool = False) -> Iterator[pa.RecordBatch]:
    """So many rows, hard to compress, in batches."""
    schema = source_schema(ORDERBOOK_DELTAS)
    for start in range(0, rows, _BATCH):
        if stop and start >= rows // 2:
            sys.stdout.write("half\n")
            sys.stdout.flush()
            sys.stdin.readline()
            stop = False
        numbers = pa.array(range(start, min(start + _BATCH, rows)), pa.int64())
        mixed = pc.bit_wise_and(pc.multiply(numbers, 2_654_435_761), 2**31 - 1)
        columns = {
            "exchange_ts": _after_noon(pc.multiply(pc.bit_wise_and(mixed, 2**21 - 1) if busy else numbers, 1000)),
            "ticker": _TICKERS.take(pc.bit_wise_and(mixed, 0 if busy else 63)),
            "side": pc.equal(pc.bit_wise_and(mixed, 1), 1),
            "price": pc.bit_wise_and(mixed, 2**19 - 1).cast(pa.int32()),
            "size_delta": mixed,
            "occurrence": pa.repeat(pa.scalar(0, pa.int32()), len(numbers)),
            "position": numbers.cast(pa.int32()),
            "seq": pa.repeat(pa.scalar(seq, pa.int64()), len(numbers)),
            "received_at": _after_noon(mixed),
        }
        yield pa.RecordBatch.from_pydict(columns, schema=schema)


def _after_noon(microseconds: pa.Array) -> pa.Array:
    return pc.add(microseconds, int(NOON.timestamp()) * 1_000_000).cast(pa.timestamp("us", tz="UTC"))


def main() -> int:
    """Write; 1 where the lake cannot be used."""
    root, seq, rows, *options = sys.argv[1:]
    how = dict.fromkeys(options, True)
    try:
        facts = write_partition(Lake(root), DELTAS, NOON, batches(int(seq), int(rows), **how))
    except PlatformError as error:
        sys.stdout.write(f"failed: {error}\n")
        return 1
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(f"wrote {facts.rows} rows, {int(peak.split()[1]) // 1024} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
