"""The definitions of the aggregates: one SELECT each, in SQL that DuckDB, Spark and Athena take alike.

A definition is a file `<name>.sql` over views named like the datasets (`trades`, `tickers`, `orderbook_deltas`,
`orderbook_snapshots`, `events`, `markets`, `uncovered_intervals`, `coverage_hours`) with the partitions' `date` and
`hour` as columns, and over `checkpoint_levels`, which takes the arrays of the checkpoints apart, and `emptied_books`:
what each engine says in its own words. Every session must be in UTC. Kept out: writing the rows (`aggregate`), and what
the columns mean (`datasets`).
"""

from datetime import UTC, datetime, timedelta
from importlib.resources import files

from kalshi_platform.lake.holes import SLACK

AGGREGATE_NAMES = ("best_bid_offer", "candles_1m", "market_days", "settlements")
"""The aggregates that are defined here."""

_LEVELS = """SELECT ticker, snapshot_ts, date, true AS side, {yes} FROM {yes_from} WHERE source = 'checkpoint'
UNION ALL
SELECT ticker, snapshot_ts, date, false AS side, {no} FROM {no_from} WHERE source = 'checkpoint'"""


def aggregate_sql(name: str, start: datetime, end: datetime) -> str:
    """The SELECT that makes one partition of an aggregate.

    Args:
        name: One of `AGGREGATE_NAMES`.
        start: Beginning of the partition; of best prices, a later moment where nothing was heard before it.
        end: Its end, or an earlier moment where it is not over.

    Raises:
        KeyError: There is no such aggregate.
    """
    if name not in AGGREGATE_NAMES:
        raise KeyError(f"no aggregate {name}: there are {', '.join(AGGREGATE_NAMES)}")
    values = {
        "{start}": _timestamp(start),
        "{end}": _timestamp(end),
        "{day_before}": _date(start - timedelta(days=1)),
        "{date}": _date(start),
        "{end_date}": _date(end),
        "{hour}": str(start.astimezone(UTC).hour),
        "{slack}": str(SLACK.seconds),
    }
    text = files(__package__).joinpath(f"{name}.sql").read_text()
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def checkpoint_levels_sql(engine: str, snapshots: str = "orderbook_snapshots") -> str:
    """The SELECT behind the view `checkpoint_levels`: one row for each level of each checkpoint.

    Args:
        engine: duckdb, spark or athena.
        snapshots: The name of the view of whole books.
    """
    words = {side: _taken_apart(engine, snapshots, side) for side in ("yes", "no")}
    return _LEVELS.format(yes=words["yes"][0], yes_from=words["yes"][1], no=words["no"][0], no_from=words["no"][1])


def emptied_books_sql(engine: str, snapshots: str = "orderbook_snapshots") -> str:
    """The SELECT behind the view `emptied_books`: when the exchange sent a book without any level."""
    length = {"duckdb": "len", "spark": "size", "athena": "cardinality"}[engine]
    return (
        f"SELECT ticker, snapshot_ts, date FROM {snapshots} "  # noqa: S608 - names of ours
        f"WHERE source = 'ws' AND {length}(yes_prices) + {length}(no_prices) = 0"
    )


def _taken_apart(engine: str, snapshots: str, side: str) -> tuple[str, str]:
    """What to select, and from where, for one side of the books."""
    prices, sizes = f"{side}_prices", f"{side}_sizes"
    if engine == "duckdb":
        return f"unnest({prices}) AS price, unnest({sizes}) AS size", snapshots
    if engine == "spark":
        return "price, size", f"{snapshots} LATERAL VIEW inline(arrays_zip({prices}, {sizes})) level AS price, size"
    return "price, size", f"{snapshots} CROSS JOIN UNNEST({prices}, {sizes}) AS level (price, size)"


def _timestamp(moment: datetime) -> str:
    return f"CAST('{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}' AS TIMESTAMP)"


def _date(moment: datetime) -> str:
    return f"DATE '{moment.astimezone(UTC):%Y-%m-%d}'"
