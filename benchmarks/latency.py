"""From the simulator's stamp to a committed production row: 2,000 messages a second times three gatherers, one machine.

Everything is a process of its own, as in production; the figures are the daemons' own histograms, scraped. Where the
share falls inside a bucket, its upper bound is printed. A lag is taken of the oldest and the newest row of each merge
that brought anything new, and includes the clock's difference between processes, which on one machine is nothing.

Run: python benchmarks/latency.py [--rate 2000] [--seconds 60]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import httpx

from kalshi_platform.tools.local_stack import DEDUPLICATOR, GATHERERS, LocalStack, StackOptions
from kalshi_platform.tools.scrape import Reading, scrape

WARM_SECONDS = 20
BUDGET = {0.5: 0.2, 0.99: 0.5}
TABLES = ("orderbook_deltas", "trades", "tickers")
MERGE = "kalshi_deduplicator_lag_seconds"
GATHER = "kalshi_gatherer_message_lag_seconds"


def difference(before: Reading, after: Reading, name: str) -> Reading:
    """What a histogram counted between two scrapes."""
    bucket = f"{name}_bucket"
    earlier = {tuple(sorted(labels.items())): value for labels, value in before.samples.get(bucket, [])}
    samples = [
        (labels, value - earlier.get(tuple(sorted(labels.items())), 0.0))
        for labels, value in after.samples.get(bucket, [])
    ]
    return Reading({bucket: samples})


def merged(reading: Reading) -> float:
    """Rows that the deduplicator has read."""
    return reading.total("kalshi_deduplicator_rows_read_total")


def measure(rate: int, seconds: int) -> bool:
    """Run the stack and print the shares; true where changes, trades and tickers are all within the budget."""
    with tempfile.TemporaryDirectory() as folder, LocalStack(StackOptions(Path(folder), rate=rate)) as stack:
        for step in stack.start():
            sys.stderr.write(f"{step}\n")
        with httpx.Client() as client:
            ports = [stack.metrics_ports[name] for name in (DEDUPLICATOR, *GATHERERS)]
            time.sleep(WARM_SECONDS)
            before = [scrape(client, port) for port in ports]
            time.sleep(seconds)
            after = [scrape(client, port) for port in ports]
    read = (merged(after[0]) - merged(before[0])) / seconds
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    sys.stdout.write(f"{read:.0f} rows/s read from three gatherers; load average {load} on {os.cpu_count()} cores\n")
    lag = difference(before[0], after[0], MERGE)
    for table in TABLES:
        _tell(f"exchange to production, {table}", lag, MERGE, table=table)
    for stage in ("received", "committed"):
        _tell(f"exchange to {stage} at gatherer-1", difference(before[1], after[1], GATHER), GATHER, stage=stage)
    return all(
        (lag.quantile(MERGE, share, table=table) or 9e9) <= most for table in TABLES for share, most in BUDGET.items()
    )


def _tell(what: str, lag: Reading, name: str, **labels: str) -> None:
    shares = {share: lag.quantile(name, share, **labels) for share in (0.5, 0.9, 0.99)}
    told = ", ".join(f"p{share * 100:.0f} <= {1000 * bound:.0f} ms" for share, bound in shares.items() if bound)
    sys.stdout.write(f"{what}: {told or 'nothing'}\n")


def main() -> bool:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    return measure(options.rate, options.seconds)


if __name__ == "__main__":
    sys.exit(not main())
