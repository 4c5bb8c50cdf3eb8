import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import asyncpg
import pyarrow as pa
import pytest

from kalshi_platform.core.records import DeltaRow, SnapshotRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, STREAM_TABLES, Home, Table
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.lake.schema import lake_schema
from kalshi_platform.tools.replay import Replay
from kalshi_platform_tests.queries import fetch, value

T0 = 1_795_219_200_000_000
"""A whole hour, µs since 1970."""

COLUMNS = (
    "SELECT attname, format_type(atttypid, atttypmod) AS kind, col_description(attrelid, attnum) AS comment "
    "FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum"
)
SQL_TYPES = {
    pa.timestamp("us", tz="UTC"): "timestamp with time zone",
    pa.string(): "text",
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.decimal128(9, 6): "numeric(9,6)",
    pa.decimal128(18, 2): "numeric(18,2)",
}


def sql_type(field: pa.Field) -> str:
    """What a column of the lake is in SQL."""
    if field.name == "trade_id":  # Parquet has no such type
        return "uuid"
    return f"{SQL_TYPES[field.type.value_type]}[]" if pa.types.is_list(field.type) else SQL_TYPES[field.type]


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
async def test_people_see_in_sql_what_the_lake_shows(
    production_database: str, gatherer_database: str, table: Table
) -> None:
    """The same columns in the same order, of the same types, with the same words; on gatherers too."""
    wanted = [(field.name, sql_type(field), field.metadata[b"comment"].decode()) for field in lake_schema(table)]
    for url in (production_database, gatherer_database):
        assert [tuple(row) for row in await fetch(url, COLUMNS, f"people.{table.name}")] == wanted
        about = "SELECT obj_description($1::text::regclass)"
        assert await value(url, about, f"people.{table.name}") == table.comment


async def test_every_view_and_column_is_explained(production_database: str, gatherer_database: str) -> None:
    """A person who opens the schema reads what each thing means."""
    silent = (
        "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 "
        "WHERE relnamespace = 'people'::regnamespace AND "
        "(col_description(pg_class.oid, attnum) IS NULL OR obj_description(pg_class.oid) IS NULL)"
    )
    for url in (production_database, gatherer_database):
        assert await fetch(url, silent) == []
        assert await value(url, "SELECT count(*) FROM pg_views WHERE schemaname = 'people'") >= 7


async def put(url: str, table: Table, rows: Sequence[tuple[object, ...]], home: Home) -> None:
    """Rows into a database, with their partitions."""
    connection = await asyncpg.connect(url)
    await ensure_partitions(connection, table, {datetime_from_us(int(str(row[0]))).date() for row in rows})
    async with connection.transaction():
        await Stage(table, home).insert_new(connection, rows)
    await connection.close()


async def test_book_is_checkpoint_and_changes(gatherer_database: str) -> None:
    """Levels of the last checkpoint, changed by what came since; the best of it is the offer."""
    url = gatherer_database
    for number, ts in enumerate((T0 - 3_600_000_000, T0)):
        book = SnapshotRow(
            ts, "A", "checkpoint", "", (400_000, 410_000 + number), (100, 250), (500_000,), (300,), None, None, ts
        )
        await put(url, ORDERBOOK_SNAPSHOTS, [book], Home.GATHERER)
    noise = SnapshotRow(T0 + 5_000_000, "A", "ws", "g", (1,), (1,), (), (), None, None, T0)
    await put(url, ORDERBOOK_SNAPSHOTS, [noise], Home.GATHERER)
    changes = [
        (T0 - 1000, True, 400_000, 77),  # before the checkpoint, so it is in it
        (T0, True, 400_000, 1),  # at the checkpoint's moment, so it is not in it
        (T0 + 1000, True, 410_001, -250),
        (T0 + 2000, False, 520_000, 5),
        (T0 + 3000, False, 520_000, 5),
    ]
    rows = [DeltaRow(ts, "A", side, price, size, 0, 0, n, 1, ts) for n, (ts, side, price, size) in enumerate(changes)]
    await put(url, ORDERBOOK_DELTAS, rows, Home.GATHERER)
    (book,) = await fetch(url, "SELECT * FROM people.latest_book WHERE ticker = 'A'")
    assert tuple(book) == (
        "A", datetime_from_us(T0), datetime_from_us(T0 + 3000), [Decimal("0.4")], [Decimal("1.01")],
        [Decimal("0.5"), Decimal("0.52")], [Decimal(3), Decimal("0.1")],
    )  # fmt: skip
    (offer,) = await fetch(url, "SELECT * FROM people.best_bid_offer")
    assert tuple(offer)[2:] == (Decimal("0.4"), Decimal("1.01"), Decimal("0.48"), Decimal("0.1"))
    (before,) = await fetch(url, "SELECT * FROM people.book_at('A', $1)", datetime_from_us(T0 + 1000))
    assert before["no_prices"] == [Decimal("0.5")]
    assert await fetch(url, "SELECT * FROM people.book_at('A', $1)", datetime_from_us(T0 - 7_200_000_000)) == []
    assert await fetch(url, "SELECT * FROM people.book_at('B', now())") == []


async def test_book_of_the_recorded_tape(shared_data: Path, tmp_path: Path, gatherer_database: str) -> None:
    """At many moments of real traffic, SQL's book is the one that counting by hand gives."""
    recorded = min((shared_data / "gold15m" / "events").rglob("*.ndjson.gz"))
    lines = gzip.decompress(recorded.read_bytes()).splitlines(keepends=True)[:12_000]
    (tmp_path / "part.ndjson").write_bytes(b"".join(lines))
    await Replay(gatherer_database, "g", 60_000, lambda _path, _frames: None).run([tmp_path / "part.ndjson"])

    books = books_by_hand([json.loads(line)["event"] for line in lines])
    first_checkpoint = await value(gatherer_database, "SELECT min(snapshot_ts) FROM people.orderbook_snapshots "
                                   "WHERE source = 'checkpoint'")  # fmt: skip
    known = [(at, book) for at, book in books.items() if at > first_checkpoint]
    assert len(known) > 1000
    ticker = await value(gatherer_database, "SELECT min(ticker) FROM people.orderbook_deltas")
    for at, (yes, no) in known[:: len(known) // 20]:
        (found,) = await fetch(gatherer_database, "SELECT * FROM people.book_at($1, $2)", ticker, at)
        assert dict(zip(found["yes_prices"], found["yes_sizes"], strict=True)) == yes
        assert dict(zip(found["no_prices"], found["no_sizes"], strict=True)) == no


Side = dict[Decimal, Decimal]


def books_by_hand(events: list[dict[str, object]]) -> dict[datetime, tuple[Side, Side]]:
    """The book after all changes of each millisecond, from the frames themselves."""
    books: dict[datetime, tuple[Side, Side]] = {}
    sides: dict[str, Side] = {"yes": {}, "no": {}}
    for event in events:
        message = event["msg"]
        assert isinstance(message, dict)
        if event["type"] == "orderbook_snapshot":
            for side in sides:
                levels = message.get(f"{side}_dollars_fp") or []
                sides[side] = {Decimal(price): Decimal(size) for price, size in levels}
        elif event["type"] == "orderbook_delta":
            level = sides[message["side"]]
            price = Decimal(message["price_dollars"])
            level[price] = level.get(price, Decimal(0)) + Decimal(message["delta_fp"])
            if not level[price]:
                del level[price]
            at = datetime.fromtimestamp(message["ts_ms"] // 1000, UTC).replace(
                microsecond=message["ts_ms"] % 1000 * 1000
            )
            books[at] = (dict(sides["yes"]), dict(sides["no"]))
    return books


async def test_conflicts_show_what_differs_in_dollars(production_database: str) -> None:
    """A trade's price and size, a book's levels in their order; whatever else a row says stays as it is."""
    trade = '{"price": 470000, "size": 285, "taker_side": null}'
    book = '{"yes_prices": [10000, 420000], "yes_sizes": [100, 1], "no_prices": [], "best_yes_bid": 420000}'
    await fetch(
        production_database,
        "INSERT INTO merge_conflicts (table_name, row_key, gatherer_id, ticker, kept, refused) "
        "VALUES ('trades', '[]', 'g', 'A', $1, $2)", trade, book,
    )  # fmt: skip
    (row,) = await fetch(production_database, "SELECT kept, refused FROM people.merge_conflicts")
    assert json.loads(row["kept"]) == {"price": 0.47, "size": 2.85, "taker_side": None}
    assert json.loads(row["refused"]) == {
        "yes_prices": [0.01, 0.42], "yes_sizes": [1.0, 0.01], "no_prices": [], "best_yes_bid": 0.42,
    }  # fmt: skip


async def test_what_nobody_heard_is_told_in_seconds(production_database: str) -> None:
    """Of an hour, of an interval, of a gap that lasts."""
    for sql in (
        "INSERT INTO coverage_hours VALUES (now(), 'trade', 1, 1, 1500000, 'g', '{}', false, now())",
        "INSERT INTO uncovered_intervals VALUES (now(), 'trade', '', '2026-11-21 10:00Z', '2026-11-21 10:00:01.5Z')",
        "INSERT INTO capture_gaps VALUES (now(), 'g', 'c', 1, 'trade', '', 'sequence', 1, 3, 0, now(), NULL, NULL)",
    ):
        await fetch(production_database, sql)
    assert await value(production_database, "SELECT uncovered_seconds FROM people.coverage_hours") == Decimal("1.5")
    assert await value(production_database, "SELECT lasted FROM people.uncovered_intervals") == timedelta(seconds=1.5)
    assert await value(production_database, "SELECT lasted FROM people.capture_gaps") is None
