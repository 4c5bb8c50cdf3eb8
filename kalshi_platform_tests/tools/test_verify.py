"""The judge must notice: each test gives it something to find."""

import json
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from kalshi_platform.cli.app import app
from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.records import DeltaRow, SnapshotRow, TickerRow, TradeRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, STREAM_TABLES, TICKERS, TRADES, Home
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.export import read_window
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.lake import RAW, Lake, connect, write_partition
from kalshi_platform.simulator.ledger_file import SCHEMA
from kalshi_platform.tools.verify import Judge, Verdict

T0 = 1_795_219_200_000
TRADE_ID = "8b1d1111-0000-0000-0000-000000000000"
_BOOK = {"kind": "book", "ts_ms": T0, "ticker": "KXA", "yes": [["0.4000", "10.00"]], "no": []}
_DELTA = {
    "kind": "delta", "ts_ms": T0 + 5, "ticker": "KXA", "side": "yes", "price": "0.4000", "delta": "-2.50",
    "recipients": 3,
}  # fmt: skip
_TRADE = {
    "kind": "trade", "ts_ms": T0 + 5, "trade_id": TRADE_ID, "ticker": "KXA", "yes_price": "0.4000",
    "no_price": "0.6000", "count": "2.50", "taker_side": "no", "is_block_trade": False, "recipients": 3,
}  # fmt: skip
_TICKER = {
    "kind": "ticker", "ts_ms": T0 + 5, "ticker": "KXA", "price": "0.4000", "yes_bid": "0.4000", "yes_ask": "1.0000",
    "yes_bid_size": "7.50", "yes_ask_size": "0.00", "last_trade_size": "2.50", "volume": "2.50",
    "open_interest": "2.50", "dollar_volume": 1, "dollar_open_interest": 1, "recipients": 3,
}  # fmt: skip


def _delta(occurrence: int, size_delta: int = -250) -> DeltaRow:
    return DeltaRow((T0 + 5) * 1000, "KXA", True, 400_000, size_delta, occurrence, occurrence, 1, 1, T0 * 1000)


_TRADE_ROW = TradeRow((T0 + 5) * 1000, UUID(TRADE_ID), "KXA", 400_000, 250, False, False, T0 * 1000)
_TICKER_ROW = TickerRow((T0 + 5) * 1000, "KXA", 400_000, 400_000, 1_000_000, 750, 0, 250, 250, 250, 1, 1, 77, T0 * 1000)
_CHECKPOINT = SnapshotRow(T0 * 1000, "KXA", "checkpoint", "", (400_000,), (1000,), (), (), 400_000, None, T0 * 1000)


async def _fill(url: str, deltas: list[DeltaRow], trades: int = 1, tickers: int = 1) -> None:
    production_delta = [row._asdict() for row in deltas]
    for row in production_delta:
        del row["sid"]
    rows = {
        ORDERBOOK_DELTAS: [tuple(row.values()) for row in production_delta],
        TRADES: [_TRADE_ROW][:trades],
        TICKERS: [_TICKER_ROW][:tickers],
        ORDERBOOK_SNAPSHOTS: [_CHECKPOINT],
    }
    connection = await asyncpg.connect(url)
    for table in STREAM_TABLES:
        await ensure_partitions(connection, table, [datetime_from_us(T0 * 1000).date()])
        async with connection.transaction():
            await Stage(table, Home.PRODUCTION).insert_new(connection, rows[table])
    await connection.close()


def _judge(folder: Path, *lines: dict[str, object]) -> Judge:
    ledger = folder / "ledger.ndjson"
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Judge(ledger)


async def test_what_stands_there_once_is_exact(tmp_path: Path, production_database: str) -> None:
    """Equal deltas count as often as they were sent; one that nobody was there for may be absent."""
    await _fill(production_database, [_delta(0), _delta(1)])
    unheard = {**_DELTA, "ts_ms": T0 + 1, "recipients": 0}
    judge = _judge(tmp_path, _BOOK, unheard, _DELTA, _DELTA, _TRADE, _TICKER)
    rows = judge.rows(production_database)
    assert [(one.kind, one.sent, one.kept, one.missing, one.surplus) for one in rows] == [
        ("delta", 2, 2, 0, 0), ("trade", 1, 1, 0, 0), ("ticker", 1, 1, 0, 0),
    ]  # fmt: skip
    assert Verdict(rows=rows).is_exact


async def test_a_ledger_of_parquet_is_read_alike(tmp_path: Path, production_database: str) -> None:
    """By its name; what stands there once is exact, what is missing is named."""
    await _fill(production_database, [_delta(0)])
    path = tmp_path / "ledger.parquet"
    lines = [_BOOK, _DELTA, _DELTA, _TRADE, _TICKER]
    pq.write_table(pa.Table.from_pylist(lines, schema=SCHEMA), path)
    rows = Judge(path).rows(production_database)
    assert [(one.sent, one.missing, one.surplus) for one in rows] == [(2, 1, 0), (1, 0, 0), (1, 0, 0)]
    path.write_bytes(b"no parquet")
    with pytest.raises(ConfigurationError, match="not a ledger"):
        Judge(path)


async def test_a_lost_message_is_named(tmp_path: Path, production_database: str) -> None:
    """One of two equal deltas, the trade and the ticker are missing."""
    await _fill(production_database, [_delta(0)], trades=0, tickers=0)
    verdict = Verdict(rows=_judge(tmp_path, _BOOK, _DELTA, _DELTA, _TRADE, _TICKER).rows(production_database))
    assert [one.missing for one in verdict.rows] == [1, 1, 1]
    assert "ticker=KXA" in verdict.rows[0].samples[0]
    assert not verdict.is_exact


async def test_a_doubled_or_invented_row_is_named(tmp_path: Path, production_database: str) -> None:
    """A third occurrence of what was sent twice, and a change that never was."""
    await _fill(production_database, [_delta(0), _delta(1), _delta(2), _delta(0, size_delta=5)])
    verdict = Verdict(rows=_judge(tmp_path, _BOOK, _DELTA, _DELTA, _TRADE, _TICKER).rows(production_database))
    assert [(one.missing, one.surplus) for one in verdict.rows] == [(0, 2), (0, 0), (0, 0)]
    assert not verdict.is_exact


async def test_every_finding_is_written(tmp_path: Path, production_database: str) -> None:
    """Missing, doubled and invented rows, each content once with its number, as NDJSON and as Parquet."""
    await _fill(production_database, [_delta(0), _delta(1), _delta(2), _delta(0, size_delta=5)], trades=0)
    judge = _judge(tmp_path, _BOOK, _DELTA, _TRADE, _TICKER)
    (deltas, trades, _) = judge.rows(production_database)
    assert (deltas.missing, deltas.doubled, deltas.invented, trades.missing) == (0, 2, 1, 1)
    assert judge.write_findings(tmp_path / "all.ndjson") == judge.write_findings(tmp_path / "all.parquet") == 3
    lines = [json.loads(line) for line in (tmp_path / "all.ndjson").read_text().splitlines()]
    assert sorted((one["kind"], one["fault"], one["rows"]) for one in lines) == [
        ("delta", "doubled", 2), ("delta", "invented", 1), ("trade", "missing", 1),
    ]  # fmt: skip
    invented = next(one for one in lines if one["fault"] == "invented")
    assert invented["content"] == {"side": True, "price": 400_000, "size_delta": 5}
    assert pq.read_table(tmp_path / "all.parquet").column("rows").to_pylist().count(2) == 1
    with pytest.raises(ConfigurationError, match="must end in"):
        judge.write_findings(tmp_path / "all.csv")


async def test_the_command_tells_people_and_machines(tmp_path: Path, production_database: str) -> None:
    """The exit code and the JSON carry the verdict; the screen names the first findings."""
    await _fill(production_database, [_delta(0)], trades=0)
    _judge(tmp_path, _BOOK, _DELTA, _TRADE, _TICKER)
    arguments = ["verify", str(tmp_path / "ledger.ndjson"), production_database]
    found = CliRunner().invoke(app, [*arguments, "--json", "--output", str(tmp_path / "all.ndjson")])
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert (told["exact"], told["findings"], told["rows"][1]["missing"]) == (False, 1, 1)
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 1
    assert TRADE_ID in shown.stdout.replace("\n", "")
    assert "NOT exact" in shown.stdout


async def test_a_wrong_value_is_both_missing_and_invented(tmp_path: Path, production_database: str) -> None:
    """Content is compared, not counts."""
    await _fill(production_database, [_delta(0)])
    wrong = {**_TICKER, "yes_bid_size": "7.51"}
    verdict = Verdict(rows=_judge(tmp_path, _BOOK, _DELTA, _TRADE, wrong).rows(production_database))
    assert [(one.missing, one.surplus) for one in verdict.rows] == [(0, 0), (0, 0), (1, 1)]


async def test_books_are_compared_level_by_level(tmp_path: Path, production_database: str) -> None:
    """The ledger's fold against the lake's checkpoint and deltas; a book without a checkpoint is not guessed."""
    await _fill(production_database, [_delta(0)])
    lake, hour = Lake(tmp_path / "lake"), datetime_from_us(T0 * 1000)
    for table in STREAM_TABLES:
        with read_window(production_database, table, hour, datetime_from_us((T0 + 3_600_000) * 1000)) as batches:
            write_partition(lake, RAW[table.name], RAW[table.name].period.floor(hour), batches)
    with connect(lake) as reader:
        unknown = {**_BOOK, "ticker": "KXB"}
        agrees = _judge(tmp_path, _BOOK, unknown, _DELTA).books(reader, _at(9), must_know_all=False)
        assert (agrees.compared, agrees.differing, agrees.unknown, agrees.is_exact) == (1, 0, 1, True)
        assert not _judge(tmp_path, _BOOK, unknown, _DELTA).books(reader, _at(9), must_know_all=True).is_exact
        more = _judge(tmp_path, _BOOK, _DELTA, _DELTA).books(reader, _at(9), must_know_all=True)
        assert (more.differing, more.samples, more.is_exact) == (1, ("KXA",), False)
        less = _judge(tmp_path, {**_BOOK, "yes": []}, _DELTA).books(reader, _at(9), must_know_all=True)
        assert less.differing == 1


def test_nothing_compared_is_not_exact(tmp_path: Path) -> None:
    """An empty tape proves nothing."""
    assert not Verdict().is_exact
    with pytest.raises(ConfigurationError, match="holds no message"):
        _judge(tmp_path, _BOOK).span()


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    """In plain words."""
    (tmp_path / "notes.txt").write_text("these are not the lines you are looking for")
    with pytest.raises(ConfigurationError, match="is not a ledger"):
        Judge(tmp_path / "notes.txt")


def _at(ms: int) -> datetime:
    return datetime_from_us((T0 + ms) * 1000)
