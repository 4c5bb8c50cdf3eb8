from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest

from kalshi_platform.lake import best_bid_offer, book_at, books, books_at, candles, coverage, trades
from kalshi_platform.lake.books import BookUnknown
from kalshi_platform.lake.datasets import AGGREGATES, COVERAGE, RAW, Period
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.manifest import Coverage, Uncovered
from kalshi_platform.lake.partitions import days_between
from kalshi_platform.lake.questions import deltas as market_deltas
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.invented import write_rows

MakeBatch = Callable[..., pa.RecordBatch]
SECOND = timedelta(seconds=1)


@pytest.fixture
def holed(lake: Lake, noon: datetime, deltas: MakeBatch, checkpoints: MakeBatch) -> Lake:
    """Two hours of one market with a change each ten minutes, and half an hour that nobody heard."""
    day = Period.DAY.floor(noon)
    heard = {"moment": noon - HOUR / 2, "source": "ws", "gatherer_id": "g"}
    opening = {"moment": noon, "yes_prices": [100_000], "yes_sizes": [100]}
    closing = {"moment": noon + HOUR, "yes_prices": [100_000, 560_000], "yes_sizes": [100, 500]}
    write_partition(lake, RAW["orderbook_snapshots"], day, [checkpoints(heard, opening, closing)])
    changes = [{"milliseconds": 600_000 * nth} for nth in range(1, 6)]
    write_partition(lake, RAW["orderbook_deltas"], noon - HOUR, [deltas({"milliseconds": -1, "price": 100_000})])
    write_partition(lake, RAW["orderbook_deltas"], noon, [deltas(*changes)])
    write_partition(lake, RAW["orderbook_deltas"], noon + HOUR, [])
    hole = {"hour": noon, "channel": "orderbook_delta", "ticker": "", "from_at": noon + HOUR / 4}
    hole |= {"until_at": noon + HOUR * 3 / 4}
    dataset = COVERAGE["uncovered_intervals"]
    write_partition(lake, dataset, day, [pa.RecordBatch.from_pylist([hole], dataset.schema)])
    return lake


def test_no_book_is_told_across_what_nobody_heard(holed: Lake, noon: datetime) -> None:
    """Before the hole from the checkpoint before it, after it from the checkpoint after it, inside it not at all."""
    connection = connect(holed)
    before = book_at(connection, "KXA", noon + 11 * 60 * SECOND)
    assert (before.checkpoint_ts, before.is_covered) == (noon, True)
    assert before.yes == ((Decimal("0.1"), Decimal(1)), (Decimal("0.56"), Decimal(1)))
    after = book_at(connection, "KXA", noon + HOUR * 3 / 4)
    assert after.checkpoint_ts == noon + HOUR
    assert after.yes == ((Decimal("0.1"), Decimal(1)), (Decimal("0.56"), Decimal(4)))
    for inside in (noon + HOUR / 4 - SECOND, noon + HOUR / 2, noon + HOUR * 3 / 4 - SECOND):
        with pytest.raises(BookUnknown, match="nobody heard KXA from 2026-11-20T12:14:55"):
            book_at(connection, "KXA", inside)


def test_holes_that_only_manifests_tell_are_kept_too(
    lake: Lake, noon: datetime, deltas: MakeBatch, checkpoints: MakeBatch
) -> None:
    """Of one market and of all; a hole that opens with the next hour reaches into this one by a message's delay."""
    opening = [{"moment": noon, "ticker": name, "yes_prices": [100_000], "yes_sizes": [100]} for name in ("KXA", "KXB")]
    write_partition(lake, RAW["orderbook_snapshots"], Period.DAY.floor(noon), [checkpoints(*opening)])
    gone = Uncovered("KXB", noon + HOUR / 4, noon + HOUR / 2)
    write_partition(lake, RAW["orderbook_deltas"], noon, [deltas({"milliseconds": 1})], coverage=Coverage(2, [gone]))
    later = Uncovered("", noon + HOUR + SECOND, noon + HOUR + 9 * SECOND)
    write_partition(lake, RAW["orderbook_deltas"], noon + HOUR, [], coverage=Coverage(2, [later]))
    connection = connect(lake)
    known = {
        noon + HOUR / 8: ["KXA", "KXB"], noon + HOUR * 3 / 4: ["KXA"], noon + HOUR - 5 * SECOND: ["KXA"],
        noon + HOUR - SECOND: [],
    }  # fmt: skip
    for moment, tickers in known.items():
        assert [row[0] for row in books_at(connection, moment).fetchall()] == tickers
        for ticker in ("KXA", "KXB"):
            if ticker in tickers:
                assert book_at(connection, ticker, moment).is_covered
            else:
                with pytest.raises(BookUnknown, match="nobody heard"):
                    book_at(connection, ticker, moment)


def test_a_book_before_the_first_checkpoint_is_told_as_far_as_somebody_listened(holed: Lake, noon: datetime) -> None:
    """The changes are taken back from the first checkpoint, to the first book that the exchange sent."""
    connection = connect(holed)
    early = book_at(connection, "KXA", noon - SECOND)
    assert (early.checkpoint_ts, early.yes) == (noon, ())
    assert book_at(connection, "KXA", noon - SECOND / 1000).yes == ((Decimal("0.1"), Decimal(1)),)
    with pytest.raises(BookUnknown, match="no checkpoint of KXA"):
        book_at(connection, "KXA", noon - HOUR / 2 - SECOND)


def test_books_mark_what_cannot_be_known(holed: Lake, noon: datetime) -> None:
    """One row an instant; those inside the hole are empty and say so."""
    connection = connect(holed)
    rows = books(connection, "KXA", noon, noon + HOUR, HOUR / 4).fetchall()
    assert [row[1] for row in rows] == [True, False, False, True, True]
    assert [len(row[3]) if row[1] else row[3] for row in rows] == [1, None, None, 2, 2]
    with pytest.raises(ValueError, match="above 0"):
        books(connection, "KXA", noon, noon, timedelta(0))


def test_sql_tells_the_same_book(holed: Lake, noon: datetime) -> None:
    """The macro's levels are the function's, without Python."""
    connection = connect(holed)
    moment = noon + 11 * 60 * SECOND
    rows = connection.execute("FROM book_at('KXA', ?)", [moment]).fetchall()
    yes = [(price, size) for side, price, size in rows if side == "yes"]
    assert yes == list(book_at(connection, "KXA", moment).yes)


def test_questions_about_one_market(holed: Lake, noon: datetime) -> None:
    """Each is a relation with the columns of its dataset, empty where nothing is; coverage names the hole."""
    connection = connect(holed)
    span = ("KXA", noon, noon + HOUR)
    assert coverage(connection, *span).fetchall() == [("orderbook_delta", "", noon + HOUR / 4, noon + HOUR * 3 / 4)]
    for question, dataset in (
        (trades, RAW["trades"]),
        (candles, AGGREGATES["candles_1m"]),
        (best_bid_offer, AGGREGATES["best_bid_offer"]),
    ):
        found = question(connection, *span).to_arrow_table()
        assert (found.column_names, found.num_rows) == (dataset.schema.names, 0)


@pytest.mark.parametrize(
    ("hours", "days"),
    [(1, "2026-11-20"), (11, "2026-11-20"), (13, "2026-11-*"), (300, "2026-*"), (1100, "*"), (-13, "2026-11-*")],
)
def test_changes_come_in_order_and_only_their_days_are_looked_for(
    lake: Lake, noon: datetime, deltas: MakeBatch, hours: int, days: str
) -> None:
    """Whatever lies between: the turn of a day, of a month, of a year; a change at the end is not in it."""
    start, end = sorted((noon, noon + hours * HOUR))
    assert days_between(start, end) == days
    for hour in (start, end):
        first = (hour - noon) // SECOND * 1000
        rows = [{"milliseconds": first + ms, "position": place} for ms, place in ((5, 1), (0, 0), (5, 0))]
        write_partition(lake, RAW["orderbook_deltas"], hour, [deltas(*rows)])
    connection = connect(lake)
    found = market_deltas(connection, "KXA", start, end + SECOND / 200).to_arrow_table()
    assert found.column_names == RAW["orderbook_deltas"].schema.names
    moments = [(row["exchange_ts"], row["position"]) for row in found.to_pylist()]
    assert moments == [(start, 0), (start + SECOND / 200, 0), (start + SECOND / 200, 1), (end, 0)]


def test_a_question_is_a_query_and_no_list_of_constants(holed: Lake, noon: datetime) -> None:
    """What is asked further of it reaches the files, and a large answer does not go through Python."""
    write_partition(holed, RAW["trades"], Period.DAY.floor(noon), [])
    connection = connect(holed)
    found = trades(connection, "KX'A\\$start{trades}", noon, noon + HOUR)
    assert found.fetchall() == []
    for relation in (found, books_at(connection, noon)):
        assert "READ_PARQUET" in relation.explain()


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati", "Asia/Kolkata"])
def test_a_session_that_shows_other_times_gets_the_same_answers(holed: Lake, noon: datetime, zone: str) -> None:
    """Partitions are cut in UTC, whatever the day or the hour is where somebody sits."""
    quote = {"ticker": "KXA", "exchange_ts": noon, "yes_bid": Decimal("0.5"), "yes_bid_size": Decimal(1)}
    write_rows(holed, AGGREGATES["best_bid_offer"], noon, [quote])
    moment = noon + 11 * 60 * SECOND

    def answers(connection: duckdb.DuckDBPyConnection) -> list[list[tuple[object, ...]]]:
        asked = [question(connection, "KXA", noon, noon + HOUR) for question in (best_bid_offer, coverage)]
        asked += [books_at(connection, moment), connection.sql("FROM book_at('KXA', ?)", params=[moment])]
        return [relation.fetchall() for relation in asked]

    abroad = connect(holed)
    abroad.execute(f"SET TimeZone = '{zone}'")
    found = answers(abroad)
    assert all(found)
    assert found == answers(connect(holed))


def test_a_moment_without_a_zone_is_no_moment(holed: Lake, noon: datetime) -> None:
    """It would be read as UTC by some and as the machine's by others."""
    connection, naive = connect(holed), noon.replace(tzinfo=None)
    for ask in (
        lambda: book_at(connection, "KXA", naive),
        lambda: books_at(connection, naive),
        lambda: books(connection, "KXA", naive, naive, HOUR),
        lambda: trades(connection, "KXA", naive, naive),
    ):
        with pytest.raises(ValueError, match="names no time zone"):
            ask()


def test_an_hour_is_an_hour_in_the_night_that_has_one_more(lake: Lake) -> None:
    """Moments of New York, when its clocks go back: five books four hours apart, not four."""
    start, end = (datetime(2026, 11, 1, hour, 30, tzinfo=ZoneInfo("America/New_York")) for hour in (0, 3))
    found = books(connect(lake), "KXA", start, end, HOUR).fetchall()
    assert [row[0] for row in found] == [datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (4, 5, 6, 7, 8)]


@pytest.mark.slow
@pytest.mark.parametrize("store", ["moto_store"], indirect=True)  # rclone was tried once: the same
def test_a_bucket_answers_as_a_folder_does(
    s3_lake: Lake, noon: datetime, deltas: MakeBatch, checkpoints: MakeBatch
) -> None:
    """Views, macro and functions over S3, with DuckDB's own extension from PyPI and nothing downloaded."""
    opening = {"moment": noon, "yes_prices": [100_000], "yes_sizes": [100]}
    write_partition(s3_lake, RAW["orderbook_snapshots"], Period.DAY.floor(noon), [checkpoints(opening)])
    write_partition(s3_lake, RAW["orderbook_deltas"], noon, [deltas({"milliseconds": 5})])
    connection = connect(s3_lake.root)
    found = book_at(connection, "KXA", noon + SECOND)
    assert found.yes == ((Decimal("0.1"), Decimal(1)), (Decimal("0.56"), Decimal(1)))
    assert connection.execute("FROM book_at('KXA', ?)", [noon + SECOND]).fetchall()[0] == ("yes", *found.yes[0])
    for count in (1, 2, 1):  # an object that was replaced within the second is read anew
        rows = [{"milliseconds": 5, "position": position} for position in range(count)]
        write_partition(s3_lake, RAW["orderbook_deltas"], noon, [deltas(*rows)])
        assert connection.execute("SELECT count(*) FROM orderbook_deltas").fetchall() == [(count,)]
