"""Names and their seconds."""

from kalshi_platform.gatherer.timetable import Timetable


def test_each_naming_is_due_once_in_the_order_of_time() -> None:
    """Whoever is named twice is due twice; a second that has passed is due at once."""
    table = Timetable()
    for second, name in ((30, "c"), (10, "a"), (30, "d"), (20, "b"), (40, "a")):
        table.at(second, name)
    assert list(table.due(9)) == []
    assert list(table.due(30)) == ["a", "b", "c", "d"]
    assert list(table.due(30)) == []
    table.at(5, "late")
    assert list(table.due(100)) == ["late", "a"]
