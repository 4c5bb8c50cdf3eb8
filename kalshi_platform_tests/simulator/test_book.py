import pytest

from kalshi_platform.simulator.book import Book, ImpossibleBookError


def test_levels_come_and_go() -> None:
    """Sizes add up, an empty level disappears, the best price follows, the ladder ends with it."""
    book = Book()
    for price, change in ((3000, 500), (3100, 200), (3100, 50)):
        book.apply("yes", price, change)
    assert book.ladder("yes") == [(3000, 500), (3100, 250)]
    assert (book.best["yes"], book.best_size("yes")) == (3100, 250)
    book.apply("yes", 3100, -250)
    assert (book.best["yes"], book.best_size("yes")) == (3000, 500)
    book.clear()
    assert (book.best["yes"], book.best_size("yes"), book.ladder("yes")) == (0, 0, [])


def test_the_impossible_is_refused_and_changes_nothing() -> None:
    """No level below zero, no bid that would have traded with the other side."""
    book = Book()
    book.apply("yes", 3000, 500)
    for side, price, change in (("yes", 3000, -501), ("no", 7000, 100), ("no", 7100, 100), ("no", 10, -1)):
        with pytest.raises(ImpossibleBookError):
            book.apply(side, price, change)  # type: ignore[arg-type]
    assert book.levels == {"yes": {3000: 500}, "no": {}}
    book.apply("no", 6990, 100)
