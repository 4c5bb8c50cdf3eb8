from datetime import UTC, datetime, timedelta

from kalshi_platform.database.proofs import Proof, unproven_hours

DAY = datetime(2026, 8, 1, tzinfo=UTC)
HOURS = [DAY + timedelta(hours=n) for n in range(24)]
COUNTS = {HOURS[3]: 5, HOURS[4]: 7}


def proof(start: datetime, hours: int, rows: int) -> Proof:
    """A proof of so many hours with so many rows."""
    return Proof(start, start + timedelta(hours=hours), rows, "sha256", "path", start)


def unproven(proofs: list[Proof], *, start: datetime = DAY, hours: int = 24) -> list[datetime]:
    """Of these rows, counted in a window."""
    return unproven_hours(proofs, COUNTS, start, start + timedelta(hours=hours))


def test_each_hour_has_its_own_proof() -> None:
    """With as many rows as are there now; a row more, and the hour is open again."""
    assert unproven([proof(HOURS[3], 1, 5), proof(HOURS[4], 1, 7)]) == []
    assert unproven([proof(HOURS[3], 1, 5), proof(HOURS[4], 1, 6)]) == [HOURS[4]]
    assert unproven([]) == [HOURS[3], HOURS[4]]


def test_a_day_s_proof_speaks_of_all_its_hours_together() -> None:
    """Its rows must be those of the whole day."""
    assert unproven([proof(DAY, 24, 12)]) == []
    assert unproven([proof(DAY, 24, 11)]) == [HOURS[3], HOURS[4]]


def test_a_proof_that_reaches_beyond_what_was_counted_proves_nothing() -> None:
    """Whether its rows are those that were counted cannot be told: better kept than dropped."""
    assert unproven([proof(DAY, 24, 12)], start=HOURS[3], hours=2) == [HOURS[3], HOURS[4]]
    assert unproven([proof(HOURS[3], 1, 5), proof(HOURS[4], 1, 7)], start=HOURS[3], hours=2) == []


def test_an_hour_without_rows_needs_no_proof() -> None:
    """There is nothing that could be lost."""
    assert unproven_hours([], {HOURS[0]: 0}, DAY, DAY + timedelta(days=1)) == []
