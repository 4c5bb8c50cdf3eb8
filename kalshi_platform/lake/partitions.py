"""Which partitions can hold the rows of a span, in SQL: said so that DuckDB leaves out the other files unopened.

Partitions are cut in UTC, whatever zone a session shows times in. Kept out: where partitions lie (`layout`).
"""

from datetime import UTC, datetime


def in_days(start: str, end: str) -> str:
    """The condition on `date` for the days that [start, end] touches; both are SQL expressions with a time zone."""
    return f"date BETWEEN {_date(start)} AND {_date(end)}"


def in_hours(start: str, end: str) -> str:
    """The condition on `date` and `hour` for the hours that [start, end] touches."""
    return f"""{in_days(start, end)}
    AND (date > {_date(start)} OR hour >= hour({_utc(start)})) AND (date < {_date(end)} OR hour <= hour({_utc(end)}))"""


def days_between(start: datetime, end: datetime) -> str:
    """A pattern for the days that [start, end] touches, and as few others as one pattern can: of a month, of a year."""
    first, last = (f"{moment.astimezone(UTC):%Y-%m-%d}" for moment in (start, end))
    for length, rest in ((10, ""), (8, "*"), (5, "*")):
        if first[:length] == last[:length]:
            return first[:length] + rest
    return "*"


def in_utc(moment: datetime) -> datetime:
    """The moment on UTC's clock, on which an hour later is an hour later: in New York's it is two, one night a year.

    Microseconds are as fine as the record is: what a pandas Timestamp has beyond them is cut off.

    Raises:
        TypeError: Where it is no datetime.
        ValueError: Where it names no time zone: which instant it is would be a guess.
    """
    if not isinstance(moment, datetime):
        raise TypeError(f"{moment!r} is no moment: give a datetime with its time zone, as in datetime(…, tzinfo=UTC)")
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} names no time zone: give it one, as in datetime(…, tzinfo=UTC)")
    utc = moment.astimezone(UTC)
    return datetime.combine(utc.date(), utc.time(), UTC)


def _date(moment: str) -> str:
    return f"CAST({_utc(moment)} AS DATE)"


def _utc(moment: str) -> str:
    """The clock in UTC of an expression with a time zone."""
    return f"timezone('UTC', CAST({moment} AS TIMESTAMPTZ))"
