"""One market out of the lake: its whole day out of 24 hourly files, and its book, among 50,000 markets.

The same synthetic rows twice: as the lake writes them, and as a folder of plain Parquet in the order of arrival. Shares
of markets fall as one over the rank. Both are asked the same question, warm, in turn; the plain folder's book is the
checkpoint of the hour and a sum. Prints every rank and how large it all was. Beyond 667,000 rows, more than three times
what the busiest recorded market had in its life, a day may take 150 ns a row.

    python benchmarks/lake_read.py --rows-per-hour 5000000 --folder /dev/shm
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kalshi_platform.lake import RAW, Lake, book_at, connect, write_partition

MARKETS, LEVELS, RUNS, BATCH = 50_000, 8, 7, 250_000
RANKS = (1, 2, 3, 10, 100, 1000, 10_000, 40_000)
BUDGET_DAY_MS, BUDGET_ROW_MS, BUDGET_BOOK_MS = 100.0, 0.000_15, 50.0
DAY = datetime(2026, 11, 20, tzinfo=UTC)
TICKER = "'KXBENCHMARK-26NOV20-T' || lpad(({})::INT::VARCHAR, 5, '0')"
DELTAS = f"""
SELECT make_timestamptz($from_us + (n * 3600000 // $rows) * 1000) AS exchange_ts,
    {TICKER.format(f"floor({MARKETS} ** random())")} AS ticker, hash(n) % 2 = 0 AS side,
    (hash(n, 1) % 999 + 1)::INT * 1000 AS price, (hash(n, 2) % 2000 + 1)::BIGINT * 100 AS size_delta,
    0 AS occurrence, 0 AS position, n AS seq,
    make_timestamptz($from_us + (n * 3600000 // $rows) * 1000 + 12345) AS received_at
FROM range($rows) AS range(n)
"""  # noqa: S608 - constants
CHECKPOINTS = f"""
SELECT make_timestamptz($from_us + hour * 3600000000) AS snapshot_ts, {TICKER.format("rank")} AS ticker,
    'checkpoint' AS source, '' AS gatherer_id,
    list_transform(range({LEVELS}), lambda x: ((x * 50 + rank % 40 + 1) * 1000)::INT) AS yes_prices,
    list_transform(range({LEVELS}), lambda x: (hash(x, rank, hour) % 99 + 1)::BIGINT * 100) AS yes_sizes,
    list_transform(range({LEVELS}), lambda x: ((x * 50 + rank % 40 + 1) * 1000)::INT) AS no_prices,
    list_transform(range({LEVELS}), lambda x: (hash(x, rank, hour, 1) % 99 + 1)::BIGINT * 100) AS no_sizes,
    NULL::INT AS best_yes_bid, NULL::INT AS best_yes_ask,
    make_timestamptz($from_us + hour * 3600000000) AS received_at
FROM range(24) AS hours(hour), range(1, {MARKETS}) AS ranks(rank)
"""  # noqa: S608 - constants
DAY_OF = "SELECT * FROM {} WHERE ticker = '{}' AND date = DATE '2026-11-20'"
PLAIN_BOOK = """
SELECT side, price, sum(size) FROM (
    SELECT true AS side, unnest(yes_prices) AS price, unnest(yes_sizes) AS size
    FROM plain_books WHERE ticker = $ticker AND snapshot_ts = $hour
    UNION ALL SELECT false, unnest(no_prices), unnest(no_sizes)
    FROM plain_books WHERE ticker = $ticker AND snapshot_ts = $hour
    UNION ALL SELECT side, price, size_delta FROM plain
    WHERE ticker = $ticker AND exchange_ts BETWEEN $hour AND $at AND date = DATE '2026-11-20' AND hour = hour($at)
) GROUP BY ALL
"""


def made(query: str, **values: object) -> Iterable[pa.RecordBatch]:
    """Synthetic rows in the order of arrival, the same at every call."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 1; SELECT setseed(0.5)")
    yield from connection.execute(query, values).to_arrow_reader(BATCH)


def write(folder: Path, rows: int) -> int:
    """Both lakes; returns the bytes of ours."""
    lake = Lake(folder / "lake")
    total = 0
    for hour in range(24):
        start = DAY + timedelta(hours=hour)
        values = {"from_us": int(start.timestamp()) * 1_000_000, "rows": rows}
        total += write_partition(lake, RAW["orderbook_deltas"], start, made(DELTAS, **values)).bytes
        plain(folder / f"plain/date={start:%Y-%m-%d}/hour={hour:02d}/deltas.parquet", made(DELTAS, **values))
        sys.stderr.write(f"\rwritten: {hour + 1} of 24 hours")
    values = {"from_us": int(DAY.timestamp()) * 1_000_000}
    write_partition(lake, RAW["orderbook_snapshots"], DAY, made(CHECKPOINTS, **values))
    plain(folder / "plain_books/books.parquet", made(CHECKPOINTS, **values))
    sys.stderr.write("\n")
    return total


def plain(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """A file as pyarrow writes it when nobody says how."""
    path.parent.mkdir(parents=True)
    writer = None
    for batch in batches:
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_batch(batch)
    if writer:
        writer.close()


def milliseconds(work: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def compared(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """The medians of both in milliseconds, in turn, after one run to warm up."""
    ours(), theirs()
    runs = [(milliseconds(ours), milliseconds(theirs)) for _ in range(RUNS)]
    return median(run[0] for run in runs), median(run[1] for run in runs)


def measure(folder: Path) -> bool:
    """Ask both; true where every rank is within the budgets."""
    ours = connect(folder / "lake")
    theirs = duckdb.connect()
    theirs.execute("SET TimeZone = 'UTC'")
    theirs.execute(f"CREATE VIEW plain AS FROM read_parquet('{folder}/plain/*/*/*.parquet', hive_partitioning = true)")
    theirs.execute(f"CREATE VIEW plain_books AS FROM '{folder}/plain_books/books.parquet'")
    at = DAY + timedelta(hours=13, minutes=47)
    results: list[bool] = []
    for rank in RANKS:
        ticker = f"KXBENCHMARK-26NOV20-T{rank:05d}"
        rows = len(day(ours, "orderbook_deltas", ticker))
        mine, plainly = compared(
            lambda t=ticker: day(ours, "orderbook_deltas", t), lambda t=ticker: day(theirs, "plain", t)
        )
        results.append(mine < max(BUDGET_DAY_MS, rows * BUDGET_ROW_MS))
        say(f"rank {rank:>6}: day of {rows:>9,} rows {mine:7.1f} ms, plain {plainly:8.1f} ms, {plainly / mine:5.1f} x")
        query = {"ticker": ticker, "hour": at.replace(minute=0), "at": at}
        mine, plainly = compared(
            lambda t=ticker: book_at(ours, t, at), lambda q=query: theirs.execute(PLAIN_BOOK, q).fetchall()
        )
        results.append(mine < BUDGET_BOOK_MS)
        say(f"rank {rank:>6}: book_at            {mine:15.1f} ms, plain {plainly:8.1f} ms, {plainly / mine:5.1f} x")
    return all(results)


def day(connection: duckdb.DuckDBPyConnection, view: str, ticker: str) -> pa.Table:
    """All changes of one market's day, as a relation: Arrow is made on every core, by `execute` on one."""
    return connection.sql(DAY_OF.format(view, ticker)).to_arrow_table()


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, ask, clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows-per-hour", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the files lie meanwhile")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="kalshi-lake-read-", dir=options.folder))
    try:
        size = write(folder, options.rows_per_hour)
        rows = 24 * options.rows_per_hour
        say(
            f"{rows:,} rows in 24 files, {size / rows:.2f} bytes each, {MARKETS:,} markets, DuckDB {duckdb.__version__}"
        )
        return 0 if measure(folder) else 1
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    raise SystemExit(main())
