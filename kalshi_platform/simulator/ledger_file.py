"""Where the ledger lies: NDJSON, to be read while it grows, or Parquet, to be read when the traffic has ended.

Both hold the same lines, and their format is documented in this room's README. Kept out: what the lines say.
"""

import io
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

LINES_WAITING = 10_000
"""Lines that wait in memory at most, and those of a row group."""

_TEXTS = (
    "ticker", "side", "price", "delta", "trade_id", "yes_price", "no_price", "count", "taker_side", "yes_bid",
    "yes_ask", "yes_bid_size", "yes_ask_size", "last_trade_size", "volume", "open_interest", "fault", "type", "channel",
    "key_id", "peer",
)  # fmt: skip
_NUMBERS = (
    "recipients", "sent_ms", "dollar_volume", "dollar_open_interest", "connection", "sid", "seq", "expected_seq",
    "seen_seq", "deltas", "trades", "tickers",
)  # fmt: skip
_LEVELS = pa.list_(pa.list_(pa.string()))

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("ts_ms", pa.int64()),
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.int64()) for name in _NUMBERS),
        ("is_block_trade", pa.bool_()),
        ("withheld", pa.bool_()),
        ("yes", _LEVELS),
        ("no", _LEVELS),
        ("to", pa.list_(pa.list_(pa.int64()))),
        ("faults", pa.list_(pa.string())),
        ("missed", pa.list_(pa.string())),
    ]
)
"""Every field that a line may have; one that a kind of line lacks is null in Parquet and absent in NDJSON."""


class LedgerFile(Protocol):
    """Takes lines and keeps them."""

    def write(self, lines: list[str], *, all_of_them: bool) -> None:
        """Take JSON lines, each with its newline, and empty the list of those that were taken.

        Args:
            lines: What waits.
            all_of_them: Whether none may be left waiting.
        """

    def close(self) -> None:
        """Complete the file."""


class NdjsonLedger:
    """Lines as they come, handed to the operating system at once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii", newline="\n")

    def write(self, lines: list[str], *, all_of_them: bool) -> None:
        """Write what waits."""
        del all_of_them
        self._file.write("".join(lines))
        self._file.flush()
        lines.clear()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


class ParquetLedger:
    """Row groups in a file beside the named one, which takes its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(path.name + ".part")
        self._writer = pq.ParquetWriter(self._unfinished, SCHEMA, compression="zstd")

    def write(self, lines: list[str], *, all_of_them: bool) -> None:
        """Write a row group once there are enough lines for one."""
        if len(lines) >= LINES_WAITING or (all_of_them and lines):
            self._writer.write_table(_table("".join(lines)))
            lines.clear()

    def close(self) -> None:
        """Complete the file and give it its name."""
        self._writer.close()
        if self._unfinished.exists():
            self._unfinished.replace(self._path)


def open_ledger(path: Path) -> LedgerFile:
    """A ledger of the form that its name ends in: Parquet for `.parquet`, else NDJSON."""
    return ParquetLedger(path) if path.suffix == ".parquet" else NdjsonLedger(path)


def _table(text: str) -> pa.Table:
    options = pj.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error")
    whole = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
    return pj.read_json(io.BytesIO(text.encode("ascii")), read_options=whole, parse_options=options)
