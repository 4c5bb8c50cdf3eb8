"""An hour of deltas out of PostgreSQL into the lake, against the plain ways of putting a query into a Parquet file.

Ours sorts by ticker and time, turns integers into DECIMAL, checks every row's window, hashes the file and writes footer
and manifest; the others write what comes, as it comes. Each runs in a process of its own, in turn. Rows: `deltas.py`.
Run: python benchmarks/export.py [ROWS]; needs ../shared and `pip install -e '.[benchmarks]'`.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from adbc_driver_postgresql import dbapi
from deltas import HOUR, SCHEMA, hour_of_deltas

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home
from kalshi_platform.database.export import read_window
from kalshi_platform.database.migrations import migrate
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

ROUNDS = 5
LEAST_RATIO, MOST_MIB, MOST_BYTES_A_ROW = 0.7, 600, 12
COLUMNS = ", ".join(SCHEMA.names)
QUERY = f"SELECT {COLUMNS} FROM orderbook_deltas"  # noqa: S608 - names of the schema
MICROSECONDS = "(extract(epoch FROM {0}) * 1000000)::bigint AS {0}"
PLAIN = {"compression": "zstd", "compression_level": 3}


def ours(url: str, file: Path) -> int:
    """What Dagster's asset does."""
    with read_window(url, ORDERBOOK_DELTAS, HOUR, HOUR + timedelta(hours=1)) as batches:
        facts = write_partition(Lake(file), RAW[ORDERBOOK_DELTAS.name], HOUR, batches)
    sys.stdout.write(json.dumps({"bytes": facts.bytes}) + "\n")
    return facts.rows


def csv(url: str, file: Path) -> int:
    """Asyncpg's COPY as CSV, parsed by Arrow while it comes."""
    times = [MICROSECONDS.format(name) if name in {"exchange_ts", "received_at"} else name for name in SCHEMA.names]
    query = f"SELECT {', '.join(times)} FROM orderbook_deltas"  # noqa: S608 - as above
    types = {f.name: pa.int64() if pa.types.is_timestamp(f.type) else f.type for f in SCHEMA}
    convert = pc.ConvertOptions(column_types=types, true_values=["t"], false_values=["f"])
    rows = 0
    with pq.ParquetWriter(file, pa.schema(list(types.items())), **PLAIN) as writer:

        async def copy() -> None:
            nonlocal rows
            connection = await asyncpg.connect(url)
            waiting: list[bytes] = []

            def flush() -> None:
                nonlocal rows
                data = b"".join(waiting)
                waiting.clear()
                if not data:
                    return
                table = pc.read_csv(
                    pa.BufferReader(data), pc.ReadOptions(column_names=list(types)), convert_options=convert
                )
                rows += table.num_rows
                writer.write_table(table)

            async def take(data: bytes) -> None:
                waiting.append(data)
                if len(waiting) >= 400:
                    await asyncio.to_thread(flush)

            await connection.copy_from_query(query, output=take, format="csv")
            flush()
            await connection.close()

        asyncio.run(copy())
    return rows


def adbc(url: str, file: Path) -> int:
    """ADBC's stream of record batches."""
    rows = 0
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        with cursor.fetch_record_batch() as batches, pq.ParquetWriter(file, batches.schema, **PLAIN) as writer:
            for batch in batches:
                rows += batch.num_rows
                writer.write_batch(batch)
    return rows


def connectorx(url: str, file: Path) -> int:
    """connectorx, the whole result at once."""
    import connectorx as cx

    table = cx.read_sql(url, QUERY, return_type="arrow")
    pq.write_table(table, file, **PLAIN)
    return int(table.num_rows)


METHODS: dict[str, Callable[[str, Path], int]] = {"ours": ours, "csv": csv, "adbc": adbc, "connectorx": connectorx}


def alone(method: str, url: str, folder: Path) -> dict[str, Any]:
    """Run one way in a process of its own; its seconds, rows, MiB and bytes."""
    command = [sys.executable, __file__, "--alone", method, url, str(folder / method)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - itself
    return {key: value for line in done.stdout.splitlines() for key, value in json.loads(line).items()}


def run_alone(method: str, url: str, target: str) -> None:
    """The process of its own."""
    start = time.perf_counter()
    rows = METHODS[method](url, Path(target))
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    facts = {"rows": rows, "seconds": seconds, "mib": _peak_mib()}
    facts["cpu"] = usage.ru_utime + usage.ru_stime
    sys.stdout.write(json.dumps(facts) + "\n")


def _peak_mib() -> float:
    """The most that this process ever held; `ru_maxrss` would begin with what its parent held when it was made."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def filled(server: EmbeddedPostgres, name: str, table: pa.Table) -> str:
    """A production database with these deltas."""
    server.create_database(name)
    url = server.url(name)
    migrate(url, Home.PRODUCTION)

    async def partitions() -> None:
        connection = await asyncpg.connect(url)
        await ensure_partitions(connection, ORDERBOOK_DELTAS, [HOUR.date()])
        await connection.close()

    asyncio.run(partitions())
    with dbapi.connect(url) as connection:
        with connection.cursor() as cursor:
            cursor.adbc_ingest("orderbook_deltas", table, mode="append")
        connection.commit()
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) orderbook_deltas")
    return url


def doubled(url: str) -> None:
    """The same hour with as many tickers again."""
    names = ", ".join("ticker || 'B'" if name == "ticker" else name for name in SCHEMA.names)
    with dbapi.connect(url) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO orderbook_deltas ({COLUMNS}) SELECT {names} FROM orderbook_deltas")  # noqa: S608
        connection.commit()


def of_one_market(rows: int) -> pa.Table:
    """An hour in which one market is all there is; `occurrence` keeps its changes apart."""
    table = hour_of_deltas(rows, tickers=100)
    names, numbers = pa.repeat("KXBUSY", table.num_rows), pa.array(range(table.num_rows), pa.int32())
    table = table.set_column(table.schema.get_field_index("ticker"), "ticker", names)
    return table.set_column(table.schema.get_field_index("occurrence"), "occurrence", numbers)


def memory(url: str, folder: Path, what: str) -> bool:
    """Export once and say what it held; true within the budget."""
    found = alone("ours", url, folder)
    sys.stdout.write(f"{found['rows']:,} rows{what}: {found['mib']:.0f} MiB, budget {MOST_MIB}\n")
    return bool(found["mib"] < MOST_MIB)


def main() -> None:
    """Rounds of all ways, then an hour twice as large, and one of a single market, for memory."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    shm = Path("/dev/shm")  # noqa: S108 - a folder in it is made with mkdtemp
    with tempfile.TemporaryDirectory(prefix="kalshi-export-", dir=shm if shm.is_dir() else None) as folder:
        Path(folder).chmod(0o711)
        settings = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "8GB"}
        with EmbeddedPostgres(Path(folder) / "postgres", settings=settings) as server:
            url = filled(server, "hour", hour_of_deltas(rows))
            good = compare(url, Path(folder))
            doubled(url)
            good &= memory(url, Path(folder), "")
            url = filled(server, "busy", of_one_market(4 * rows // 5))
            good &= memory(url, Path(folder), " of one market")
    sys.exit(0 if good else 1)


def compare(url: str, folder: Path) -> bool:
    """All ways in turn; true where every budget holds."""
    rounds = [{method: alone(method, url, folder) for method in METHODS} for _ in range(ROUNDS)]
    for method in METHODS:
        found = [one[method] for one in rounds]
        rate, cpu = median(one["rows"] / one["seconds"] for one in found), median(one["cpu"] for one in found)
        mib = max(one["mib"] for one in found)
        sys.stdout.write(f"{method:11} {rate:9,.0f} rows/s, {cpu:5.1f} s of CPU, {mib:5.0f} MiB\n")
    ratios = [min(one[method]["seconds"] for method in METHODS if method != "ours") / one["ours"]["seconds"]
              for one in rounds]  # fmt: skip
    each, mib = rounds[0]["ours"]["bytes"] / rounds[0]["ours"]["rows"], max(one["ours"]["mib"] for one in rounds)
    sys.stdout.write(
        f"export: {median(ratios):.2f} x the fastest of them [{min(ratios):.2f}-{max(ratios):.2f}], budget "
        f"{LEAST_RATIO}; {mib:.0f} MiB, budget {MOST_MIB}; {each:.2f} bytes a row, budget {MOST_BYTES_A_ROW}\n"
    )
    return median(ratios) >= LEAST_RATIO and mib < MOST_MIB and each < MOST_BYTES_A_ROW


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        run_alone(*sys.argv[2:5])
    else:
        main()
