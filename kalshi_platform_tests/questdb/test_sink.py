"""The second sink, through QuestDB's own client, into a loopback server that parses the line protocol strictly."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.errors import ConfigurationError, IntegrityError
from kalshi_platform.core.records import DeltaRow, GapRow, Row, SnapshotRow, TickerRow, TradeRow
from kalshi_platform.core.units import us_from_datetime
from kalshi_platform.questdb.client import QuestClient, QuestRefused, QuestUnavailable
from kalshi_platform.questdb.sink import QuestSink, end_second
from kalshi_platform.tools.questdb_handover import hand_over
from kalshi_platform_tests.questdb.server import Server, serving
from kalshi_platform_tests.waiting import until

pytest.importorskip("questdb", reason="needs the extra [questdb]")

DAY = datetime(2026, 11, 20, tzinfo=UTC)
US = us_from_datetime(DAY + timedelta(hours=7, milliseconds=5))
TRADE = UUID("11111111-2222-3333-4444-555555555555")
ROWS: list[Row] = [
    TradeRow(US, TRADE, "KX A,=B-1", 560_000, 1_200, None, False, US + 1),
    DeltaRow(US, "KXA-1", True, 560_000, -250, 0, 3, 17, 2, US + 2),
    TickerRow(US, "KXA-1", None, 1, 2, None, 4, 5, 6, 7, 8, 9, -(2**62), US + 3),
    SnapshotRow(US, "KXA-1", "checkpoint", "", (1, 20), (300, 4), (), (), 20, None, US + 4),
]


@pytest.fixture
def server() -> Iterator[Server]:
    """A fresh one."""
    with serving() as state:
        yield state


async def _sent(server: Server, rows: list[Row], most: int = 10_000) -> Counter[str]:
    told: Counter[str] = Counter()
    sink = QuestSink(QuestClient(server.configuration), most, lambda what, count: told.update({what: count}), _waits)
    running = asyncio.create_task(sink.run())
    for row in rows:
        sink.add(row)
    await end_second(sink, running)
    return told


def _waits() -> Iterator[float]:
    return repeat(0.01)


async def test_every_stream_row_arrives_as_it_is(server: Server) -> None:
    """Names with separators, unknown values, times, lists; what is no stream stays away; twice is once."""
    gap = GapRow(US, "g", "c", 1, "trade", "", "sequence", 1, 2, 3, US)
    assert await _sent(server, [*ROWS, gap, *ROWS]) == {"sent": 8}
    assert {name: len(table.rows) for name, table in server.tables.items()} == {
        "trades": 1, "orderbook_deltas": 1, "orderbook_snapshots": 1, "tickers": 1,
    }  # fmt: skip
    (trade,) = server.tables["trades"].rows.values()
    assert (trade["ticker"], trade["trade_id"], trade["price"], trade["is_block_trade"]) == (
        "KX A,=B-1", str(TRADE), 560_000, False,
    )  # fmt: skip
    assert "taker_side" not in trade
    assert us_from_datetime(trade["received_at"]) == US + 1
    (delta,) = server.tables["orderbook_deltas"].rows.values()
    assert (delta["size_delta"], delta["position"], delta["seq"], delta["side"]) == (-250, 3, 17, True)
    (snapshot,) = server.tables["orderbook_snapshots"].rows.values()
    assert (snapshot["yes_prices"], snapshot["no_sizes"], snapshot["best_yes_bid"]) == ("[1,20]", "[]", 20)


async def test_an_outage_is_waited_for_and_bounded(server: Server) -> None:
    """Nobody waits meanwhile; the oldest rows beyond the bound are given up and counted."""
    server.is_away = True
    told: Counter[str] = Counter()
    sink = QuestSink(QuestClient(server.configuration), 20_000, lambda what, count: told.update({what: count}), _waits)
    running = asyncio.create_task(sink.run())
    for number in range(30_000):
        sink.add(DeltaRow(US, "KXA-1", True, number, 1, 0, 0, 0, 0, US))
    assert told["dropped"] == 10_000
    server.is_away = False
    await until(lambda: told["sent"] >= 20_000)
    await end_second(sink, running)
    assert told == {"dropped": 10_000, "sent": 20_000}
    assert server.lines == 20_000


async def test_a_defect_of_ours_is_told_and_the_sink_goes_on(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that cannot be read takes its batch along, counted, and nothing else; the next rows are sent."""
    told: Counter[str] = Counter()
    client = QuestClient(server.configuration)
    resets = iter([client.reset, None, client.reset])  # the second fails as well
    monkeypatch.setattr(client, "reset", lambda: next(resets)())  # type: ignore[misc]  # noqa: PLW0108 - one each time
    sink = QuestSink(client, 10_000, lambda what, count: told.update({what: count}), _waits)
    running = asyncio.create_task(sink.run())
    for _ in range(3):
        sink.add(TradeRow(None, TRADE, "KXA-1", 1, 1, None, False, US))  # type: ignore[arg-type]
        before = told["failed"]
        await until(lambda before=before: told["failed"] > before)
    for row in ROWS:
        sink.add(row)
    await end_second(sink, running)
    assert told == {"failed": 3, "sent": 4}
    assert running.exception() is None
    assert "the QuestDB sink failed" in capsys.readouterr().out


async def test_a_server_that_is_gone_does_not_hold_up_the_end(server: Server) -> None:
    """What waits is given up and counted."""
    server.is_away = True
    assert await _sent(server, ROWS) == {"dropped": 4}


async def test_what_the_server_refuses_is_counted_and_the_rest_goes_on(server: Server) -> None:
    """A table that somebody made otherwise."""
    with closing(QuestClient(server.configuration)) as client:
        client.ensure_tables()
        server.tables["trades"].types["price"] = "VARCHAR"
        with pytest.raises(QuestRefused, match="cast error"):
            client.send(ROWS[:1])
        client.send(ROWS[1:])
    assert server.lines == 3


@pytest.mark.parametrize(
    "configuration", ["nonsense", "tcp::addr=h:9009;", "http::port=1;", "http::port=1;password=s3cret;"]
)
def test_a_configuration_that_is_none(configuration: str) -> None:
    """Said, without what may be secret."""
    with pytest.raises(ConfigurationError, match="KALSHI_QUESTDB") as refused:
        QuestClient(configuration)
    assert "s3cret" not in str(refused.value)


def test_nobody_there() -> None:
    """In plain words."""
    with (
        closing(QuestClient("http::addr=127.0.0.1:1;")) as client,
        pytest.raises(QuestUnavailable, match=r"QuestDB at http://127\.0\.0\.1:1"),
    ):
        client.execute("SELECT 1")


@pytest.mark.slow
async def test_a_day_becomes_parquet(server: Server, tmp_path: Path) -> None:
    """The lake's own columns and files; the same bytes again; dropped only once it is counted."""
    later = [DeltaRow(US + 10_000_000 * turn, "KXA-1", False, 1, 1, 0, 0, 0, 0, US) for turn in range(720)]
    trades: list[Row] = [TradeRow(US, uuid4(), "KXB-1", 10_000, 100, True, False, US) for _ in range(5)]
    assert await _sent(server, [*ROWS, *later, *trades]) == {"sent": 729}
    files = _handed_over(server, tmp_path)
    assert sum(files.values()) == 729
    assert len(files) == 50, "24 hours of deltas and tickers, a day of trades and snapshots"
    by_hour = [rows for name, rows in files.items() if "orderbook_deltas" in name]
    assert by_hour == [0] * 7 + [361, 360, 0] + [0] * 14
    (trade,) = [one for one in _rows(files, "trades") if one["ticker"] != "KXB-1"]
    assert (str(trade["price"]), str(trade["size"]), trade["trade_id"]) == ("0.560000", "12.00", str(TRADE))
    (snapshot,) = _rows(files, "orderbook_snapshots")
    assert snapshot["gatherer_id"] == ""
    assert [str(price) for price in snapshot["yes_prices"]] == ["0.000001", "0.000020"]
    before = _bytes(files)
    assert _handed_over(server, tmp_path, drop=True) == files
    assert _bytes(files) == before
    assert sum(len(table.rows) for table in server.tables.values()) == 0


def _handed_over(server: Server, folder: Path, *, drop: bool = False) -> dict[str, int]:
    files: dict[str, int] = {}
    with closing(QuestClient(server.configuration)) as client:
        hand_over(client, str(folder), DAY.date(), files.__setitem__, drop=drop, today=date(2026, 11, 21))
    return files


def _bytes(files: dict[str, int]) -> dict[str, bytes]:
    return {file: Path(file).read_bytes() for file in files}


def _rows(files: dict[str, int], name: str) -> list[dict[str, Any]]:
    (file,) = [one for one in files if f"/{name}/" in one]
    return pq.read_table(file).to_pylist()


async def test_a_day_that_is_not_over_or_not_whole_is_not_dropped(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today is refused; a file that lacks rows stops everything."""
    await _sent(server, ROWS)
    with closing(QuestClient(server.configuration)) as client, pytest.raises(ConfigurationError, match="is not over"):
        hand_over(client, str(tmp_path), DAY.date(), lambda *_: None, today=DAY.date(), drop=True)
    whole = server.parquet
    monkeypatch.setattr(server, "parquet", lambda query: whole(query.replace("T00:00:00", "T23:00:00", 1)))
    with pytest.raises(IntegrityError, match="QuestDB has"):
        _handed_over(server, tmp_path, drop=True)
    assert sum(len(table.rows) for table in server.tables.values()) == 4
