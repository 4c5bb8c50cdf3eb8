"""The trades that REST remembers: as many as asked for, found by time without a look at all of them."""

from random import Random

from kalshi_platform.simulator.order_flow import Trade
from kalshi_platform.simulator.trade_tape import TradeTape

FACT = Trade(5000, 100, "yes", False)


def made(moments: list[int], capacity: int) -> TradeTape:
    """A tape of trades at these milliseconds."""
    tape = TradeTape(capacity)
    for number, moment in enumerate(moments):
        tape.append(str(number), "KXA-1", moment, FACT)
    return tape


def test_the_oldest_are_forgotten() -> None:
    """The capacity holds at every length; pages go on below a serial number, also below one that is forgotten."""
    for length in range(25):
        tape = made(list(range(length)), 10)
        serials = [one.serial for one in tape.before(None)]
        assert serials == list(range(length))[-10:][::-1]
        assert [one.serial for one in tape.before(20)] == [one for one in serials if one < 20]
        assert [one.serial for one in tape.before(3)] == [one for one in serials if one < 3]
    assert list(made([1, 2], 0).before(None)) == []


def test_a_span_leaves_out_nothing_of_it() -> None:
    """Many trades of one millisecond, and a clock that was set back."""
    dice = Random(1)  # noqa: S311 - a test's
    for moments in (sorted(dice.randrange(50) for _ in range(500)), [dice.randrange(50) for _ in range(500)]):
        tape = made(moments, 400)
        for _ in range(50):
            first, last = sorted((dice.randrange(50_000), dice.randrange(50_000)))
            wanted = [one for one in tape.before(450) if first <= one.micros <= last]
            found = [one for one in tape.before(450, (first, last)) if first <= one.micros <= last]
            assert found == wanted
