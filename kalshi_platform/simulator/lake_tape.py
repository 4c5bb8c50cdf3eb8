"""A lake of Parquet as a recording: its rows written as the messages that they once were.

This reader is the simulator's own and knows the lake only as anybody does who opens its files: `raw/<table>/date=…`,
prices in dollars, sizes in contracts. A market begins with its first checkpoint, because no earlier book of it can be
known without reading on; each later one puts right what was missed. Time is the exchange's. Kept out: playing it.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

SUFFIX = ".parquet"
_TABLES = ("orderbook_snapshots", "orderbook_deltas", "trades", "tickers")
"""In the order in which rows of one moment go out: a checkpoint holds no change of its own moment."""

_BATCH = 16_384
_TIMES = {"orderbook_snapshots": "snapshot_ts"}
_ORDER = {"orderbook_deltas": ["position"], "trades": ["received_at", "trade_id"], "tickers": ["received_at"]}
_Row = dict[str, Any]
_Message = tuple[int, str, str, bytes]
"""Milliseconds, type, market and `msg`."""


def is_lake(path: Path) -> bool:
    """Whether a folder is the root of a lake."""
    return (path / "raw" / "orderbook_deltas").is_dir()


def lake_files(root: Path) -> list[Path]:
    """The files of a lake that make a tape, table by table and in the order of time."""
    return [file for table in _TABLES for file in sorted((root / "raw" / table).rglob(f"{table}{SUFFIX}"))]


def by_table(files: Sequence[Path]) -> list[list[Path]]:
    """The files of each table: of each only one is open at a time."""
    return [chosen for table in _TABLES if (chosen := [file for file in files if file.stem == table])]


def read_lake_file(path: Path) -> Iterator[_Message]:
    """The messages of one file, in the order of time; in memory as one table.

    Raises:
        OSError: It cannot be read.
        pa.ArrowException: It is no Parquet.
        KeyError: It is not of a lake.
    """
    table = path.stem
    time = _TIMES.get(table, "exchange_ts")
    rows = pq.ParquetFile(path).read()
    if table == "orderbook_snapshots":
        rows = rows.filter(pc.equal(rows["source"], "checkpoint"))
    order = [(name, "ascending") for name in (time, *_ORDER.get(table, ()), "ticker")]
    first = _first_checkpoints(next(folder for folder in path.parents if folder.name == "raw"))
    write = _WRITERS[table]
    for batch in rows.sort_by(order).to_batches(_BATCH):
        for row in batch.to_pylist():
            if table != "orderbook_deltas" or row[time] >= first.get(row["ticker"], _NEVER):
                yield _ms(row[time]), *write(row)


def market_objects(root: Path) -> Iterator[_Row]:
    """What REST said of the markets when the lake last kept it."""
    kept = sorted((root / "raw" / "markets").rglob(f"markets{SUFFIX}"))
    for text in pq.ParquetFile(kept[-1]).read(["object"])["object"].to_pylist() if kept else ():
        yield msgspec.json.decode(text)


_NEVER = datetime.max.replace(tzinfo=UTC)


@lru_cache(maxsize=4)
def _first_checkpoints(raw: Path) -> dict[str, datetime]:
    """When each market's book is known first."""
    first: dict[str, datetime] = {}
    for file in sorted((raw / "orderbook_snapshots").rglob(f"*{SUFFIX}")):
        rows = pq.ParquetFile(file).read(["ticker", "snapshot_ts", "source"])
        kept = (
            rows.filter(pc.equal(rows["source"], "checkpoint")).group_by("ticker").aggregate([("snapshot_ts", "min")])
        )
        for row in kept.to_pylist():
            first.setdefault(row["ticker"], row["snapshot_ts_min"])
    return first


def _snapshot(row: _Row) -> tuple[str, str, bytes]:
    body: _Row = {"market_ticker": row["ticker"], "market_id": ""}
    for side in ("yes", "no"):
        levels = zip(row[f"{side}_prices"], row[f"{side}_sizes"], strict=True)
        body[f"{side}_dollars_fp"] = [[_dollars(price), _contracts(size)] for price, size in levels]
    return "orderbook_snapshot", row["ticker"], msgspec.json.encode(body)


def _delta(row: _Row) -> tuple[str, str, bytes]:
    body = {"market_ticker": row["ticker"], "market_id": "", "price_dollars": _dollars(row["price"])}
    body |= {"delta_fp": _contracts(row["size_delta"]), "side": "yes" if row["side"] else "no"}
    return "orderbook_delta", row["ticker"], msgspec.json.encode(body | _stamps(row["exchange_ts"]))


def _trade(row: _Row) -> tuple[str, str, bytes]:
    at, price = _ms(row["exchange_ts"]), row["price"]
    body = {"trade_id": row["trade_id"], "market_ticker": row["ticker"], "yes_price_dollars": _dollars(price)}
    body |= {"no_price_dollars": _dollars(1 - price), "count_fp": _contracts(row["size"])}
    if row["taker_side"] is not None:
        side = "yes" if row["taker_side"] else "no"
        body |= {"taker_side": side, "taker_outcome_side": side, "taker_book_side": "bid" if side == "yes" else "ask"}
    body |= {"is_block_trade": row["is_block_trade"], "ts": at // 1000, "ts_ms": at}
    return "trade", row["ticker"], msgspec.json.encode(body)


_PRICES = {"last_price": "price_dollars", "yes_bid": "yes_bid_dollars", "yes_ask": "yes_ask_dollars"}
_SIZES = ("yes_bid_size", "yes_ask_size", "last_trade_size", "volume", "open_interest")


def _ticker(row: _Row) -> tuple[str, str, bytes]:
    at = _ms(row["exchange_ts"])
    body: _Row = {"market_id": "", "market_ticker": row["ticker"]}
    body |= {wire: _dollars(row[name]) for name, wire in _PRICES.items() if row[name] is not None}
    body |= {f"{name}_fp": _contracts(row[name]) for name in _SIZES if row[name] is not None}
    body |= {name: row[name] for name in ("dollar_volume", "dollar_open_interest") if row[name] is not None}
    return "ticker", row["ticker"], msgspec.json.encode(body | _stamps(row["exchange_ts"], "time") | {"ts": at // 1000})


_WRITERS: dict[str, Callable[[_Row], tuple[str, str, bytes]]] = {
    "orderbook_snapshots": _snapshot,
    "orderbook_deltas": _delta,
    "trades": _trade,
    "tickers": _ticker,
}


def _stamps(at: datetime, name: str = "ts") -> _Row:
    return {name: at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"), "ts_ms": _ms(at)}


def _ms(at: datetime) -> int:
    return int(at.replace(microsecond=0).timestamp()) * 1000 + at.microsecond // 1000


def _dollars(price: Decimal) -> str:
    return _exactly(price, 4)


def _contracts(size: Decimal) -> str:
    return _exactly(size, 2)


def _exactly(value: Decimal, places: int) -> str:
    text = f"{value:.{places}f}"
    if Decimal(text) != value:
        raise ValueError(f"{value} has more than {places} decimals")
    return text
