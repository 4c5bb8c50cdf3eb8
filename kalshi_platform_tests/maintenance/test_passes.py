import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, TICKERS, TRADES, Home
from kalshi_platform.database import export
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.manifest import manifest_path
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.maintenance.passes import lines, maintain_production
from kalshi_platform_tests.maintenance.conftest import (
    AHEAD,
    MUCH_LATER,
    NAMES,
    NOON,
    delta,
    exported,
    kept,
    moved_to,
    partitions,
    put,
)


async def test_what_is_proven_is_dropped_when_it_is_due(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """Not a day before; the files stay, and the proofs say that they are the only copy now."""
    await production.execute(f"CREATE TABLE {NAMES[0]}_sorted ()")  # a copy that waited for its place
    files = [exported(production_database, lake, NOON + n * HOUR) for n in range(2)]
    early = await maintain_production(production_database, lake, NOON + timedelta(days=90))
    assert len(early.proven) == 2
    assert await partitions(production) == [*NAMES, "orderbook_deltas_20260801_14"]
    report = await maintain_production(production_database, lake, MUCH_LATER)
    assert kept(report) == {}
    assert [verdict.rows for verdict in report.verdicts if verdict.rows] == [3, 1]
    assert await partitions(production) == []
    assert await production.fetchval("SELECT to_regclass($1) IS NULL", f"{NAMES[0]}_sorted")
    assert await production.fetchval("SELECT count(*) FROM orderbook_deltas") == 0
    assert await production.fetchval("SELECT bool_and(dropped_at IS NOT NULL) FROM lake_proofs") is True
    assert all(file.exists() for file in files)


async def test_a_manifest_that_a_killed_export_left_out_comes_back(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """It is made from the file that was just proven; one that lies about the file is replaced, and proves nothing."""
    deltas = RAW[ORDERBOOK_DELTAS.name]
    for hour in (NOON, NOON + HOUR):
        exported(production_database, lake, hour)
    away, lying = (Path(manifest_path(lake, deltas, hour)) for hour in (NOON, NOON + HOUR))
    whole = away.read_text(), lying.read_text()
    away.unlink()
    lying.write_text(whole[1].replace('"rows": 1', '"rows": 7').replace('"sha256": "', '"sha256": "0'))
    assert len((await maintain_production(production_database, lake, NOON + timedelta(days=1))).proven) == 2
    assert (away.read_text(), lying.read_text()) == whole


BOOKS = """
INSERT INTO orderbook_snapshots SELECT $1, ticker, 'checkpoint', '', prices, sizes, '{}', '{}', best, NULL, $1
FROM (VALUES ('A', '{10000,20000}'::int[], '{1,900719925474099300}'::bigint[], 20000), ('B', '{}', '{}', NULL))
     AS book(ticker, prices, sizes, best)
"""
QUOTES = """
INSERT INTO tickers (exchange_ts, ticker, last_price, volume, digest, received_at)
VALUES ($1, 'A', 10000, 5, -9223372036854775808, $1), ($1, 'B', NULL, NULL, 7, $1)
"""


async def test_books_and_quotes_are_proven_too(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """Lists, empty ones, values that are not there, the least and large integers; and a level more is no proof."""
    day = NOON.replace(hour=0)
    await production.execute("UPDATE sync_cursors SET watermark = $1", day + 25 * HOUR)
    for table, rows in ((ORDERBOOK_SNAPSHOTS, BOOKS), (TICKERS, QUOTES)):
        await ensure_partitions(production, table, [day.date()])
        await production.execute(rows, day)
        end = RAW[table.name].end(day)
        with export.read_window(production_database, table, day, end) as batches:
            write_partition(lake, RAW[table.name], day, batches)
    report = await maintain_production(production_database, lake, day + timedelta(days=2))
    assert (report.proven, report.disputed) == (["orderbook_snapshots 2026-08-01", "tickers 2026-08-01 00:00"], [])
    await production.execute("DELETE FROM lake_proofs")
    await production.execute("UPDATE orderbook_snapshots SET yes_sizes = '{900719925474099300,1}' WHERE ticker = 'A'")
    report = await maintain_production(production_database, lake, day + timedelta(days=2))
    assert [one.split(":")[0] for one in report.disputed] == ["orderbook_snapshots 2026-08-01"]


async def test_files_of_a_lake_that_was_moved_are_proven_where_they_are(
    production: asyncpg.Connection, production_database: str, lake: Lake, tmp_path: Path
) -> None:
    """With the times that they had; gatherers look for them where the proofs say."""
    exported(production_database, lake, NOON)
    early = NOON + timedelta(days=1)
    assert len((await maintain_production(production_database, lake, early)).proven) == 1
    moved = moved_to(lake, tmp_path / "elsewhere")
    assert (await maintain_production(production_database, moved, early)).proven == []  # the same bytes
    path = moved.path(RAW[ORDERBOOK_DELTAS.name], NOON)
    assert await production.fetchval("SELECT path FROM lake_proofs") == path


async def test_a_day_of_trades_is_proven_as_one(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """Not while its file ends before the day does; then with one proof, by which its partition may go."""
    day, trades = NOON.replace(hour=0), RAW[TRADES.name]
    await production.execute("UPDATE table_policies SET keep_days = 30 WHERE table_name = 'trades'")
    await production.execute("UPDATE sync_cursors SET watermark = $1", day + 25 * HOUR)
    await ensure_partitions(production, TRADES, [day.date()])
    await production.executemany(
        "INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at) "
        "VALUES ($1, gen_random_uuid(), 'A', 400000, 100, false, $1)",
        [(day + n * HOUR,) for n in (1, 5)],
    )
    found = []
    for until in (NOON, None):
        with export.read_window(production_database, TRADES, day, until or day + 24 * HOUR) as batches:
            write_partition(lake, trades, day, batches, until)
        report = await maintain_production(production_database, lake, day + timedelta(days=2))
        found.append((len(report.proven), [reason.partition(" does ")[2] for reason in report.disputed]))
    assert found == [(0, ["not hold its whole day"]), (1, [])]
    report = await maintain_production(production_database, lake, day + timedelta(days=40))
    assert {verdict.name: verdict.rows for verdict in report.verdicts if "trades_20260801" in verdict.name} == {
        "trades_20260801": 2
    }
    assert await production.fetchval("SELECT count(*) FROM trades") == 0


async def test_nothing_is_dropped_without_a_proof(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """The lake has one hour of two: the other stays, and it is said which; hours without rows need no proof."""
    exported(production_database, lake, NOON)
    report = await maintain_production(production_database, lake, MUCH_LATER)
    assert kept(report) == {NAMES[1]: "2026-08-01 13:00 is not proven to be in the lake"}
    assert await partitions(production) == [NAMES[1]]


def remove(file: Path) -> None:
    """Missing."""
    file.unlink()


def flip(file: Path) -> None:
    """One bit of one byte, in the middle of the data."""
    data = bytearray(file.read_bytes())
    data[len(data) // 4] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    """The second half is lost."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    """Nothing is left of it."""
    file.write_bytes(b"")


@pytest.mark.parametrize("harm", [remove, flip, cut, empty])
async def test_a_file_that_is_gone_or_damaged_keeps_its_rows(
    production: asyncpg.Connection, production_database: str, lake: Lake, harm: Callable[[Path], None]
) -> None:
    """It was proven once; it is read again before anything is dropped, and once more in the next pass."""
    files = [exported(production_database, lake, NOON + n * HOUR) for n in range(2)]
    assert len((await maintain_production(production_database, lake, NOON + timedelta(days=1))).proven) == 2
    harm(files[0])
    for _ in range(2):
        report = await maintain_production(production_database, lake, MUCH_LATER)
        assert str(files[0]) in kept(report)[NAMES[0]]
        assert str(files[0]) in report.disputed[0]
        assert await partitions(production) == [NAMES[0]]
    assert await production.fetchval("SELECT count(*) FROM orderbook_deltas") == 3
    assert any("NOT proven" in line for line in lines(report))
    exported(production_database, lake, NOON)  # it is mended
    assert kept(await maintain_production(production_database, lake, MUCH_LATER)) == {}
    assert await partitions(production) == []


async def test_a_file_of_other_values_is_no_proof(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """As many rows, but one price differs."""
    await production.execute("UPDATE orderbook_deltas SET price = 400001 WHERE ticker = 'B'")
    exported(production_database, lake, NOON)
    await production.execute("UPDATE orderbook_deltas SET price = 400000 WHERE ticker = 'B'")
    report = await maintain_production(production_database, lake, MUCH_LATER)
    assert "other values than production" in report.disputed[0]
    assert NAMES[0] in kept(report)


async def test_a_late_row_keeps_its_hour_until_it_is_exported(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """The proof speaks of three rows, production has four; written anew, the hour is proven anew."""
    for n in range(2):
        exported(production_database, lake, NOON + n * HOUR)
    await maintain_production(production_database, lake, NOON + timedelta(days=1))
    await put(production_database, Home.PRODUCTION, delta(5, "LATE"))
    report = await maintain_production(production_database, lake, MUCH_LATER)
    assert "2026-08-01 12:00 is not proven" in kept(report)[NAMES[0]]
    exported(production_database, lake, NOON)
    report = await maintain_production(production_database, lake, MUCH_LATER)
    assert (kept(report), report.proven) == ({}, ["orderbook_deltas 2026-08-01 12:00"])


async def test_what_was_dropped_is_never_proven_anew(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """A straggler after the drop makes a new partition; a file written from it alone proves nothing."""
    for n in range(2):
        exported(production_database, lake, NOON + n * HOUR)
    await maintain_production(production_database, lake, MUCH_LATER)
    before = await production.fetch("TABLE lake_proofs")
    await put(production_database, Home.PRODUCTION, delta(6, "STRAGGLER"))
    exported(production_database, lake, NOON)
    report = await maintain_production(production_database, lake, MUCH_LATER)
    assert "is not the file that was proven" in kept(report)["orderbook_deltas_20260801"]
    assert await production.fetch("TABLE lake_proofs") == before


async def test_policies_decide(production: asyncpg.Connection, production_database: str, lake: Lake) -> None:
    """Without a number of days rows stay for ever, proven or not."""
    await production.execute("UPDATE table_policies SET keep_days = NULL")
    for n in range(2):
        exported(production_database, lake, NOON + n * HOUR)
    assert (await maintain_production(production_database, lake, MUCH_LATER)).verdicts == []


async def test_a_partition_in_use_waits_for_the_next_pass(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """Whoever reads is not disturbed, and nobody queues behind the drop for long."""
    for n in range(2):
        exported(production_database, lake, NOON + n * HOUR)
    await maintain_production(production_database, lake, NOON + timedelta(days=1))
    async with production.transaction():
        await production.fetch("SELECT * FROM orderbook_deltas")
        report = await maintain_production(production_database, lake, MUCH_LATER)
        assert "next pass" in kept(report)[NAMES[0]]
    assert kept(await maintain_production(production_database, lake, MUCH_LATER)) == {}


FROZEN = "SELECT relallvisible = relpages AND reltuples > 0 FROM pg_class WHERE relname = $1"


async def test_closed_partitions_are_finished_once(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """Up to the watermark: what lies beyond it stays open, and what was finished is left alone."""
    day_after = NOON + timedelta(days=1)
    assert await production.fetchval(FROZEN, NAMES[0]) is False
    await production.execute("UPDATE sync_cursors SET watermark = $1", NOON + HOUR)
    assert (await maintain_production(production_database, lake, day_after)).closed == [NAMES[0]]
    assert await production.fetchval(FROZEN, NAMES[0]) is True
    await production.execute("UPDATE sync_cursors SET watermark = $1", NOON + 2 * HOUR)
    assert (await maintain_production(production_database, lake, day_after)).closed == [NAMES[1]]
    assert (await maintain_production(production_database, lake, day_after)).closed == []


async def test_partitions_are_made_ahead(production: asyncpg.Connection, production_database: str, lake: Lake) -> None:
    """Today's and tomorrow's, of every stream table."""
    await maintain_production(production_database, lake, NOON + timedelta(days=30))
    for name in (
        "orderbook_deltas_20260901",
        "trades_20260901",
        "tickers_20260831",
        "orderbook_snapshots_20260901",
    ):
        assert await production.fetchval("SELECT to_regclass($1) IS NOT NULL", name), name


async def test_open_partitions_get_better_statistics(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """Those of today and tomorrow; what somebody chose stays, and so do partitions that are over."""
    later = NOON + timedelta(days=30)
    await ensure_partitions(production, TRADES, [later.date()])
    await production.execute("ALTER TABLE trades_20260831 SET (autovacuum_analyze_scale_factor = 0.5)")
    await maintain_production(production_database, lake, later)
    found = await production.fetch(
        "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND relname ~ '^(trades|tickers|order).*_2026'"
    )
    paces = {row["relname"]: row["reloptions"] for row in found}
    assert paces.pop("trades_20260831") == ["autovacuum_analyze_scale_factor=0.5"]
    assert {name for name, pace in paces.items() if pace is None} == {
        f"orderbook_deltas_20260801_{n}" for n in (12, 13, 14)
    }
    assert {tuple(pace) for pace in paces.values() if pace} == {("autovacuum_analyze_scale_factor=0.02",)}
    told = await production.fetch("SELECT DISTINCT attname FROM pg_attribute WHERE attstattarget = 300")
    assert [row["attname"] for row in told] == ["ticker"]


async def test_one_maintenance_at_a_time(production: asyncpg.Connection, production_database: str, lake: Lake) -> None:
    """A second one says so and leaves."""
    await production.fetchval("SELECT pg_advisory_lock(hashtext('kalshi_platform'), hashtext('maintain'))")
    with pytest.raises(PlatformError, match="another `kalshi-platform maintain`"):
        await maintain_production(production_database, lake, NOON)


async def test_a_file_by_a_clock_that_is_behind_is_looked_at_too(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """A new file that seems half an hour older than the proof is compared; one that seems older than that was."""
    early = NOON + timedelta(days=1)
    exported(production_database, lake, NOON)
    assert len((await maintain_production(production_database, lake, early)).proven) == 1
    await put(production_database, Home.PRODUCTION, delta(5, "LATE"))
    file = exported(production_database, lake, NOON)
    checked: datetime = await production.fetchval("SELECT checked_at FROM lake_proofs")
    for behind, proven in ((2 * HOUR, 0), (HOUR / 2, 1)):
        os.utime(file, times=((checked - behind).timestamp(),) * 2)
        assert len((await maintain_production(production_database, lake, early)).proven) == proven


async def test_what_takes_room_comes_after_what_gives_some(
    production: asyncpg.Connection, production_database: str, lake: Lake
) -> None:
    """A partition that cannot be made, as on a full disk, keeps none from being dropped."""
    for n in range(2):
        exported(production_database, lake, NOON + n * HOUR)
    await production.execute(f"CREATE TABLE trades_{MUCH_LATER:%Y%m%d} ()")
    with pytest.raises(asyncpg.DuplicateTableError):
        await maintain_production(production_database, lake, MUCH_LATER)
    assert await partitions(production) == []


async def test_where_the_lake_is_away_partitions_are_made_and_closed(
    production: asyncpg.Connection, production_database: str, tmp_path: Path
) -> None:
    """The pass fails all the same, with what the lake's disk said."""
    nowhere = Lake(tmp_path / ("a name too long for any disk " * 10))
    with pytest.raises(OSError, match="File name too long"):
        await maintain_production(production_database, nowhere, MUCH_LATER)
    assert await production.fetchval("SELECT to_regclass($1) IS NOT NULL", AHEAD)
    assert await production.fetchval(FROZEN, NAMES[0]) is True
    assert await partitions(production) == NAMES  # nothing is proven, and one without rows needs no proof
