"""The aggregate of best prices: what nobody heard is marked in it, row by row, and never guessed."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kalshi_platform.lake import best_bid_offer, books, connect
from kalshi_platform.lake.aggregate import write_aggregate
from kalshi_platform.lake.datasets import AGGREGATES, COVERAGE, RAW, Period
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.manifest import Coverage, Uncovered
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.invented import TICKERS, write_invented, write_rows

MakeBatch = Callable[..., pa.RecordBatch]
QUOTES = AGGREGATES["best_bid_offer"]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def _written(lake: Lake, start: datetime) -> list[dict[str, Any]]:
    facts = write_aggregate(lake, QUOTES, start)
    rows: list[dict[str, Any]] = pq.read_table(facts.path, partitioning=None).to_pylist()
    return rows


def _marks(rows: list[dict[str, Any]]) -> list[tuple[datetime, Decimal | None, bool | None]]:
    return [(row["exchange_ts"], row["yes_bid"], row["is_whole"]) for row in rows]


def test_at_every_instant_it_is_the_book_or_says_that_nobody_knows(lake: Lake, noon: datetime) -> None:
    """Holes of one market, of all, within each other, at both ends of the hour: held against `books`, every 7 s."""
    holes = [
        ("", noon + 20 * MINUTE, noon + 22 * MINUTE),
        (TICKERS[0], noon + 21 * MINUTE, noon + 30 * MINUTE),
        (TICKERS[0], noon + 25 * MINUTE, noon + 26 * MINUTE),
        (TICKERS[1], noon - MINUTE, noon + 5 * MINUTE),
        (TICKERS[2], noon + 59 * MINUTE, noon + HOUR),
    ]
    write_invented(lake, noon, holes=holes)
    rows, connection = _written(lake, noon), connect(lake)
    assert rows == [dict(row) for row in _in_order(rows)]
    for ticker in TICKERS:
        ours = [row for row in rows if row["ticker"] == ticker]
        times = [row["exchange_ts"] for row in ours]
        assert times[0] == noon
        assert len(set(times)) == len(times)
        told = books(connection, ticker, noon, noon + HOUR - SECOND, 7 * SECOND).fetchall()
        assert {is_known for _, is_known, *_ in told} == {True, False}
        _hold_against(told, ours)


def _hold_against(told: list[tuple[Any, ...]], ours: list[dict[str, Any]]) -> None:
    """Books at some instants and quotes of the same market: the same best prices, nothing where no book is known."""
    times = [row["exchange_ts"] for row in ours]
    for at, is_known, _, yes_prices, yes_sizes, no_prices, no_sizes in told:
        quote = ours[bisect_right(times, at) - 1]
        best = (*_best(yes_prices, yes_sizes), *_best(no_prices, no_sizes)) if is_known else (None,) * 4
        ask = None if best[2] is None else 1 - best[2]
        found = (quote["yes_bid"], quote["yes_bid_size"], quote["yes_ask"], quote["yes_ask_size"])
        assert (found, quote["is_whole"]) == ((best[0], best[1], ask, best[3]), is_known), at


def test_a_market_that_lives_for_ten_minutes_is_told_to_its_last_second(lake: Lake, noon: datetime) -> None:
    """The exchange empties its book at the close; the checkpoint that says so comes two seconds later."""
    write_invented(lake, noon)
    ours = [row for row in _written(lake, noon) if row["ticker"] == TICKERS[4]]
    told = books(connect(lake), TICKERS[4], noon + 9 * MINUTE, noon + 21 * MINUTE, SECOND).fetchall()
    assert [is_known for _, is_known, *_ in told] == [False] * 60 + [True] * 661
    _hold_against(told, ours)


def test_a_market_that_was_quiet_since_yesterday_is_told_from_the_hours_beginning(
    lake: Lake, noon: datetime, deltas: MakeBatch, checkpoints: MakeBatch
) -> None:
    """The checkpoint at the hour's end is the first of the day; a gatherer that came again was sent the book before."""
    yesterday, today = (Period.DAY.floor(moment) for moment in (noon - 24 * HOUR, noon))
    book = {"yes_prices": [100_000], "yes_sizes": [100]}
    last = {"moment": yesterday + 21 * HOUR, **book}
    write_partition(lake, RAW["orderbook_snapshots"], yesterday, [checkpoints(last)])
    closing = {"moment": noon + HOUR, "yes_prices": [100_000, 560_000], "yes_sizes": [100, 100]}
    again = {"moment": noon + 20 * MINUTE, "source": "ws", "gatherer_id": "g", **book}
    for nth in range(-16, 1):
        rows = [deltas({"milliseconds": 2_400_000})] if nth == 0 else []
        write_partition(lake, RAW["orderbook_deltas"], noon + nth * HOUR, rows)
    for kept in ([closing], [again, closing]):
        write_partition(lake, RAW["orderbook_snapshots"], today, [checkpoints(*kept)])
        found = [(row["exchange_ts"], row["yes_bid"]) for row in _written(lake, noon)]
        assert found == [(noon, Decimal("0.1")), (noon + 40 * MINUTE, Decimal("0.56"))]


def test_markets_are_reckoned_some_at_a_time(lake: Lake, noon: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of the whole exchange does not fit into DuckDB's memory; the bytes are those of all markets at once."""
    write_invented(lake, noon, holes=[("", noon + 20 * MINUTE, noon + 22 * MINUTE)])
    at_once = write_aggregate(lake, QUOTES, noon)
    for portion in (1, 800):
        monkeypatch.setattr("kalshi_platform.lake.hour_of_books.PORTION", portion)
        assert write_aggregate(lake, QUOTES, noon) == at_once


def _in_order(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from sorted(rows, key=lambda row: (row["ticker"], row["exchange_ts"]))


def _best(prices: list[Decimal], sizes: list[Decimal]) -> tuple[Decimal | None, Decimal | None]:
    return (prices[-1], sizes[-1]) if prices else (None, None)


@pytest.fixture
def quiet(lake: Lake, noon: datetime, checkpoints: MakeBatch) -> Lake:
    """One market whose book stands all hour at 10 cents, and at 56 when the hour ends."""
    opening = {"moment": noon, "yes_prices": [100_000], "yes_sizes": [100]}
    closing = {"moment": noon + HOUR, "yes_prices": [560_000], "yes_sizes": [100]}
    write_partition(lake, RAW["orderbook_snapshots"], Period.DAY.floor(noon), [checkpoints(opening, closing)])
    write_partition(lake, RAW["orderbook_deltas"], noon - HOUR, [])
    write_partition(lake, RAW["orderbook_deltas"], noon, [])
    return lake


def test_a_hole_that_the_manifest_knows_ends_the_quote(quiet: Lake, noon: datetime) -> None:
    """Also one that opens with the next hour, which reaches into this one by a message's delay."""
    gone = Uncovered("KXA", noon + 15 * MINUTE, noon + 30 * MINUTE)
    write_partition(quiet, RAW["orderbook_deltas"], noon, [], coverage=Coverage(1, [gone]))
    later = Uncovered("", noon + HOUR + SECOND, noon + HOUR + 9 * SECOND)
    write_partition(quiet, RAW["orderbook_deltas"], noon + HOUR, [], coverage=Coverage(1, [later]))
    ten, other = Decimal("0.1"), Decimal("0.56")
    assert _marks(_written(quiet, noon)) == [(noon, ten, True), (gone.from_at - 5 * SECOND, None, False)]
    write_partition(quiet, RAW["orderbook_deltas"], noon + HOUR, [], coverage=Coverage(1, []))
    assert _marks(_written(quiet, noon))[2:] == [(gone.until_at, other, True)]


def test_what_the_manifest_knows_is_newer_than_the_file_of_the_day(quiet: Lake, noon: datetime) -> None:
    """A gatherer brought its rows late: the hour was exported again, whole, before the day's holes were."""
    hole = {"hour": noon, "channel": "orderbook_delta", "ticker": "KXA", "from_at": noon + MINUTE}
    hole |= {"until_at": noon + 2 * MINUTE}
    write_rows(quiet, COVERAGE["uncovered_intervals"], Period.DAY.floor(noon), [hole])
    assert _marks(_written(quiet, noon)) == [
        (noon, Decimal("0.1"), None), (noon + 55 * SECOND, None, False), (noon + 2 * MINUTE, Decimal("0.56"), None),
    ]  # fmt: skip
    write_partition(quiet, RAW["orderbook_deltas"], noon, [], coverage=Coverage(1, []))
    assert _marks(_written(quiet, noon)) == [(noon, Decimal("0.1"), True)]
    (row,) = best_bid_offer(connect(quiet), "KXA", noon, noon + HOUR).fetchall()
    assert row[-1] is True


def test_before_anybody_listened_there_is_no_quote(
    lake: Lake, noon: datetime, deltas: MakeBatch, checkpoints: MakeBatch
) -> None:
    """The hour in which a capture began: what its first book held before that moment, nobody knows."""
    first = {"moment": noon + HOUR / 2, "source": "ws", "gatherer_id": "g"}
    closing = {"moment": noon + HOUR, "yes_prices": [560_000], "yes_sizes": [200]}
    write_partition(lake, RAW["orderbook_snapshots"], Period.DAY.floor(noon), [checkpoints(first, closing)])
    write_partition(lake, RAW["orderbook_deltas"], noon, [deltas({"milliseconds": 2_400_000})])
    size = {row["exchange_ts"]: row["yes_bid_size"] for row in _written(lake, noon)}
    assert size == {noon + HOUR / 2: Decimal(1), noon + 40 * MINUTE: Decimal(2)}
    write_partition(lake, RAW["orderbook_deltas"], noon - HOUR, [])
    assert _written(lake, noon)[0]["exchange_ts"] == noon
