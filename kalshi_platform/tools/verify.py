"""The judge: what the simulator's ledger says was sent, against what production holds.

Every delta, trade and ticker must stand there exactly as often as it was sent, and the books rebuilt from the lake
must be the books of the ledger. Comparison is by content, in DuckDB, and shares no code with capture or merge.
Kept out: starting anything.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

import duckdb
import pyarrow as pa

from kalshi_platform.core import schema
from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import Table
from kalshi_platform.core.units import MILLISECOND, datetime_from_us, us_from_datetime
from kalshi_platform.database.export import read_window
from kalshi_platform.lake.all_books import books_at

_SAMPLES = 5
_MEMORY = "1GB"
"""What DuckDB may hold in memory; the rest of a large ledger waits on disk."""

Progress = Callable[[str, int], None]
"""Told the kind of message and how many of its rows have been read from production."""

_NDJSON = """
CREATE TABLE ledger AS
SELECT row_number() OVER () AS line, * FROM read_json(?, format = 'newline_delimited', columns = {
    kind: 'VARCHAR', ts_ms: 'BIGINT', ticker: 'VARCHAR', recipients: 'INTEGER',
    side: 'VARCHAR', price: 'VARCHAR', delta: 'VARCHAR',
    trade_id: 'VARCHAR', yes_price: 'VARCHAR', count: 'VARCHAR', taker_side: 'VARCHAR', is_block_trade: 'BOOLEAN',
    yes_bid: 'VARCHAR', yes_ask: 'VARCHAR', yes_bid_size: 'VARCHAR', yes_ask_size: 'VARCHAR',
    last_trade_size: 'VARCHAR', volume: 'VARCHAR', open_interest: 'VARCHAR', dollar_volume: 'BIGINT',
    dollar_open_interest: 'BIGINT', yes: 'VARCHAR[][]', no: 'VARCHAR[][]'})
"""

_PARQUET = "CREATE TABLE ledger AS SELECT row_number() OVER () AS line, * FROM read_parquet(?)"


_BOOKS = """
CREATE OR REPLACE TEMP TABLE judged AS
WITH base AS (
    SELECT ticker, max(line) AS line, max(ts_ms) AS ts_ms, count(*) AS books, arg_max(yes, line) AS yes,
           arg_max(no, line) AS no
    FROM ledger WHERE kind = 'book' AND ts_ms <= $when_ms GROUP BY ticker
)
SELECT base.*, lake_known.latest_ms IS NOT NULL AS is_known
FROM base LEFT JOIN lake_known USING (ticker)
WHERE books = 1 OR coalesce(latest_ms > ts_ms, true);

CREATE OR REPLACE TEMP TABLE differing AS
WITH opening AS (
    SELECT ticker, true AS side, unnest(yes) AS level FROM judged
    UNION ALL SELECT ticker, false, unnest(no) FROM judged
), changes AS (
    SELECT ticker, side, CAST(level[1] AS DECIMAL(9, 6)) AS price, CAST(level[2] AS DECIMAL(18, 2)) AS size FROM opening
    UNION ALL
    SELECT ticker, ledger.side = 'yes', CAST(price AS DECIMAL(9, 6)), CAST(delta AS DECIMAL(18, 2))
    FROM ledger JOIN judged USING (ticker)
    WHERE kind = 'delta' AND ledger.line > judged.line AND ledger.ts_ms <= $when_ms
), kept AS (
    SELECT ticker, true AS side, unnest(yes_prices) AS price, unnest(yes_sizes) AS size FROM lake_books
    UNION ALL SELECT ticker, false, unnest(no_prices), unnest(no_sizes) FROM lake_books
), truth AS (
    SELECT ticker, side, price, sum(size) AS size FROM changes GROUP BY ALL HAVING sum(size) <> 0
)
SELECT DISTINCT ticker
FROM truth FULL JOIN kept USING (ticker, side, price) JOIN judged USING (ticker)
WHERE is_known AND truth.size IS DISTINCT FROM kept.size
"""

_KNOWN = """
SELECT ticker, epoch_ms(max(snapshot_ts)) AS latest_ms FROM orderbook_snapshots
WHERE source = 'checkpoint' AND snapshot_ts <= ? GROUP BY ticker
"""


def _price(column: str) -> str:
    return f"(CAST({column} AS DECIMAL(18, 6)) * 1000000)::BIGINT"


def _size(column: str) -> str:
    return f"(CAST({column} AS DECIMAL(18, 2)) * 100)::BIGINT"


_CONTENT: dict[str, tuple[Table, dict[str, str]]] = {
    "delta": (
        schema.ORDERBOOK_DELTAS,
        {"ticker": "ticker", "side": "side = 'yes'", "price": _price("price"), "size_delta": _size("delta")},
    ),
    "trade": (
        schema.TRADES,
        {
            "ticker": "ticker",
            "trade_id": "trade_id",
            "price": _price("yes_price"),
            "size": _size("count"),
            "taker_side": "taker_side = 'yes'",
            "is_block_trade": "is_block_trade",
        },
    ),
    "ticker": (
        schema.TICKERS,
        {
            "ticker": "ticker",
            "last_price": _price("price"),
            **{name: _price(name) for name in ("yes_bid", "yes_ask")},
            **{
                name: _size(name)
                for name in ("yes_bid_size", "yes_ask_size", "last_trade_size", "volume", "open_interest")
            },
            "dollar_volume": "dollar_volume",
            "dollar_open_interest": "dollar_open_interest",
        },
    ),
}
"""Kind of ledger line: its table, and each compared column as an expression over the ledger."""


_FINDINGS = """
CREATE TABLE findings (kind VARCHAR, fault VARCHAR, rows BIGINT, exchange_ts TIMESTAMPTZ, ticker VARCHAR, content JSON)
"""

_FORMATS = {".parquet": "parquet", ".ndjson": "json", ".jsonl": "json"}


@dataclass(frozen=True, slots=True)
class RowsVerdict:
    """One kind of message: how often it was sent and kept, and the first few that differ.

    Attributes:
        surplus: Rows too many: `doubled`, of what was sent less often, and `invented`, of what never was.
    """

    kind: str
    sent: int
    kept: int
    missing: int
    surplus: int
    samples: tuple[str, ...] = ()
    doubled: int = 0
    invented: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether every message stands there exactly once."""
        return not self.missing and not self.surplus


@dataclass(frozen=True, slots=True)
class BooksVerdict:
    """Books at one instant: how many were compared, differ, or are not known to the lake.

    Attributes:
        must_know_all: Whether the lake should know every book by then; before, it refuses to guess.
    """

    when: datetime
    compared: int
    differing: int
    unknown: int
    must_know_all: bool
    samples: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether every book that could be compared agrees, and all that should be known are."""
        return not self.differing and not (self.must_know_all and (self.unknown or not self.compared))


@dataclass(slots=True)
class Verdict:
    """Rows by kind, and books by instant."""

    rows: list[RowsVerdict] = field(default_factory=list)
    books: list[BooksVerdict] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether nothing is missing, doubled, invented or different, and something was compared at all."""
        rows_agree = all(one.is_exact for one in self.rows) and any(one.sent for one in self.rows)
        return rows_agree and all(one.is_exact for one in self.books)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"exact": self.is_exact, **asdict(self)}


class Judge:
    """Compares one ledger with a database and a lake.

    Args:
        ledger: The simulator's file, NDJSON or, where its name says so, Parquet.

    Raises:
        ConfigurationError: Where the ledger cannot be read.
    """

    def __init__(self, ledger: Path) -> None:
        folder = mkdtemp(prefix="kalshi-judge-")
        finalize(self, rmtree, folder, ignore_errors=True)
        self._duckdb = duckdb.connect(str(Path(folder) / "judge.duckdb"))
        self._duckdb.execute(f"SET TimeZone = 'UTC'; SET memory_limit = '{_MEMORY}'; SET enable_progress_bar = false")
        self._duckdb.execute("SET temp_directory = ?", [str(Path(folder) / "spill")])
        self._duckdb.execute(_FINDINGS)
        try:
            self._duckdb.execute(_PARQUET if ledger.suffix == ".parquet" else _NDJSON, [str(ledger)])
        except duckdb.Error as error:
            raise ConfigurationError(f"{ledger} is not a ledger of the simulator: {error}") from error

    def span(self) -> tuple[datetime, datetime]:
        """The window that holds every message of the ledger: from its first to just after its last."""
        first, last = self._one("SELECT min(ts_ms), max(ts_ms) FROM ledger WHERE kind IN ('delta', 'trade', 'ticker')")
        if first is None:
            raise ConfigurationError("the ledger holds no message: the simulator sent nothing")
        return datetime_from_us(first * MILLISECOND), datetime_from_us(last * MILLISECOND) + timedelta(milliseconds=1)

    def rows(self, production_url: str, on_progress: Progress | None = None) -> list[RowsVerdict]:
        """Every kind of message against its table."""
        self._duckdb.execute("DELETE FROM findings")
        start, end = self.span()
        # a day on either side, so that a row under a wrong time shows up as well
        window = (start - timedelta(days=1), end + timedelta(days=1))
        return [self._rows(kind, production_url, window, on_progress) for kind in _CONTENT]

    def write_findings(self, path: Path) -> int:
        """Every content that is missing, doubled or invented, into an NDJSON or Parquet file; returns how many.

        Raises:
            ConfigurationError: Where the file's name ends in neither, or it cannot be written.
        """
        form = _FORMATS.get(path.suffix)
        if form is None:
            raise ConfigurationError(f"{path} must end in one of {', '.join(_FORMATS)}")
        query = "SELECT * FROM findings ORDER BY exchange_ts, kind, ticker"
        try:
            self._duckdb.execute(f"COPY ({query}) TO '{str(path).replace(chr(39), chr(39) * 2)}' (FORMAT {form})")
        except duckdb.Error as error:
            raise ConfigurationError(f"cannot write {path}: {error}") from error
        return self._one("SELECT count(*) FROM findings")[0]

    def books(self, lake: duckdb.DuckDBPyConnection, when: datetime, *, must_know_all: bool) -> BooksVerdict:
        """Every book at one instant: the ledger's opening books and changes, against the lake's.

        A book that was emptied at a close is known to the lake from the next checkpoint on; until then it is left out.
        """
        self._duckdb.register("lake_books", books_at(lake, when).to_arrow_table())
        self._duckdb.register("lake_known", lake.sql(_KNOWN, params=[when]).to_arrow_table())
        for statement in _BOOKS.split(";"):
            self._duckdb.execute(statement, {"when_ms": us_from_datetime(when) // MILLISECOND})
        compared, unknown = self._one("SELECT count(*) FILTER (is_known), count(*) FILTER (NOT is_known) FROM judged")
        differing = self._duckdb.execute("SELECT ticker FROM differing ORDER BY ticker").fetchall()
        samples = tuple(ticker for (ticker,) in differing[:_SAMPLES])
        return BooksVerdict(when, compared, len(differing), unknown, must_know_all, samples)

    def _rows(
        self, kind: str, production_url: str, window: tuple[datetime, datetime], on_progress: Progress | None
    ) -> RowsVerdict:
        table, content = _CONTENT[kind]
        with read_window(production_url, table, *window) as reader:
            counted = _counted(reader, lambda rows: on_progress(kind, rows) if on_progress else None)
            self._duckdb.register("production", pa.RecordBatchReader.from_batches(reader.schema, counted))
            self._duckdb.execute(_comparison(kind, content))
        sent, kept, missing, doubled, invented = self._one(
            "SELECT sum(least), sum(kept), sum(greatest(least - kept, 0)), "
            "sum(greatest(kept - most, 0)) FILTER (most > 0), sum(kept) FILTER (most = 0) FROM compared"
        )
        self._duckdb.execute(_findings(kind, content))
        differing = self._duckdb.execute(
            "SELECT * FROM compared WHERE kept < least OR kept > most ORDER BY ts_ms, ticker LIMIT ?", [_SAMPLES]
        )
        names = [column[0] for column in differing.description or ()]
        samples = tuple(_sample(names, values) for values in differing.fetchall())
        self._duckdb.execute("DROP TABLE compared")
        doubled, invented = doubled or 0, invented or 0
        return RowsVerdict(
            kind, sent or 0, kept or 0, missing or 0, doubled + invented, samples, doubled=doubled, invented=invented
        )

    def _one(self, sql: str) -> tuple[int, ...]:
        return self._duckdb.execute(sql).fetchall()[0]


def _comparison(kind: str, content: dict[str, str]) -> str:
    """SQL that makes `compared`: each content with how often it was sent at least and at most, and kept.

    A message that no subscriber was there for may be absent; one that was handed to somebody may not.
    """
    names = ", ".join(content)
    sent = ", ".join(f"{expression} AS {name}" for name, expression in content.items())
    same = " AND ".join(f"sent.{name} IS NOT DISTINCT FROM kept.{name}" for name in ("ts_ms", *content))
    either = ", ".join(f"coalesce(sent.{name}, kept.{name}) AS {name}" for name in ("ts_ms", *content))
    # names and expressions are constants of this module
    return f"""
CREATE OR REPLACE TABLE compared AS
WITH sent AS (
    SELECT ts_ms, {sent}, count(*) FILTER (recipients > 0) AS least, count(*) AS most
    FROM ledger WHERE kind = '{kind}' GROUP BY ALL
), kept AS (
    SELECT epoch_ms(exchange_ts) AS ts_ms, {names}, count(*) AS kept FROM production GROUP BY ALL
)
SELECT {either}, coalesce(least, 0) AS least, coalesce(most, 0) AS most, coalesce(kept, 0) AS kept
FROM sent FULL JOIN kept ON {same}
"""  # noqa: S608


def _findings(kind: str, content: dict[str, str]) -> str:
    """SQL that adds what differs to `findings`, each content once with the number of its rows."""
    packed = ", ".join(f"{name} := {name}" for name in content if name != "ticker")
    # names and kinds are constants of this module
    return f"""
INSERT INTO findings
SELECT '{kind}', CASE WHEN kept < least THEN 'missing' WHEN most > 0 THEN 'doubled' ELSE 'invented' END,
       CASE WHEN kept < least THEN least - kept ELSE kept - most END,
       make_timestamptz(ts_ms * 1000), ticker, to_json(struct_pack({packed}))
FROM compared WHERE kept < least OR kept > most
"""  # noqa: S608


def _counted(reader: pa.RecordBatchReader, tell: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in reader:
        rows += batch.num_rows
        tell(rows)
        yield batch


def _sample(names: Iterable[str], values: Iterable[object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
