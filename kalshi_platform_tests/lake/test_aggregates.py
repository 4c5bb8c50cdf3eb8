from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import duckdb
import pytest

from kalshi_platform.core.schema import TICKERS as TICKERS_TABLE
from kalshi_platform.core.schema import TRADES
from kalshi_platform.lake.aggregates import AGGREGATE_NAMES, aggregate_sql
from kalshi_platform.lake.datasets import AGGREGATES, RAW, Period
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.invented import TICKERS, write_invented


def test_each_aggregate_of_the_lake_is_defined() -> None:
    """Neither a dataset without a definition nor a definition without a dataset."""
    assert set(AGGREGATE_NAMES) == set(AGGREGATES)
    with pytest.raises(KeyError, match="candles_1m"):
        aggregate_sql("candles", datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize("name", AGGREGATE_NAMES)
def test_a_definition_gives_the_columns_of_its_dataset(lake: Lake, name: str, noon: datetime) -> None:
    """Names and types, over a lake in which nothing is yet; times come with or without the zone, which is UTC."""
    rows = connect(lake).sql(aggregate_sql(name, noon, noon + timedelta(hours=1))).to_arrow_table()
    expected = AGGREGATES[name].schema
    assert set(rows.column_names) == set(expected.names)
    assert rows.select(expected.names).cast(expected.remove_metadata()).num_rows == 0
    decimals = {field.name: field.type for field in expected if str(field.type).startswith("decimal")}
    assert {field: rows.schema.field(field).type for field in decimals} == decimals


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory, noon: datetime) -> Lake:
    """One invented hour."""
    lake = Lake(tmp_path_factory.mktemp("invented"))
    write_invented(lake, noon)
    return lake


def test_the_quotes_are_the_best_of_the_book_by_hand(invented: Lake, noon: datetime) -> None:
    """The changes counted one by one: the same quotes at the same moments, and none in between.

    A later checkpoint tells what no change said: what was missed, and, from where the exchange emptied the book on, a
    close. Nothing is told of a market before it was first heard.
    """
    connection = connect(invented)
    sql = aggregate_sql("best_bid_offer", noon, noon + HOUR)
    for ticker in TICKERS:
        found = connection.sql(sql).filter(f"ticker = '{ticker}'").order("exchange_ts").fetchall()
        assert [row[1:] for row in found] == _quotes_by_hand(connection, ticker, noon)


def _quotes_by_hand(connection: duckdb.DuckDBPyConnection, ticker: str, noon: datetime) -> list[tuple[Any, ...]]:
    changes = "SELECT exchange_ts, side, price, size_delta FROM orderbook_deltas WHERE ticker = ?"
    kept = """SELECT snapshot_ts, yes_prices, yes_sizes, no_prices, no_sizes FROM orderbook_snapshots
              WHERE ticker = ? AND source = 'checkpoint' AND snapshot_ts < ? ORDER BY ALL"""
    checkpoints = connection.execute(kept, [ticker, noon + HOUR]).fetchall()
    changed = connection.execute(changes, [ticker]).fetchall()
    happened = [(row[0], 0, row[1:]) for row in checkpoints[1:]] + [(row[0], 1, row[1:]) for row in changed]
    sent = "SELECT snapshot_ts FROM emptied_books WHERE ticker = ? AND snapshot_ts > ?"
    happened += [(*row, 2, ()) for row in connection.execute(sent, [ticker, checkpoints[0][0]]).fetchall()]
    first = "SELECT min(snapshot_ts) FROM orderbook_snapshots WHERE ticker = ?"
    ((heard_from,),) = connection.execute(first, [ticker]).fetchall()
    book = _whole(checkpoints[0][1:])
    quotes = {noon: (False, None, None, None, None)} | {heard_from: (True, *_best(book))}
    for at, kind, what in sorted(happened):
        if kind == 0:
            book = _whole(what)
        elif kind == 1:
            side, price, change = what
            book[side][price] = book[side].get(price, Decimal(0)) + change
        else:
            later = next(row for row in checkpoints if row[0] > at)
            assert not [row for row in changed if at < row[0] < later[0]]
            book = _whole(later[1:])
        quotes[at] = (True, *_best(book))
    rows = [(at, *quote, is_known) for at, (is_known, *quote) in quotes.items()]
    return rows[:1] + [now for then, now in pairwise(rows) if now[1:] != then[1:]]


def _whole(levels: tuple[list[Decimal], ...]) -> dict[bool, dict[Decimal, Decimal]]:
    yes_prices, yes_sizes, no_prices, no_sizes = levels
    return {True: dict(zip(yes_prices, yes_sizes, strict=True)), False: dict(zip(no_prices, no_sizes, strict=True))}


def _best(book: dict[bool, dict[Decimal, Decimal]]) -> tuple[Decimal | None, ...]:
    bid, no_bid = (max((price for price, size in book[side].items() if size), default=None) for side in (True, False))
    ask = None if no_bid is None else 1 - no_bid
    return bid, None if bid is None else book[True][bid], ask, None if no_bid is None else book[False][no_bid]


def test_candles_by_hand(lake: Lake, noon: datetime, batch: Any) -> None:
    """First, highest, lowest and last price of a minute, its mean by size, and the price before it."""
    same = {"ticker": "KXA", "received_at": noon}
    trades = [(1, 500_000, 100), (2, 700_000, 300), (59_999, 400_000, 100), (180_000, 450_000, 200)]
    rows = [
        same
        | {"exchange_ts": noon + timedelta(milliseconds=ms), "trade_id": str(UUID(int=ms)), "price": price}
        | {"size": size, "taker_side": True, "is_block_trade": False}
        for ms, price, size in trades
    ]
    day = Period.DAY.floor(noon)
    write_partition(lake, RAW["trades"], day, [batch(TRADES, rows)])
    quotes = [(30_000, 390_000, 410_000), (61_000, 380_000, None)]
    rows = [
        same
        | {"exchange_ts": noon + timedelta(milliseconds=ms), "yes_bid": bid, "yes_ask": ask}
        | {"digest": 1, "open_interest": 700}
        for ms, bid, ask in quotes
    ]
    write_partition(lake, RAW["tickers"], noon, [batch(TICKERS_TABLE, rows)])
    sql = aggregate_sql("candles_1m", day, day + timedelta(days=1))
    found = connect(lake).sql(sql).order("minute").to_arrow_table().to_pylist()
    names = ("open", "high", "low", "close", "mean", "previous", "volume", "trades")
    first = [Decimal(text) for text in ("0.5", "0.7", "0.4", "0.4", "0.6")]
    assert [tuple(row[name] for name in names) for row in found] == [
        (*first, None, 5, 3),
        (None, None, None, None, None, Decimal("0.4"), 0, 0),
        (*[Decimal("0.45")] * 5, Decimal("0.4"), 2, 1),
    ]
    bids = [tuple(row[f"yes_bid_{name}"] for name in ("open", "high", "low", "close")) for row in found]
    assert bids[:2] == [(Decimal("0.39"),) * 4, tuple(Decimal(text) for text in ("0.39", "0.39", "0.38", "0.38"))]
    assert found[1]["yes_ask_close"] is None
    assert found[1]["yes_ask_open"] == Decimal("0.41")
