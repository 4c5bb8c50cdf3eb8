from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import TRADES
from kalshi_platform.lake import aggregate
from kalshi_platform.lake.aggregate import write_aggregate
from kalshi_platform.lake.datasets import AGGREGATES, RAW, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.writer import write_partition

MakeBatch = Callable[..., pa.RecordBatch]
CANDLES = AGGREGATES["candles_1m"]


def _trade(at: datetime, number: int, price: int, size: int, ticker: str = "KXA") -> dict[str, Any]:
    row = {"exchange_ts": at, "trade_id": f"{number:05}", "ticker": ticker, "price": price, "size": size}
    return row | {"taker_side": True, "is_block_trade": False, "received_at": at}


def _day(lake: Lake, noon: datetime, batch: MakeBatch, trades: list[dict[str, Any]], hours: int = 24) -> None:
    """A day of trades, and so many hours of tickers."""
    day = Period.DAY.floor(noon)
    write_partition(lake, RAW["trades"], day, [batch(TRADES, trades)])
    for hour in range(hours):
        write_partition(lake, RAW["tickers"], day + hour * HOUR, [])


def test_candles_are_reckoned_from_the_lake_s_own_files(lake: Lake, noon: datetime, batch: MakeBatch) -> None:
    """First, highest, lowest and last price of each minute, in the order of the definition's columns."""
    prices = [(0, 500_000, 100), (10, 520_000, 200), (50, 490_000, 300), (60, 510_000, 100)]
    trades = [_trade(noon + HOUR * seconds / 3600, n, price, size) for n, (seconds, price, size) in enumerate(prices)]
    _day(lake, noon, batch, trades)
    facts = write_aggregate(lake, CANDLES, Period.DAY.floor(noon))
    names = ["ticker", "minute", "open", "high", "low", "close", "volume", "dollar_volume", "trades"]
    found = [tuple(row.values()) for row in pq.read_table(facts.path, partitioning=None).select(names).to_pylist()]
    cents = [Decimal(n) / 100 for n in (50, 52, 49, 51)]
    assert found == [
        ("KXA", noon, cents[0], cents[1], cents[2], cents[2], Decimal(6), Decimal("3.01"), 3),
        ("KXA", noon + HOUR / 60, cents[3], cents[3], cents[3], cents[3], Decimal(1), Decimal("0.51"), 1),
    ]
    assert pq.read_schema(facts.path).names == CANDLES.schema.names


def test_the_same_files_give_the_same_bytes(
    lake: Lake, noon: datetime, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces or whole, whatever DuckDB's threads do."""
    trades = [_trade(noon + HOUR * (n % 90) / 90, n, 500_000 + n, 100, f"KX{n % 40}") for n in range(3_000)]
    _day(lake, noon, batch, trades)
    once = write_aggregate(lake, CANDLES, Period.DAY.floor(noon))
    monkeypatch.setattr(aggregate, "_FETCHED_ROWS", 7)
    assert write_aggregate(lake, CANDLES, Period.DAY.floor(noon)) == once
    assert once.rows > 300


def test_an_aggregate_goes_as_far_as_everything_it_is_made_of(lake: Lake, noon: datetime, batch: MakeBatch) -> None:
    """Tickers end at two o'clock, so the candles do; what comes later is not taken for silence."""
    day = Period.DAY.floor(noon)
    _day(lake, noon, batch, [_trade(day + HOUR, 1, 1, 1), _trade(noon, 2, 1, 1)], hours=2)
    assert write_aggregate(lake, CANDLES, day).rows == 1
    footer = read_footer(lake, CANDLES, day)
    assert footer is not None
    assert footer.window_end == day + 2 * HOUR


def test_the_first_day_begins_when_its_sources_begin(lake: Lake, noon: datetime, batch: MakeBatch) -> None:
    """Tickers are there from eleven on, because nobody listened before; the day's candles are no worse for it."""
    day = Period.DAY.floor(noon)
    write_partition(lake, RAW["trades"], day, [batch(TRADES, [_trade(noon, 1, 1, 1)])])
    for hour in (11, 12):
        write_partition(lake, RAW["tickers"], day + hour * HOUR, [])
    assert write_aggregate(lake, CANDLES, day).rows == 1
    footer = read_footer(lake, CANDLES, day)
    assert footer is not None
    assert footer.window_end == day + 13 * HOUR


def test_trades_of_years_before_anybody_listened_have_candles_too(lake: Lake, noon: datetime, batch: MakeBatch) -> None:
    """Backfilled trades have no tickers beside them, and wait for none."""
    day = Period.DAY.floor(noon)
    write_partition(lake, RAW["trades"], day, [batch(TRADES, [_trade(noon, 1, 1, 1)])])
    write_partition(lake, RAW["tickers"], day + 48 * HOUR, [])
    assert write_aggregate(lake, CANDLES, day).rows == 1


def test_a_hole_is_no_beginning(lake: Lake, noon: datetime, batch: MakeBatch) -> None:
    """Tickers of the day before are there, so those of this morning are missing."""
    day = Period.DAY.floor(noon)
    write_partition(lake, RAW["trades"], day, [batch(TRADES, [_trade(noon, 1, 1, 1)])])
    for hour in (-1, 11, 12):
        write_partition(lake, RAW["tickers"], day + hour * HOUR, [])
    with pytest.raises(IntegrityError, match="is missing: export it first"):
        write_aggregate(lake, CANDLES, day)


@pytest.mark.parametrize("name", AGGREGATES)
def test_without_its_sources_it_is_not_made(lake: Lake, noon: datetime, name: str) -> None:
    """An empty lake has no candles, rather than a day without trades."""
    with pytest.raises(IntegrityError, match="is missing: export it first"):
        write_aggregate(lake, AGGREGATES[name], AGGREGATES[name].period.floor(noon))
