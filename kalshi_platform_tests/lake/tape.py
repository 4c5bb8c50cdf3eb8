"""The recorded windows as rows of the lake, without a database in between, and the same books folded by hand.

The fold reads the frames themselves with `json` and `Decimal` and shares nothing with the platform.
"""

import gzip
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.messages import decode
from kalshi_platform.core.records import TABLE_OF, Row
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, TRADES, Table
from kalshi_platform.lake.schema import source_schema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Side = dict[Decimal, Decimal]
SETTLE_MS = 5_000
"""How long a gatherer waits for what may come late before it keeps a quiet market's book."""


def windows(shared_data: Path) -> list[Path]:
    """The files of the nine windows."""
    return sorted((shared_data / "gold15m" / "events").glob("*/*.ndjson.gz"))


def frames(window: Path) -> list[dict[str, Any]]:
    """The lines of one window."""
    return [json.loads(line) for line in gzip.decompress(window.read_bytes()).splitlines()]


@dataclass
class Tape:
    """What one connection made of recorded windows.

    Attributes:
        rows: The rows of each table, as they would come from production.
        gaps: (ticker, from, until): between these moments of receipt something was missed.
    """

    rows: dict[Table, list[Row]] = field(default_factory=lambda: defaultdict(list))
    gaps: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def batches(self, table: Table, start: datetime, end: datetime) -> list[pa.RecordBatch]:
        """The rows of one partition."""
        schema = source_schema(table)
        low, high = (moment(one) for one in (start, end))
        column = (self.rows[table][0]._fields if self.rows[table] else ()).index(str(table.time_column))
        chosen = [row for row in self.rows[table] if low <= row[column] < high]
        return [pa.RecordBatch.from_pydict(_columns(chosen, schema), schema=schema)]


def moment(when: datetime) -> int:
    """Microseconds since 1970."""
    return (when - EPOCH) // timedelta(microseconds=1)


def recorded(paths: Iterable[Path], checkpoint_ms: int) -> Tape:
    """Windows through the platform's own decode and capture; a falling `seq` is a new connection."""
    tape = Tape()
    for path in paths:
        capture, last_seq, before_us = Capture("g", checkpoint_ms), 0, 0
        for line in gzip.decompress(path.read_bytes()).splitlines():
            envelope = json.loads(line)
            received_us, seq = envelope["recv_ms"] * 1000, envelope["event"].get("seq", 0)
            tape.rows[ORDERBOOK_SNAPSHOTS] += capture.checkpoints(envelope["recv_ms"] - SETTLE_MS, received_us)
            if seq < last_seq and envelope["event"]["type"].startswith("orderbook"):
                capture.restart()
                tape.gaps.append((path.parent.name, EPOCH + timedelta(microseconds=before_us),
                                  EPOCH + timedelta(microseconds=received_us)))  # fmt: skip
            if envelope["event"]["type"].startswith("orderbook"):
                last_seq, before_us = seq, received_us
            raw = json.dumps(envelope["event"]).encode()
            for row in capture.record(decode(raw), received_us):
                tape.rows[TABLE_OF[type(row)]].append(row)
        tape.rows[ORDERBOOK_SNAPSHOTS] += capture.checkpoints(before_us // 1000 + SETTLE_MS, before_us)
    return tape


def _columns(rows: list[Row], schema: pa.Schema) -> dict[str, list[Any]]:
    fields = rows[0]._fields if rows else ()
    positions = {name: fields.index(name) for name in schema.names if rows}
    columns = {name: [row[positions[name]] for row in rows] if rows else [] for name in schema.names}
    if "trade_id" in columns:
        columns["trade_id"] = [str(one) for one in columns["trade_id"]]
    return columns


@dataclass
class Folded:
    """The books of one window after each millisecond in which it changed, by plain counting.

    Attributes:
        stamps: When it changed, ascending (milliseconds since 1970).
        books: The yes and the no side after each.
        opened_ms: Receipt of the first snapshot.
        closed_ms: Last change before the book was emptied.
    """

    stamps: list[int] = field(default_factory=list)
    books: list[tuple[Side, Side]] = field(default_factory=list)

    def at(self, when: datetime) -> tuple[Side, Side]:
        """The book at a moment."""
        return self.books[bisect_right(self.stamps, moment(when) // 1000) - 1]


def folded(window: Path) -> Folded:
    """One window, frame by frame: a snapshot replaces the book, a delta changes one level."""
    result = Folded()
    book: dict[str, Side] = {"yes": {}, "no": {}}
    for line in frames(window):
        kind, body = line["event"]["type"], line["event"]["msg"]
        if kind == "orderbook_snapshot":
            book = {
                side: {Decimal(price): Decimal(size) for price, size in body.get(f"{side}_dollars_fp", ())}
                for side in ("yes", "no")
            }
            stamp = max(line["recv_ms"], result.stamps[-1] if result.stamps else 0)
        elif kind == "orderbook_delta":
            levels, price = book[body["side"]], Decimal(body["price_dollars"])
            levels[price] = levels.get(price, Decimal(0)) + Decimal(body["delta_fp"])
            if not levels[price]:
                del levels[price]
            stamp = body["ts_ms"]
        else:
            continue
        state = (dict(book["yes"]), dict(book["no"]))
        if result.stamps and result.stamps[-1] == stamp:
            result.books[-1] = state
        else:
            result.stamps.append(stamp)
            result.books.append(state)
    return result


STREAMS_OF_TAPE = (ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, TRADES)
