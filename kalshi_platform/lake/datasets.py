"""What the lake holds: every dataset with its layer, its columns, its order and how it is cut into files.

Add a dataset here, and paths, writers, views and checks know it. Kept out: how rows are made (`writer`, `aggregates`)
and where files lie (`layout`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum

import pyarrow as pa

from kalshi_platform.core.schema import (
    COVERAGE_HOURS,
    EVENTS,
    MARKETS,
    ORDERBOOK_DELTAS,
    ORDERBOOK_SNAPSHOTS,
    SERIES,
    TICKERS,
    TRADES,
    UNCOVERED_INTERVALS,
    Table,
)
from kalshi_platform.lake.schema import (
    AMOUNT,
    FLAG,
    PRICE,
    SIZE,
    TEXT,
    TIME,
    WHOLE,
    Facts,
    enriched_schema,
    lake_schema,
    schema_of,
)


class Layer(StrEnum):
    """The layers of the lake."""

    RAW = "raw"  # as exported, with provenance
    PROCESSED = "processed"  # enriched with event and series
    AGGREGATES = "aggregates"


class Period(Enum):
    """How much time one file holds, in UTC."""

    HOUR = timedelta(hours=1)
    DAY = timedelta(days=1)

    def floor(self, moment: datetime) -> datetime:
        """The start of the period that a moment lies in."""
        whole = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return whole if self is Period.HOUR else whole.replace(hour=0)

    def start(self, moment: datetime) -> datetime:
        """`moment` in UTC, which must be the start of a period.

        Raises:
            ValueError: Where it names no time zone or lies inside a period.
        """
        if moment.tzinfo is None or self.floor(moment) != moment:
            raise ValueError(f"{moment.isoformat()} is not the start of {self.article} with a time zone")
        return moment.astimezone(UTC)

    @property
    def article(self) -> str:
        """The period in words, as in "the start of an hour"."""
        return "an hour" if self is Period.HOUR else "a day of UTC"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One kind of rows in one layer.

    Attributes:
        layer: Which layer it belongs to.
        name: Its name, which is that of its folder and files.
        period: How much time one file holds.
        schema: Its columns as people read them, each with its comment.
        sort: The columns that its rows are ordered by, which make a row the one it is.
        comment: What it is.
        time: The column whose values lie within the file's window; None where rows are the state at its end.
    """

    layer: Layer
    name: str
    period: Period
    schema: pa.Schema
    sort: tuple[str, ...]
    comment: str
    time: str | None = None

    def end(self, start: datetime) -> datetime:
        """The end of the partition that begins at `start`."""
        return self.period.start(start) + self.period.value

    def __str__(self) -> str:
        return f"{self.layer}/{self.name}"


_STREAMS = {
    TRADES: Period.DAY,
    ORDERBOOK_DELTAS: Period.HOUR,
    ORDERBOOK_SNAPSHOTS: Period.DAY,
    TICKERS: Period.HOUR,
}


def _sort(table: Table) -> tuple[str, ...]:
    """Ticker, time, position if there is one, then the rest of the key."""
    first = ["ticker", str(table.time_column), *(c.name for c in table.columns if c.name == "position")]
    return (*first, *(name for name in table.key if name not in first))


def _raw(table: Table, period: Period) -> Dataset:
    return Dataset(Layer.RAW, table.name, period, lake_schema(table), _sort(table), table.comment, table.time_column)


def _processed(table: Table, period: Period) -> Dataset:
    comment = f"{table.comment} With the event and the series of each market."
    schema = enriched_schema(table)
    return Dataset(Layer.PROCESSED, table.name, period, schema, _sort(table), comment, table.time_column)


def _state(table: Table) -> Dataset:
    return Dataset(Layer.RAW, table.name, Period.DAY, lake_schema(table), table.key, f"{table.comment} As of one day.")


def _coverage(table: Table) -> Dataset:
    return Dataset(Layer.RAW, table.name, Period.DAY, lake_schema(table), table.key, table.comment, "hour")


def _aggregate(name: str, period: Period, comment: str, time: str, columns: dict[str, Facts]) -> Dataset:
    return Dataset(Layer.AGGREGATES, name, period, schema_of(columns, comment), ("ticker", time), comment, time)


RAW: dict[str, Dataset] = {
    **{table.name: _raw(table, period) for table, period in _STREAMS.items()},
    **{table.name: _state(table) for table in (SERIES, EVENTS, MARKETS)},
}
"""The streams as production has them, and the state of series, events and markets at the end of each day."""

COVERAGE: dict[str, Dataset] = {table.name: _coverage(table) for table in (COVERAGE_HOURS, UNCOVERED_INTERVALS)}
"""What of each day was heard, and what nobody heard: by it readers know where a book cannot be told."""

PROCESSED: dict[str, Dataset] = {table.name: _processed(table, period) for table, period in _STREAMS.items()}
"""The streams with `event_ticker` and `series_ticker`."""

_TICKER = Facts(TEXT, "Market ticker, the exchange's name.")


def _quotes(name: str, meaning: str) -> dict[str, Facts]:
    """What a quote was in a minute."""
    when = {
        "open": "when the minute began; the first told where none stood before",
        "high": "at its highest",
        "low": "at its lowest",
        "close": "at the end",
    }
    return {f"{name}_{key}": Facts(PRICE, f"{meaning} {text}, dollars.", nullable=True) for key, text in when.items()}


AGGREGATES: dict[str, Dataset] = {
    one.name: one
    for one in (
        _aggregate(
            "candles_1m",
            Period.DAY,
            "One row for each market and minute with a trade or a quote, as the exchange's candlesticks.",
            "minute",
            {
                "ticker": _TICKER,
                "minute": Facts(TIME, "Start of the minute."),
                "open": Facts(PRICE, "Price of the first trade, dollars.", nullable=True),
                "high": Facts(PRICE, "Highest price, dollars.", nullable=True),
                "low": Facts(PRICE, "Lowest price, dollars.", nullable=True),
                "close": Facts(PRICE, "Price of the last trade, dollars.", nullable=True),
                "mean": Facts(PRICE, "Mean price by size, rounded down to a micro-dollar.", nullable=True),
                "previous": Facts(PRICE, "Price of the last trade of the day before the minute.", nullable=True),
                **_quotes("yes_bid", "Best yes bid"),
                **_quotes("yes_ask", "Best yes ask"),
                "volume": Facts(SIZE, "Contracts traded."),
                "dollar_volume": Facts(AMOUNT, "Sum of price times size of the trades, dollars."),
                "trades": Facts(WHOLE, "Number of trades."),
                "open_interest": Facts(SIZE, "Contracts open at its end.", nullable=True),
            },
        ),
        _aggregate(
            "market_days",
            Period.DAY,
            "One row for each market and day with a trade, a quote or a change of its book.",
            "day_start",
            {
                "ticker": _TICKER,
                "day_start": Facts(TIME, "Start of the day, in UTC."),
                "trades": Facts(WHOLE, "Number of trades."),
                "volume": Facts(SIZE, "Contracts traded."),
                "dollar_volume": Facts(AMOUNT, "Sum of price times size of the trades, dollars."),
                "taker_yes_volume": Facts(SIZE, "Contracts whose taker bought yes."),
                "block_volume": Facts(SIZE, "Contracts traded off the book."),
                "open": Facts(PRICE, "Price of the first trade, dollars.", nullable=True),
                "high": Facts(PRICE, "Highest price, dollars.", nullable=True),
                "low": Facts(PRICE, "Lowest price, dollars.", nullable=True),
                "close": Facts(PRICE, "Price of the last trade, dollars.", nullable=True),
                "mean": Facts(PRICE, "Mean price by size, rounded down to a micro-dollar.", nullable=True),
                "last_trade_ts": Facts(TIME, "When it last traded.", nullable=True),
                "ticker_updates": Facts(WHOLE, "Number of ticker updates."),
                "yes_bid": Facts(PRICE, "Best yes bid of the last ticker update, dollars.", nullable=True),
                "yes_ask": Facts(PRICE, "Best yes ask of the last ticker update, dollars.", nullable=True),
                "open_interest": Facts(SIZE, "Contracts open at the last ticker update.", nullable=True),
                "deltas": Facts(WHOLE, "Number of changes of the book."),
                "first_delta_ts": Facts(TIME, "First change of the book.", nullable=True),
                "last_delta_ts": Facts(TIME, "Last change of the book.", nullable=True),
            },
        ),
        _aggregate(
            "best_bid_offer",
            Period.HOUR,
            "Every change of a market's best bid or offer, from its book; the first row is the hour's opening quote. A "
            "row without prices stands where nobody heard it.",
            "exchange_ts",
            {
                "ticker": _TICKER,
                "exchange_ts": Facts(TIME, "The exchange's time of the change."),
                "yes_bid": Facts(PRICE, "Best yes bid, dollars.", nullable=True),
                "yes_bid_size": Facts(SIZE, "Contracts at the best yes bid.", nullable=True),
                "yes_ask": Facts(PRICE, "Best yes ask, dollars: one dollar less the best no bid.", nullable=True),
                "yes_ask_size": Facts(SIZE, "Contracts at the best yes ask.", nullable=True),
                "is_whole": Facts(
                    FLAG,
                    "True: all changes up to the next row were heard. False: nobody heard them, prices are empty. "
                    "Empty: nobody has said; prices are right if nothing was missed.",
                    nullable=True,
                ),
            },
        ),
        _aggregate(
            "settlements",
            Period.DAY,
            "One row for each market that was settled that day.",
            "settlement_ts",
            {
                "ticker": _TICKER,
                "settlement_ts": Facts(TIME, "When it was settled."),
                "open_time": Facts(TIME, "When trading began.", nullable=True),
                "close_time": Facts(TIME, "When trading ended.", nullable=True),
                "event_ticker": Facts(TEXT, "Event that it belongs to."),
                "series_ticker": Facts(TEXT, "Series that its event belongs to.", nullable=True),
                "result": Facts(TEXT, "yes, no or scalar.", nullable=True),
                "settlement_value": Facts(PRICE, "What a yes contract paid, dollars.", nullable=True),
            },
        ),
    )
}
"""What is reckoned from the streams."""

DATASETS: tuple[Dataset, ...] = (*RAW.values(), *COVERAGE.values(), *PROCESSED.values(), *AGGREGATES.values())
"""Every dataset of the lake."""
