from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from kalshi_platform.core.schema import TICKERS
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.figures import rows_per_minute, spreads
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.schema import source_schema
from kalshi_platform.lake.writer import write_partition

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ticker(minute: int, bid: int | None, ask: int | None, name: str = "KXA") -> dict[str, Any]:
    """A ticker update of a minute; prices in micro-dollars."""
    moment = NOON + timedelta(minutes=minute, seconds=7)
    row = dict.fromkeys((field.name for field in source_schema(TICKERS)), None)
    return row | {"exchange_ts": moment, "ticker": name, "yes_bid": bid, "yes_ask": ask, "digest": minute,
                  "received_at": moment}  # fmt: skip


def write(lake: Lake, *rows: dict[str, Any]) -> None:
    """Put tickers into the lake."""
    batch = pa.RecordBatch.from_pylist(list(rows), schema=source_schema(TICKERS))
    write_partition(lake, RAW["tickers"], NOON, [batch])


def test_every_minute_has_its_rows(tmp_path: Path) -> None:
    """Silent minutes count as 0; the hour has sixty."""
    lake = Lake(tmp_path)
    write(lake, ticker(0, None, None), ticker(59, None, None), ticker(59, None, None, "KXB"))
    minutes = rows_per_minute(lake, RAW["tickers"], NOON, NOON + HOUR)
    assert (minutes.counts[0], minutes.counts[30], minutes.counts[59], len(minutes.counts)) == (1, 0, 2, 60)
    assert minutes.moments[59] == NOON + timedelta(minutes=59)


def test_spreads_are_of_markets_quoted_on_both_sides(tmp_path: Path) -> None:
    """In cents; a side that nobody quotes, or that bids nothing or asks a dollar, is no spread."""
    lake = Lake(tmp_path)
    cent = int(Decimal(10_000))
    rows = [ticker(3, 40 * cent, (40 + width) * cent, f"KX{width}") for width in (1, 2, 3)]
    write(lake, *rows, ticker(4, None, 5 * cent), ticker(5, 0, 5 * cent), ticker(6, 5 * cent, 100 * cent))
    found = spreads(lake, RAW["tickers"], [NOON])
    assert list(found.moments) == [NOON + timedelta(minutes=3)]
    assert round(found.median[0], 6) == 2.0
    assert found.widest[0] > 2.5


def test_nothing_quoted_is_no_spread(tmp_path: Path) -> None:
    """An empty file has no figures."""
    lake = Lake(tmp_path)
    write(lake, ticker(1, None, None))
    assert spreads(lake, RAW["tickers"], [NOON]).moments == ()
