"""Where one deduplicator is not enough: parts of the streams, by a hash of the ticker, each merged by another process.

Off unless asked for. Here belong the parts, their names, and the condition that picks a part's rows at a gatherer.
What has no log of batches is little, and is merged by the first part alone, as are coverage and upkeep. Kept out:
cursors and locks.
"""

from dataclasses import dataclass

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import Table

MOST_SHARDS = 64

# Rows of one gatherer are picked by that gatherer's server alone, so servers need not agree. PostgreSQL keeps this hash
# for as long as a cluster lives: partitions and indexes on disk lean on it. A cursor knows another cluster.
_PICKED = "(hashtextextended(ticker, 0) & 9223372036854775807) % {of} = {remainder}"


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of how many.

    Attributes:
        number: From 1 on.
        of: How many parts there are; 1 is everything.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def named(cls, text: str) -> "Shard":
        """The part that a setting names, as in `2/3`.

        Raises:
            ConfigurationError: Where there is no such part.
        """
        number, _, of = text.partition("/")
        if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST_SHARDS:
            return cls(int(number), int(of))
        raise ConfigurationError(
            f"KALSHI_DEDUPLICATOR_SHARD must read `1/1`, which is everything, or name a part of at most {MOST_SHARDS}, "
            f"as in `2/3`; it is `{text}`"
        )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def is_first(self) -> bool:
        """Whether it does what is done once, and not by every part."""
        return self.number == 1

    @property
    def condition(self) -> str:
        """SQL that is true for its rows; empty where that is every row."""
        return "" if self.of == 1 else _PICKED.format(of=self.of, remainder=self.number - 1)

    def of_table(self, table: Table) -> "Shard | None":
        """What this process merges of a table; None where others merge it."""
        if table.time_column is not None:
            return self
        return WHOLE if self.is_first else None


WHOLE = Shard()
"""Everything."""
