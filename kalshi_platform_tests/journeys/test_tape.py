"""The recorded tape through three gatherers with holes of their own and the deduplicator: production is the tape."""

import asyncio
import gzip
import os
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from kalshi_platform.core.schema import CAPTURE_TABLES, STREAM_TABLES
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.deduplicator.coverage import CHANNEL_TABLES, cover_hour, next_hour
from kalshi_platform.exchange.session import Channel
from kalshi_platform_tests.deduplicator.rows import running, sync_loops, until_read
from kalshi_platform_tests.journeys.tape import Outage, Tape, lost_by_all, missed_by_all
from kalshi_platform_tests.queries import fetch, value

pytestmark = pytest.mark.slow

_DELTAS = "SELECT exchange_ts, ticker, side, price, size_delta FROM orderbook_deltas"
_TRADES = "SELECT trade_id::text, exchange_ts, ticker, price, size, taker_side FROM trades"
_UNCOVERED = "SELECT ticker, from_at, until_at FROM uncovered_intervals WHERE channel = $1 ORDER BY 2, 1"
_WINDOWS = [f"KXGOLD15M-26AUG{name}" for name in ("050000-00", "101800-00", "102030-30", "111300-00")]
_IS_WHOLE = bool(os.environ.get("KALSHI_TEST_WHOLE_TAPE"))
_COMMON = "KXGOLD15M-26AUG111300-00"
"""In the middle of this market's life there is a moment that nobody hears."""


def _chosen(events: Path, folder: Path) -> Path:
    """A part of the tape with one of its reconnections; all of it where `KALSHI_TEST_WHOLE_TAPE` is set."""
    if _IS_WHOLE:
        return events
    for name in _WINDOWS:
        (folder / name).mkdir()
        for path in (events / name).iterdir():
            (folder / name / path.name).symlink_to(path)
    return folder


def _outages(events: Path) -> dict[str, list[Outage]]:
    """Each gatherer misses something in every market's life; two at once now and then, all three only once."""
    planned: dict[str, list[Outage]] = {"gatherer-1": [], "gatherer-2": [], "gatherer-3": []}
    for market in sorted(events.iterdir()):
        (path,) = market.iterdir()
        with gzip.open(path) as lines:
            start = int(msgspec.json.decode(next(lines))["recv_ms"])
        plan = {
            "gatherer-1": [(60, 65, False), (300, 305, False), (520, 521, True)],
            "gatherer-2": [(120, 130, True), (303, 310, False), (520.5, 522, False)],
            "gatherer-3": [(200, 203, False), (308, 315, True), (600, 601, False)],
        }
        if market.name == _COMMON:
            plan["gatherer-1"].append((400, 408, False))
            plan["gatherer-2"].append((401, 410, True))
            plan["gatherer-3"].append((399, 407, False))
        for name, parts in plan.items():
            moments = ((start + int(since * 1000), start + int(until * 1000), is_cut) for since, until, is_cut in parts)
            planned[name] += [Outage(*one) for one in moments]
    return planned


def _recorded(events: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """Every message of the recording, read without the platform and without the simulator."""
    for path in sorted(events.glob("*/*.ndjson.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            event = msgspec.json.decode(line)["event"]
            yield event["type"], event["msg"]


def _facts(messages: Iterable[tuple[str, dict[str, Any]]]) -> tuple[Counter[Any], Counter[Any]]:
    """Messages as production has them: changes and trades."""
    deltas: Counter[Any] = Counter()
    trades: Counter[Any] = Counter()
    for kind, one in messages:
        if kind == "orderbook_delta":
            change = (one["side"] == "yes", _scaled(one["price_dollars"], 6), _scaled(one["delta_fp"], 2))
            deltas[_moment(one), one["market_ticker"], *change] += 1
        elif kind == "trade":
            price, size = _scaled(one["yes_price_dollars"], 6), _scaled(one["count_fp"], 2)
            trades[one["trade_id"], _moment(one), one["market_ticker"], price, size, one["taker_side"] == "yes"] += 1
    return deltas, trades


def _moment(message: dict[str, Any]) -> datetime:
    return datetime_from_us(message["ts_ms"] * 1000)


def _scaled(text: str, decimals: int) -> int:
    return round(float(text) * 10**decimals)


@pytest.mark.timeout(3600 if _IS_WHOLE else 600)
async def test_three_tapes_with_holes_become_the_one_that_was_recorded(
    shared_data: Path, tmp_path: Path, new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """Production lacks what nobody heard, and nothing else; coverage says when that was, and of nothing else."""
    events = _chosen(shared_data / "gold15m" / "events", tmp_path)
    outages = _outages(events)
    sources = {name: new_gatherer_database() for name in outages}
    tape = Tape(events, sources, outages)
    async with running(sync_loops(sources, production_database, *STREAM_TABLES, *CAPTURE_TABLES)):
        end_us = await tape.play()
        await until_read(sources, production_database, *STREAM_TABLES)
        for table in CAPTURE_TABLES:
            await _until_all(sources.values(), production_database, table.name)

    books, trades = ([one.lines[channel] for one in tape.gatherers] for channel in (Channel.ORDERBOOK, Channel.TRADE))
    recorded, lost = _facts(_recorded(events)), _facts(_parsed(books, trades))
    for sql, there, nobody in zip((_DELTAS, _TRADES), recorded, lost, strict=True):
        found = Counter(tuple(row) for row in await fetch(production_database, sql))
        assert there - found == nobody
        assert not found - there
        assert nobody
    assert await value(production_database, "SELECT count(*) FROM merge_conflicts") == 0

    assert all(len(line.holes) >= 3 * len(books[0].tickers) for line in books)
    await _cover(production_database, datetime.fromtimestamp(end_us / 1_000_000, UTC))
    tickers = list(books[0].tickers)
    for channel, lines, names in ((Channel.ORDERBOOK, books, tickers), (Channel.TRADE, trades, [""])):
        missed = [tuple(map(datetime_from_us, hole)) for hole in missed_by_all(lines)]
        assert [tuple(row) for row in await fetch(production_database, _UNCOVERED, channel.value)] == [
            (name, *hole) for hole in missed for name in sorted(names)
        ]
        assert len(missed) == 1 or channel is Channel.TRADE, "trades are rare: a hole lasts until the next"


def _parsed(*channels: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    """What arrived nowhere."""
    for kind, lines in zip(("orderbook_delta", "trade"), channels, strict=True):
        for text, times in lost_by_all(lines).items():
            for _ in range(times):
                message = msgspec.json.decode(b"{" + text)["msg"]
                if kind == "trade" or "delta_fp" in message:
                    yield kind, message


async def _until_all(sources: Iterable[str], production: str, table: str) -> None:
    count = f"SELECT count(*) FROM {table}"  # noqa: S608
    async with asyncio.timeout(20):
        while sum([await value(url, count) for url in sources]) != await value(production, count):
            await asyncio.sleep(0.02)


async def _cover(production: str, mark: datetime) -> None:
    connection = await asyncpg.connect(production)
    for channel in CHANNEL_TABLES:
        while (hour := await next_hour(connection, channel, mark)) is not None:
            await cover_hour(connection, channel, hour)
    await connection.close()
