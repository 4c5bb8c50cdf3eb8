from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.core.book import NegativeLevel
from kalshi_platform.lake.all_books import books_at
from kalshi_platform.lake.books import BookUnknown, book_at, books
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import write_partition

MakeBatch = Callable[..., pa.RecordBatch]
SECOND = timedelta(seconds=1)
DELTAS, SNAPSHOTS = RAW["orderbook_deltas"], RAW["orderbook_snapshots"]


@pytest.fixture
def write(lake: Lake, deltas: MakeBatch, checkpoints: MakeBatch) -> Callable[..., duckdb.DuckDBPyConnection]:
    """Writes one hour of deltas, the checkpoints of its day so far, and connects."""
    days: dict[datetime, list[dict[str, Any]]] = defaultdict(list)

    def written(hour: datetime, books: list[dict[str, Any]], changes: list[dict[str, Any]]) -> Any:
        day = Period.DAY.floor(hour)
        days[day] += books
        write_partition(lake, SNAPSHOTS, day, [checkpoints(*days[day])])
        write_partition(lake, DELTAS, hour, [deltas(*changes)])
        return connect(lake)

    return written


def test_a_book_is_its_checkpoint_and_every_change_since(write: Any, noon: datetime) -> None:
    """Changes at the checkpoint's and at the asked moment are in; a level that reaches zero is gone."""
    book = {"moment": noon, "yes_prices": [100_000, 560_000], "yes_sizes": [700, 50]}
    changes = [
        {"milliseconds": 0, "size_delta": -50},
        {"milliseconds": 500, "side": False, "price": 400_000, "size_delta": 250},
        {"milliseconds": 501, "side": False, "price": 400_000, "size_delta": 999},
    ]
    connection = write(noon, [book], changes)
    found = book_at(connection, "KXA", noon + SECOND / 2)
    assert found.yes == ((Decimal("0.10"), Decimal("7.00")),)
    assert found.no == ((Decimal("0.40"), Decimal("2.50")),)
    assert found.checkpoint_ts == noon


def test_the_last_checkpoint_counts(write: Any, noon: datetime) -> None:
    """An older one, one in the future and one of another market change nothing; nor do books the exchange sent."""
    sent = {"moment": noon + 2 * SECOND, "source": "ws", "gatherer_id": "g1", "yes_prices": [1], "yes_sizes": [1]}
    books = [
        {"moment": noon, "yes_prices": [1], "yes_sizes": [1]},
        {"moment": noon + SECOND, "yes_prices": [2], "yes_sizes": [100]},
        {"moment": noon + 5 * SECOND, "yes_prices": [3], "yes_sizes": [1]},
        {"moment": noon + 2 * SECOND, "ticker": "KXB", "yes_prices": [4], "yes_sizes": [1]},
    ]
    connection = write(noon, [*books, sent], [{"milliseconds": 999}])
    assert book_at(connection, "KXA", noon + 3 * SECOND).yes == ((Decimal("0.000002"), Decimal(1)),)


def test_a_book_can_be_empty(write: Any, noon: datetime) -> None:
    """No levels is an answer, and not the same as not knowing."""
    found = book_at(write(noon, [{"moment": noon}], []), "KXA", noon)
    assert (found.yes, found.no) == ((), ())


def test_a_quiet_market_is_found_days_later(write: Any, noon: datetime) -> None:
    """A market without changes gets no new checkpoint; all hours since the old one are looked through."""
    write(noon, [{"moment": noon, "yes_prices": [10], "yes_sizes": [10]}], [])
    for hours in range(1, 30):
        connection = write(noon + hours * HOUR, [], [])
    late = noon + 29 * HOUR + SECOND
    assert book_at(connection, "KXA", late).checkpoint_ts == noon
    assert [row[0] for row in books_at(connection, late).fetchall()] == ["KXA"]
    assert books_at(connection, late, lookback=28 * HOUR).fetchall() == []


def test_without_a_checkpoint_the_book_is_unknown(write: Any, noon: datetime) -> None:
    """Deltas alone do not make a book."""
    connection = write(noon, [{"moment": noon + SECOND}], [{}])
    with pytest.raises(BookUnknown, match="no checkpoint of KXA"):
        book_at(connection, "KXA", noon)


def test_an_empty_lake_knows_no_book(lake: Lake, noon: datetime) -> None:
    """There is nothing to guess from."""
    with pytest.raises(BookUnknown):
        book_at(connect(lake), "KXA", noon)
    with pytest.raises(BookUnknown):
        books_at(connect(lake), noon)


def test_a_missing_hour_makes_the_book_unknown(write: Any, noon: datetime) -> None:
    """The hour that is missing is named; a market with a later checkpoint is not concerned."""
    write(noon, [{"moment": noon}], [])
    two = noon + 2 * HOUR
    connection = write(two, [{"moment": two, "ticker": "KXB"}], [])
    with pytest.raises(BookUnknown, match="2026-11-20T13:00:00"):
        book_at(connection, "KXA", two)
    assert book_at(connection, "KXB", two).checkpoint_ts == two
    assert [row[0] for row in books_at(connection, two).fetchall()] == ["KXB"]


def test_an_hour_written_before_its_end_is_known_as_far_as_it_goes(
    lake: Lake, write: Any, noon: datetime, deltas: MakeBatch
) -> None:
    """What an unfinished hour does not hold yet is not taken for silence."""
    write(noon, [{"moment": noon}], [])
    write_partition(lake, DELTAS, noon, [deltas({})], until=noon + SECOND)
    connection = connect(lake)
    assert book_at(connection, "KXA", noon + SECOND - timedelta.resolution).yes
    for ask in (book_at, lambda c, _, when: books_at(c, when)):
        with pytest.raises(BookUnknown, match="2026-11-20T12:00:00"):
            ask(connection, "KXA", noon + SECOND)


def test_a_negative_level_is_an_error(write: Any, noon: datetime) -> None:
    """Market, moment and level are named; the table of all books shows it as it is."""
    connection = write(noon, [{"moment": noon}], [{"size_delta": -100}])
    with pytest.raises(NegativeLevel, match=r"KXA.*level 0\.560000 would hold -1\.00"):
        book_at(connection, "KXA", noon)
    assert books_at(connection, noon).project("yes_sizes").fetchall() == [([Decimal("-1.00")],)]
    before, then = books(connection, "KXA", noon - SECOND, noon, SECOND).fetchall()
    assert (before[1], then[1], then[2:]) == (False, False, (None,) * 5)


def test_a_book_that_the_exchange_emptied_is_no_book_any_more(write: Any, noon: datetime) -> None:
    """At a close no change leads to nothing: before it counts the book before, after it the checkpoint that follows."""
    opened = {"moment": noon + 2 * SECOND, "yes_prices": [100_000], "yes_sizes": [700]}
    sent = {"source": "ws", "gatherer_id": "g"}
    closed = [{"moment": noon + seconds * SECOND, **sent} for seconds in (60, 63)]
    write(noon, [{"moment": noon + SECOND, **sent}, opened, *closed], [{"milliseconds": 30_000}])
    connection = write(noon + HOUR, [], [])
    assert len(book_at(connection, "KXA", noon + 59 * SECOND).yes) == 2
    assert [len(books_at(connection, noon + seconds * SECOND).fetchall()) for seconds in (59, 60)] == [1, 0]
    with pytest.raises(BookUnknown, match="the exchange emptied the book of KXA at 2026-11-20T12:01:00"):
        book_at(connection, "KXA", noon + 60 * SECOND)
    connection = write(noon + HOUR, [{"moment": noon + HOUR}], [])
    after = book_at(connection, "KXA", noon + 63 * SECOND)
    assert (after.yes, after.checkpoint_ts) == ((), noon + HOUR)
    known = books(connection, "KXA", noon + 59 * SECOND, noon + 64 * SECOND, SECOND).fetchall()
    prices = [Decimal("0.1"), Decimal("0.56")]
    assert [(row[1], row[3]) for row in known] == [(True, prices), *[(True, [])] * 5]
    assert book_at(connection, "KXA", noon + 61 * SECOND).yes == ()


def test_what_changed_between_two_empty_books_is_not_told_from_the_end(write: Any, noon: datetime) -> None:
    """The second one took away what no change took: before it only the first one's own moment could be told."""
    sent = {"source": "ws", "gatherer_id": "g"}
    closed = [{"moment": noon + seconds * SECOND, **sent} for seconds in (60, 63)]
    heard = {"moment": noon + SECOND, "yes_prices": [100_000], "yes_sizes": [700], **sent}
    write(noon, [heard, *closed], [{"milliseconds": 61_500}])
    connection = write(noon + HOUR, [{"moment": noon + HOUR}], [])
    known = books(connection, "KXA", noon + 60 * SECOND, noon + 64 * SECOND, SECOND).fetchall()
    assert [row[1] for row in known] == [False, False, False, True, True]


def test_the_life_of_a_market_is_not_told_from_its_empty_end(write: Any, noon: datetime) -> None:
    """No checkpoint but the one after its close: taking changes back from there would tell another book."""
    sent = {"source": "ws", "gatherer_id": "g"}
    heard = {"moment": noon + SECOND, "yes_prices": [100_000], "yes_sizes": [700], **sent}
    closed = {"moment": noon + HOUR / 2, **sent}
    write(noon, [heard, closed, {"moment": noon + HOUR}], [{"milliseconds": 30_000}])
    connection = write(noon + HOUR, [], [])
    with pytest.raises(BookUnknown, match="no checkpoint of KXA up to 2026-11-20T12:00:02"):
        book_at(connection, "KXA", noon + 2 * SECOND)
    assert book_at(connection, "KXA", noon + HOUR / 2).yes == ()


def test_an_empty_book_that_is_sent_again_and_again_is_no_end(write: Any, noon: datetime) -> None:
    """Gatherers ask for every book from time to time, and many markets have none."""
    polled = [{"moment": noon + nth * SECOND, "source": "ws", "gatherer_id": "g"} for nth in range(1, 90)]
    changes = [{"milliseconds": 20_500}, {"milliseconds": 50_400, "size_delta": -100}, {"milliseconds": 89_500}]
    polled = [one for one in polled if not 20 * SECOND < one["moment"] - noon < 51 * SECOND]
    connection = write(noon, [{"moment": noon}, *polled], changes)
    assert book_at(connection, "KXA", noon + 90 * SECOND).yes == ((Decimal("0.56"), Decimal(1)),)
    assert [row[0] for row in books_at(connection, noon + 90 * SECOND).fetchall()] == ["KXA"]


def test_a_ticker_that_nobody_knows_is_said(write: Any, noon: datetime) -> None:
    """Else a typing error looks like a market that nobody heard."""
    connection = write(noon, [{"moment": noon}], [])
    with pytest.raises(BookUnknown, match="the lake has no book of KXNONE at any time around: is that the market's"):
        book_at(connection, "KXNONE", noon)


def test_moments_of_pandas_are_moments(write: Any, noon: datetime) -> None:
    """In another zone and finer than the record too; a text or a day is refused in plain words."""
    pandas = pytest.importorskip("pandas")
    connection = write(noon, [{"moment": noon}], [{"milliseconds": 500}])
    moment = pandas.Timestamp("2026-11-20T07:00:00.500000999", tz="America/New_York")
    found = book_at(connection, "KXA", moment)
    assert (found.when, type(found.when)) == (noon + SECOND / 2, datetime)
    assert len(found.yes) == 1
    assert len(books(connection, "KXA", moment, moment, pandas.Timedelta("1s")).fetchall()) == 1
    for wrong in ("2026-11-20", noon.date(), None):
        with pytest.raises(TypeError, match="is no moment: give a datetime"):
            book_at(connection, "KXA", wrong)  # type: ignore[arg-type]


def test_a_book_is_a_table_too(write: Any, noon: datetime) -> None:
    """A row a level, as the SQL macro has them; an empty book has the columns as well."""
    book = {"moment": noon, "yes_prices": [100_000], "yes_sizes": [700], "no_prices": [200_000], "no_sizes": [50]}
    connection = write(noon, [book, {"moment": noon, "ticker": "KXB"}], [])
    table = book_at(connection, "KXA", noon).to_arrow_table()
    told = connection.execute("FROM book_at('KXA', '2026-11-20 12:00:00Z')").fetchall()
    assert [tuple(row.values()) for row in table.to_pylist()] == told
    assert len(told) == 2
    assert book_at(connection, "KXB", noon).to_arrow_table().schema == table.schema


def test_pure_sql_fails_where_no_checkpoint_is_near(write: Any, noon: datetime) -> None:
    """No rows would be an empty book."""
    connection = write(noon, [{"moment": noon}], [])
    assert connection.execute("FROM book_at('KXA', ?)", [noon]).fetchall() == []
    for ticker, moment in (("KXNONE", noon), ("KXA", noon - SECOND), ("KXA", noon + 25 * HOUR)):
        with pytest.raises(duckdb.Error, match=f"no checkpoint of {ticker} in the .* take a longer lookback"):
            connection.execute("FROM book_at(?, ?)", [ticker, moment]).fetchall()
    assert connection.execute("FROM book_at('KXA', ?, lookback := INTERVAL 7 DAY)", [noon + 25 * HOUR]).fetchall() == []


Change = tuple[int, str, bool, int, int]
CHANGES = st.lists(
    st.tuples(
        st.integers(-3_600_000, 3_599_999), st.sampled_from("AB"), st.booleans(), st.integers(1, 3), st.integers(1, 9)
    ),
    max_size=40,
)


def _folded(changes: list[Change], until: int) -> dict[str, tuple[dict[int, int], dict[int, int]]]:
    """The naive way: every change from the beginning, one after the other."""
    books: dict[str, tuple[Counter[int], Counter[int]]] = {"A": (Counter(), Counter()), "B": (Counter(), Counter())}
    for milliseconds, ticker, side, price, size in changes:
        if milliseconds <= until:
            books[ticker][side][price] += size
    return {ticker: (dict(no), dict(yes)) for ticker, (no, yes) in books.items()}


def _checkpoint(moment: datetime, ticker: str, book: tuple[dict[int, int], dict[int, int]]) -> dict[str, Any]:
    levels = {}
    for side, name in enumerate(("no", "yes")):
        prices = sorted(book[side])
        levels |= {f"{name}_prices": prices, f"{name}_sizes": [book[side][price] for price in prices]}
    return {"moment": moment, "ticker": ticker, **levels}


def _decimal(levels: dict[int, int]) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((Decimal(price).scaleb(-6), Decimal(size).scaleb(-2)) for price, size in sorted(levels.items()))


@settings(max_examples=40, deadline=None)
@given(CHANGES, st.integers(0, 3_599_999))
def test_books_equal_a_naive_fold(
    deltas: MakeBatch, checkpoints: MakeBatch, noon: datetime, changes: list[Change], when: int
) -> None:
    """Two hours of changes, a checkpoint before each: the book at any moment is the fold of all changes so far."""
    with TemporaryDirectory() as root:
        lake = Lake(Path(root))
        opening: list[dict[str, Any]] = []
        for hour, start in ((noon - HOUR, -3_600_000), (noon, 0)):
            books = _folded(changes, start - 1)
            opening += [_checkpoint(hour, ticker, book) for ticker, book in books.items()]
            inside = [c for c in changes if start <= c[0] < start + 3_600_000]
            rows = [
                {"milliseconds": ms, "ticker": ticker, "side": side, "price": price, "size_delta": size, "position": n}
                for n, (ms, ticker, side, price, size) in enumerate(inside)
            ]
            write_partition(lake, DELTAS, hour, [deltas(*rows)])
        write_partition(lake, SNAPSHOTS, Period.DAY.floor(noon), [checkpoints(*opening)])
        connection, moment, expected = connect(lake), noon + timedelta(milliseconds=when), _folded(changes, when)
        for ticker, (no, yes) in expected.items():
            book = book_at(connection, ticker, moment)
            assert (book.no, book.yes) == (_decimal(no), _decimal(yes))
        table = {row[0]: row[2:] for row in books_at(connection, moment).fetchall()}
        for ticker, (no, yes) in expected.items():
            yes_prices, yes_sizes, no_prices, no_sizes = table[ticker]
            assert tuple(zip(no_prices, no_sizes, strict=True)) == _decimal(no)
            assert tuple(zip(yes_prices, yes_sizes, strict=True)) == _decimal(yes)
