"""Deltas as many as wanted that look like the recorded ones: runs of the gold15m tape, each under a ticker of its own.

A ticker gets a run of consecutive changes of one recorded market, as long as Zipf's law says, moved to somewhere in the
hour: prices, sizes, pauses, bursts of one millisecond, `occurrence` and `position` are the tape's. `seq` rises within
each of 144 connections, and `received_at` is as late as the tape was (median 12 ms), to the microsecond.
"""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)
TAPE = Path(__file__).parents[2] / "shared" / "data" / "gold15m" / "events"
HOUR_MS, CONNECTIONS = 3_600_000, 144
TIME = pa.timestamp("us", tz="UTC")
COLUMNS: dict[str, pa.DataType] = {
    "exchange_ts": TIME, "ticker": pa.string(), "side": pa.bool_(), "price": pa.int32(), "size_delta": pa.int64(),
    "occurrence": pa.int32(), "position": pa.int32(), "seq": pa.int64(), "received_at": TIME,
}  # fmt: skip
SCHEMA = pa.schema(list(COLUMNS.items()))


def hour_of_deltas(rows: int, tickers: int = 50_000) -> pa.Table:
    """So many rows in the order in which they would arrive; the same each time."""
    tape = _tape()
    rng = np.random.default_rng(1)
    wanted = rng.permutation(1 / np.arange(1, tickers + 1) ** 1.1)
    lengths = np.maximum(1, (wanted / wanted.sum() * rows).astype(int))
    lengths[0] += max(0, rows - int(lengths.sum()))
    picked, moved = [], []
    for length in lengths:
        left = int(length)
        while left:  # a market that is not long enough is followed by another one, under another name
            market = tape[rng.integers(len(tape))]
            start = int(market["first"][rng.integers(market["first"].size)])
            run = market["all"][:, start : start + left]
            picked.append(run)
            moved.append(_moved(run[0], rng))
            left -= run.shape[1]
    ticker = [np.full(run.shape[1], number) for number, run in enumerate(picked)]
    columns = np.concatenate(picked, axis=1)
    name, at = np.concatenate(ticker), np.concatenate(moved)
    return _table(columns, name, at, rng)


def _moved(ms: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Times of a run, somewhere in the hour."""
    offset = ms - ms[0]
    return np.minimum(offset, HOUR_MS - 1) if offset[-1] >= HOUR_MS else offset + rng.integers(HOUR_MS - offset[-1])


def _table(columns: np.ndarray, name: np.ndarray, at: np.ndarray, rng: np.random.Generator) -> pa.Table:
    order = np.argsort(at, kind="stable")
    name, at, columns = name[order], at[order], columns[:, order]
    start_us = int(HOUR.timestamp() * 1_000_000)
    late = (rng.lognormal(np.log(12_000), 0.8, at.size)).astype(np.int64)
    seq = np.zeros(at.size, np.int64)
    connection = name % CONNECTIONS
    for one in range(CONNECTIONS):
        mine = connection == one
        seq[mine] = np.arange(1, mine.sum() + 1)
    names = pa.array([f"KXBENCH{n % 97:02}M-26NOV20{n % 24:02}15-T{n:06}" for n in range(int(name.max()) + 1)])
    arrays = [
        pa.array(start_us + at * 1000).cast(TIME),
        names.take(pa.array(name)),
        pa.array(columns[1].astype(bool)),
        pa.array(columns[2].astype(np.int32)),
        pa.array(columns[3]),
        pa.array(columns[4].astype(np.int32)),
        pa.array(columns[5].astype(np.int32)),
        pa.array(seq),
        pa.array(start_us + at * 1000 + late).cast(TIME),
    ]
    return pa.table(arrays, schema=SCHEMA)


def _tape() -> list[dict[str, np.ndarray]]:
    """Each recorded market: ms, side, price, size, occurrence, position, and where a millisecond begins."""
    markets = []
    for path in sorted(TAPE.glob("*/*.ndjson.gz")):
        rows, seen, place, last = [], {}, 0, -1
        for line in gzip.decompress(path.read_bytes()).splitlines():
            event = json.loads(line)["event"]
            if event.get("type") != "orderbook_delta":
                continue
            message = event["msg"]
            ms = int(message["ts_ms"])
            if ms != last:
                seen, place, last = {}, 0, ms
            price = round(float(message["price_dollars"]) * 1_000_000)
            row = (message["side"] == "yes", price, round(float(message["delta_fp"]) * 100))
            rows.append((ms, *row, seen.get(row, 0), place))
            seen[row] = seen.get(row, 0) + 1
            place += 1
        values = np.array(rows, dtype=np.int64).T
        first = np.flatnonzero(np.diff(values[0], prepend=-1))
        markets.append({"all": values, "first": first})
    return markets
