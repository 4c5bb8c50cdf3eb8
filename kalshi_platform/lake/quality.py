"""What is wrong inside a file of the lake: rows that are there twice, values that cannot be, prices off the grid.

Files are read as streams, by DuckDB, with bounded memory. Here belongs what a file alone can tell. Kept out: comparing
it with anything else (`evidence`), books (`replayed`), and what follows from a finding.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from kalshi_platform.core.schema import (
    ORDERBOOK_DELTAS,
    ORDERBOOK_SNAPSHOTS,
    STREAM_TABLES,
    TICKERS,
    TRADES,
    Table,
)
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake

MOST = 1_000
"""Findings that one question returns at most."""

_MEMORY = "1GB"

_KEYS: Mapping[str, tuple[str, ...]] = {table.name: table.key for table in STREAM_TABLES} | {
    TRADES.name: ("trade_id",)  # the same trade at two times is one trade too many
}

_OUTSIDE = "{0} < 0 OR {0} > 1"
_LEVELS = "len({0}_prices) <> len({0}_sizes)"
_ASCENDING = "list_sort(list_distinct({0}_prices)) <> {0}_prices"
_IMPOSSIBLE: Mapping[str, Mapping[str, str]] = {
    TRADES.name: {"price outside 0 to 1 dollar": _OUTSIDE.format("price"), "size not above 0": "size <= 0"},
    ORDERBOOK_DELTAS.name: {"price outside 0 to 1 dollar": _OUTSIDE.format("price"), "no change": "size_delta = 0"},
    TICKERS.name: {
        "price outside 0 to 1 dollar": " OR ".join(
            _OUTSIDE.format(name) for name in ("last_price", "yes_bid", "yes_ask")
        ),
        "size below 0": "yes_bid_size < 0 OR yes_ask_size < 0 OR volume < 0 OR open_interest < 0",
    },
    ORDERBOOK_SNAPSHOTS.name: {
        "prices without sizes": " OR ".join(_LEVELS.format(side) for side in ("yes", "no")),
        "price outside 0 to 1 dollar": " OR ".join(
            f"list_min({side}_prices) < 0 OR list_max({side}_prices) > 1" for side in ("yes", "no")
        ),
        "level without contracts": "list_min(yes_sizes) <= 0 OR list_min(no_sizes) <= 0",
        "levels not ascending": " OR ".join(_ASCENDING.format(side) for side in ("yes", "no")),
        "crossed book": "best_yes_bid >= best_yes_ask",
    },
}
"""Per table, what no row may be: a reason for people, and the condition."""

_OFF_GRID = """
WITH used AS (
    SELECT source.ticker, ({price} * 1000000)::BIGINT AS price, count(*) AS rows, min({time}) AS first_at
    FROM source JOIN (SELECT DISTINCT ticker, known_from, known_until FROM grids) AS known
        ON known.ticker = source.ticker AND source.{time} BETWEEN known_from AND known_until
    WHERE {price} BETWEEN 0 AND 1 GROUP BY 1, 2
)
SELECT ticker, 'price ' || price / 1000000.0 || ' is off the grid', sum(rows)::BIGINT, epoch_us(min(first_at))
FROM used WHERE NOT EXISTS (
    SELECT 1 FROM grids WHERE grids.ticker = used.ticker AND price BETWEEN grids.start AND grids."end"
      AND (price - grids.start) % grids.step = 0)
GROUP BY ticker, price ORDER BY 3 DESC, 1, price LIMIT {most}
"""
_WITH_GRID = """
SELECT count(*) FROM source JOIN (SELECT DISTINCT ticker, known_from, known_until FROM grids) AS known
    ON known.ticker = source.ticker AND source.{time} BETWEEN known_from AND known_until
"""
_YES_PRICE = {TRADES.name: "price", ORDERBOOK_DELTAS.name: "(CASE WHEN side THEN price ELSE 1 - price END)"}

TABLES_ON_GRID: Sequence[Table] = (TRADES, ORDERBOOK_DELTAS)
"""Tables each row of which has one price."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Rows of one market in one file that should not be so.

    Attributes:
        what: What is wrong with them.
        rows: How many.
        first_at: Time of the earliest of them, in microseconds since 1970.
    """

    ticker: str
    what: str
    rows: int
    first_at: int


def doubled_rows(lake: Lake, table: Table, start: datetime) -> list[Flaw]:
    """Rows beyond the first of those that are the same by their key."""
    key = ", ".join(_KEYS[table.name])
    query = f"""
        SELECT ticker, 'more than once', sum(rows - 1)::BIGINT, epoch_us(min(first_at)) FROM (
            SELECT min(ticker) AS ticker, count(*) AS rows, min({table.time_column}) AS first_at
            FROM source GROUP BY {key} HAVING count(*) > 1
        ) GROUP BY ticker ORDER BY 3 DESC, 1 LIMIT {MOST}
    """  # noqa: S608 - names of the schema
    return _flaws(lake, table, start, query)


def impossible_rows(lake: Lake, table: Table, start: datetime) -> list[Flaw]:
    """Rows whose values cannot be, by market and reason."""
    reasons = _IMPOSSIBLE[table.name].items()
    cases = " ".join(f"WHEN {condition} THEN '{reason}'" for reason, condition in reasons)
    query = f"""
        SELECT ticker, what, count(*), epoch_us(min(moment)) FROM (
            SELECT ticker, {table.time_column} AS moment, CASE {cases} END AS what FROM source
        ) WHERE what IS NOT NULL GROUP BY ticker, what ORDER BY 3 DESC, 1, 2 LIMIT {MOST}
    """  # noqa: S608 - names of the schema
    return _flaws(lake, table, start, query)


def off_grid_rows(lake: Lake, table: Table, start: datetime, grids: pa.Table) -> list[Flaw]:
    """Rows whose price is not on their market's grid; markets without a grid are left out.

    Args:
        lake: Where the file is.
        table: One of `TABLES_ON_GRID`.
        start: Start of the partition.
        grids: Bands of prices as `database.quality.grids` gives them; rows at times of which they do not speak are
            left out.
    """
    query = _OFF_GRID.format(price=_YES_PRICE[table.name], time=table.time_column, most=MOST)
    return _flaws(lake, table, start, query, grids=grids)


def rows_with_grid(lake: Lake, table: Table, start: datetime, grids: pa.Table) -> int:
    """How many rows of a file `off_grid_rows` can say something about; as there."""
    query = _WITH_GRID.format(time=table.time_column)
    with _opened(lake, table, start) as connection:
        connection.register("grids", grids)
        ((rows,),) = connection.execute(query).fetchall()
    return int(rows)


def tickers_in(lake: Lake, table: Table, start: datetime) -> list[str]:
    """The markets of one file, in order."""
    with _opened(lake, table, start) as connection:
        return [ticker for (ticker,) in connection.execute("SELECT DISTINCT ticker FROM source ORDER BY 1").fetchall()]


def read_file(lake: Lake, table: Table, start: datetime) -> ds.Dataset:
    """One file of the raw layer, to be read as a stream."""
    return ds.dataset(lake.key(lake.path(RAW[table.name], start)), filesystem=lake.filesystem, format="parquet")


def _flaws(lake: Lake, table: Table, start: datetime, query: str, **tables: pa.Table) -> list[Flaw]:
    with _opened(lake, table, start) as connection:
        for name, rows in tables.items():
            connection.register(name, rows)
        return [Flaw(*row) for row in connection.execute(query).fetchall()]


@contextmanager
def _opened(lake: Lake, table: Table, start: datetime) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"memory_limit": _MEMORY, "preserve_insertion_order": False}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("source", read_file(lake, table, start))
        yield connection
