"""An invented hour in the lake: small, with everything in it that a definition may stumble over."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pyarrow as pa

from kalshi_platform.lake.datasets import COVERAGE, RAW, Dataset, Period
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.writer import write_partition

Row = dict[str, Any]
Book = dict[tuple[bool, Decimal], Decimal]
Hole = tuple[str, datetime, datetime]
"""When nobody heard a market, or, with an empty ticker, any of them."""

TICKERS = ("KXA-26NOV20-T1", "KXA-26NOV20-T2", "KXB-26NOV20-T1", "KXQUIET-26NOV20-T1", "KXSHORT-26NOV20-T1")
MILLISECOND = timedelta(milliseconds=1)


def write_invented(lake: Lake, noon: datetime, rows: int = 3000, holes: Sequence[Hole] = ()) -> None:
    """One hour from noon, the checkpoints around it, and the markets that were settled that day.

    Changes never take more than a level holds. One market is quiet and has nothing but checkpoints; one lives for ten
    minutes, in which something is missed, and is emptied at its end. What lies in a hole is lost.
    """
    random, day = Random(8), Period.DAY.floor(noon)  # noqa: S311 - a tape, not a secret
    books: dict[str, Book] = {ticker: {} for ticker in TICKERS[:4]}
    books[TICKERS[3]] = {(True, Decimal("0.25")): Decimal(7)}
    opening = [_checkpoint(noon, ticker, book) for ticker, book in books.items()]
    deltas = _deltas(random, noon, rows, books)
    closing = [_checkpoint(noon + HOUR, ticker, book) for ticker, book in books.items()]
    short, changes = _short_life(noon + HOUR / 6)
    heard = [row for row in deltas + changes if not any(_is_lost(row, *hole) for hole in holes)]
    _write(lake, "orderbook_deltas", noon, heard)
    for empty in (noon - HOUR, noon + HOUR):
        _write(lake, "orderbook_deltas", empty, [])
    _write(lake, "tickers", noon, [_quote(random, noon, nth) for nth in range(rows // 5)])
    _write(lake, "trades", day, [_trade(random, noon) for _ in range(rows // 10)])
    _write(lake, "orderbook_snapshots", day, opening + short + closing)
    _write(lake, "markets", day, [_market(noon, ticker, nth) for nth, ticker in enumerate(TICKERS)])
    _write(lake, "events", day, [_event(ticker, noon) for ticker in TICKERS if ticker.endswith("T1")])
    told = {"hour": noon, "channel": "orderbook_delta"}
    lost = [told | {"ticker": ticker, "from_at": low, "until_at": high} for ticker, low, high in holes]
    write_rows(lake, COVERAGE["uncovered_intervals"], day, lost)
    reckoned = {
        "markets": len(TICKERS),
        "uncovered_markets": len(lost),
        "uncovered_us": 0,
        "gatherers": "g",
        "behind": "{}",
    }
    write_rows(lake, COVERAGE["coverage_hours"], day, [told | reckoned | {"is_stale": False, "computed_at": noon}])


def _write(lake: Lake, name: str, start: datetime, rows: list[Row]) -> None:
    write_rows(lake, RAW[name], start, rows)


def write_rows(lake: Lake, dataset: Dataset, start: datetime, rows: list[Row]) -> None:
    """One file of any dataset; columns that a row does not name are NULL."""
    filled = [{name: row.get(name) for name in dataset.schema.names} for row in rows]
    write_partition(lake, dataset, start, [pa.RecordBatch.from_pylist(filled, dataset.schema)])


def _is_lost(row: Row, ticker: str, low: datetime, high: datetime) -> bool:
    return ticker in ("", row["ticker"]) and low <= row["exchange_ts"] < high


def _moment(random: Random, noon: datetime) -> datetime:
    """Some millisecond of the hour; of few different ones, so that many share it."""
    return noon + MILLISECOND * (random.randrange(3600) * 1000 + random.choice((0, 1, 999)))


def _deltas(random: Random, noon: datetime, count: int, books: dict[str, Book]) -> list[Row]:
    """Changes that keep every level at nothing or above, and so the books at the end of the hour."""
    rows = []
    for nth, at in enumerate(sorted(_moment(random, noon) for _ in range(count))):
        ticker, side = random.choice(TICKERS[:3]), random.random() < 0.5
        level = (side, Decimal(random.randrange(1, 12)) / 25 + Decimal("0.0001"))
        held = books[ticker].get(level, Decimal(0))
        change = -held if held and random.random() < 0.6 else Decimal(random.randrange(1, 999)) / 100
        books[ticker][level] = held + change
        rows.append({"exchange_ts": at, "ticker": ticker, "side": side, "price": level[1], "size_delta": change})
        rows[-1] |= {
            "occurrence": 0,
            "position": nth,
            "seq": nth,
            "received_at": at + random.randrange(5, 90) * MILLISECOND,
        }
    return rows


def _short_life(opened: datetime) -> tuple[list[Row], list[Row]]:
    """The books of a market as they were sent and as capture keeps them, and its changes: one is not among them."""
    second, ticker = MILLISECOND * 1000, TICKERS[4]
    first = {(True, Decimal("0.30")): Decimal(5), (False, Decimal("0.60")): Decimal(4)}
    healed = first | {(True, Decimal("0.31")): Decimal(3), (False, Decimal("0.62")): Decimal("0.5")}
    sent = {"source": "ws", "gatherer_id": "g"}
    books = [(0, first, sent), (2, first, {}), (298, healed, sent), (300, healed, {}), (600, {}, sent), (602, {}, {})]
    rows = [_checkpoint(opened + seconds * second, ticker, book) | source for seconds, book, source in books]
    changes = [(60, True, "0.31", 3), (590, False, "0.62", -1)]
    return rows, [
        {"exchange_ts": opened + seconds * second, "ticker": ticker, "side": side, "price": Decimal(price),
         "size_delta": Decimal(size) / 2 if size < 0 else Decimal(size), "occurrence": 0, "position": 0, "seq": 0,
         "received_at": opened + seconds * second}
        for seconds, side, price, size in changes
    ]  # fmt: skip


def _checkpoint(at: datetime, ticker: str, book: Book) -> Row:
    row: Row = {"snapshot_ts": at, "ticker": ticker, "source": "checkpoint", "gatherer_id": "", "received_at": at}
    for name, side in (("yes", True), ("no", False)):
        levels = sorted((price, size) for (of, price), size in book.items() if of is side and size)
        row |= {f"{name}_prices": [price for price, _ in levels], f"{name}_sizes": [size for _, size in levels]}
    return row


def _trade(random: Random, noon: datetime) -> Row:
    at = _moment(random, noon)
    row = {"exchange_ts": at, "trade_id": str(UUID(int=random.getrandbits(128))), "ticker": random.choice(TICKERS[:3])}
    row |= {"price": Decimal(random.randrange(1, 999)) / 1000, "size": Decimal(random.randrange(1, 9999)) / 100}
    return row | {"taker_side": random.choice((True, False, None)), "is_block_trade": random.random() < 0.1,
                  "received_at": at}  # fmt: skip


def _quote(random: Random, noon: datetime, nth: int) -> Row:
    at = _moment(random, noon)
    row: Row = {"exchange_ts": at, "ticker": random.choice(TICKERS), "digest": nth, "received_at": at}
    for name in ("yes_bid", "yes_ask", "last_price"):
        row[name] = random.choice((None, Decimal(random.randrange(1, 99)) / 100))
    return row | {"open_interest": Decimal(random.randrange(9999)) / 100}


def _market(noon: datetime, ticker: str, nth: int) -> Row:
    row = {"ticker": ticker, "event_ticker": ticker.rpartition("-")[0], "status": "finalized", "seen_at": noon}
    result = ("yes", "no", "", None, "no")[nth]
    return row | {"settlement_ts": noon + nth * HOUR / 2, "close_time": noon, "result": result,
                  "settlement_value": Decimal(nth) / 4, "object": "{}"}  # fmt: skip


def _event(ticker: str, noon: datetime) -> Row:
    event = ticker.rpartition("-")[0]
    return {"event_ticker": event, "series_ticker": event.partition("-")[0], "seen_at": noon, "object": "{}"}
