"""How much one merge takes, so that others who wait for the same table are not starved by one gatherer's backlog.

Loops of a table take turns at its insert. A turn is to last about a quarter of a second, however fast the machine is;
where it does not answer in time at all, the next attempt is smaller. Kept out: turns themselves.
"""

TURN_SECONDS = 0.25
LEAST_ROWS = 1000


class Portion:
    """The size of the next merge.

    Args:
        most_rows: Never more than so many.

    Attributes:
        rows: The size.
    """

    def __init__(self, most_rows: int) -> None:
        self._most = most_rows
        self._least = min(LEAST_ROWS, most_rows)
        self.rows = most_rows

    def took(self, rows: int, seconds: float, *, was_full: bool = False) -> None:
        """A turn lasted so long.

        Args:
            rows: How many rows it merged.
            seconds: How long others waited for it.
            was_full: Whether more was waiting: then a small one had its reasons, as in a shard with few of the rows.
        """
        if seconds > TURN_SECONDS:
            self._set(rows * TURN_SECONDS / seconds)
        elif rows * 2 >= self.rows:  # else it says nothing of a full one
            self._set(min(2 * self.rows, rows * TURN_SECONDS / max(seconds, 1e-6)))
        elif was_full:
            self._set(self.rows * min(2.0, TURN_SECONDS / max(seconds, 1e-6)))

    def failed(self) -> None:
        """A merge was given up because it took too long."""
        self._set(self.rows / 4)

    def _set(self, rows: float) -> None:
        self.rows = max(self._least, min(self._most, round(rows)))
