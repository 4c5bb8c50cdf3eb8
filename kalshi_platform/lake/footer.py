"""What a file of the lake says of itself: schema version, table, window and source rows.

Nothing in it changes from run to run, so that the same rows give the same bytes. Kept out: how rows are written.
"""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.schema import SCHEMA_VERSION

_KEYS = ("schema_version", "table", "window_start", "window_end", "source_rows")


@dataclass(frozen=True, slots=True)
class Footer:
    """Provenance of one file.

    Attributes:
        table: Name of the dataset whose rows it holds.
        window_start: Earliest moment whose rows it holds.
        window_end: First moment whose rows it does not hold; before the period's end where it was still open.
        source_rows: Rows read from the source, all of which are in the file.
        schema_version: `SCHEMA_VERSION` of the writer.
    """

    table: str
    window_start: datetime
    window_end: datetime
    source_rows: int
    schema_version: int = SCHEMA_VERSION

    def as_metadata(self) -> dict[str, str]:
        """The key-value pairs that stand in the file."""
        window = {"window_start": self.window_start.isoformat(), "window_end": self.window_end.isoformat()}
        facts = {"schema_version": self.schema_version, "table": self.table, "source_rows": self.source_rows} | window
        return {f"kalshi_platform.{key}": str(facts[key]) for key in _KEYS}


def read_footer(lake: Lake, dataset: Dataset, start: datetime) -> Footer | None:
    """The footer of one partition; None where the lake has no such file.

    Raises:
        IntegrityError: Where the file cannot be read, is not one of ours, or holds other than the rows it was given.
    """
    path = lake.path(dataset, start)
    try:
        with lake.open(path) as file:
            metadata = pq.read_metadata(file)
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error
    try:
        footer = _parsed(metadata.metadata or {}, path)
    except ValueError as error:  # a bit fell over in what it says
        raise IntegrityError(f"{path} does not name its window in words of ours: {error}") from error
    if footer.source_rows != metadata.num_rows:
        raise IntegrityError(f"{path} holds {metadata.num_rows} rows and says {footer.source_rows}")
    return footer


def _parsed(metadata: dict[bytes, bytes], path: str) -> Footer:
    facts = {key: metadata.get(f"kalshi_platform.{key}".encode(), b"").decode() for key in _KEYS}
    if not all(facts.values()):
        raise IntegrityError(f"{path} was not written by this platform: it does not name its window")
    return Footer(
        table=facts["table"],
        window_start=datetime.fromisoformat(facts["window_start"]),
        window_end=datetime.fromisoformat(facts["window_end"]),
        source_rows=int(facts["source_rows"]),
        schema_version=int(facts["schema_version"]),
    )
