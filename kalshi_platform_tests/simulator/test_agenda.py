from kalshi_platform.simulator.agenda import Agenda


def test_things_happen_after_so_many_bursts() -> None:
    """Repeated things come again and again, single ones once, nothing at an interval of zero, each in its turn."""
    agenda, seen = Agenda(10.0), list[tuple[str, int]]()
    agenda.plan(0.5, lambda n: seen.append(("often", n)))
    agenda.once(0.7, lambda n: seen.append(("once", n)))
    agenda.plan(0.0, lambda n: seen.append(("never", n)))
    for burst in range(1, 16):
        for action in agenda.next_burst():
            action(burst)
    assert seen == [("often", 5), ("once", 7), ("often", 10), ("often", 15)]
