"""How much one merge takes."""

from kalshi_platform.deduplicator.portion import LEAST_ROWS, TURN_SECONDS, Portion


def test_a_slow_turn_makes_the_next_one_shorter_and_a_fast_one_longer() -> None:
    """Within two steps of what the machine does in one turn, whatever it did before."""
    portion = Portion(50_000)
    for seconds_a_row, rows in ((5e-6, 50_000), (5e-5, 5_000), (2.5e-5, 10_000), (1e-3, LEAST_ROWS), (1e-6, 50_000)):
        for _ in range(7):
            portion.took(portion.rows, portion.rows * seconds_a_row)
        assert portion.rows == rows
    assert TURN_SECONDS / 5e-5 == 5_000


def test_little_merges_say_nothing_of_full_ones() -> None:
    """Where little comes, the next may still be large."""
    portion = Portion(50_000)
    portion.took(10, 0.001)
    assert portion.rows == 50_000


def test_a_shard_with_few_of_the_rows_grows_again() -> None:
    """Its windows are full though little of them is its own; as far as its turns stay short."""
    portion = Portion(50_000)
    portion.took(10_000, 60.0)
    assert portion.rows == LEAST_ROWS
    for _ in range(7):
        portion.took(portion.rows // 100, 0.001, was_full=True)
    assert portion.rows == 50_000
    portion.rows = 10_000
    for _ in range(7):
        portion.took(portion.rows // 100, portion.rows * 1e-5, was_full=True)
    assert portion.rows == 25_000
    portion.took(0, 0.0, was_full=True)
    assert portion.rows == 50_000


def test_what_is_given_up_is_tried_again_in_smaller_pieces() -> None:
    """Else a machine that is too slow for one merge would try it for ever."""
    portion = Portion(50_000)
    portion.failed()
    assert portion.rows == 12_500
    assert Portion(10).rows == 10
