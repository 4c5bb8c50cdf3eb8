"""Where things lie in the lake: one root, three layers, hive partitions by day and hour.

Here belong paths and the listing of what is there. Written against `pyarrow.fs`, so that a bucket can stand where a
folder stands now. Kept out: what is inside a file, and how it gets there.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from glob import escape
from pathlib import Path

from pyarrow import fs

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import Table

HOUR = timedelta(hours=1)


class Layer(StrEnum):
    """The layers of the lake."""

    RAW = "raw"  # as exported, with provenance
    PROCESSED = "processed"  # enriched with event and series
    AGGREGATES = "aggregates"


class Lake:
    """A lake under one root.

    Args:
        root: A folder, made when the first file is written; a `file://` address will do.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = _folder(str(root))
        self.filesystem: fs.FileSystem = fs.LocalFileSystem()

    def __repr__(self) -> str:
        return f"Lake({str(self.root)!r})"

    def table_folder(self, table: Table, layer: Layer = Layer.RAW) -> Path:
        """The folder that holds all partitions of a table."""
        return self.root / layer / table.name

    def partition_path(self, table: Table, hour_start: datetime, layer: Layer = Layer.RAW) -> Path:
        """The one file of one table and hour."""
        hour = whole_hour(hour_start)
        return self.table_folder(table, layer) / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}" / f"{table.name}.parquet"

    def partition_glob(self, table: Table, layer: Layer = Layer.RAW) -> str:
        """A pattern that finds every partition of a table; files being written do not match it."""
        return f"{escape(str(self.table_folder(table, layer)))}/date=*/hour=*/{table.name}.parquet"

    def hours(self, table: Table, layer: Layer = Layer.RAW) -> list[datetime]:
        """The hours of a table that are in the lake, earliest first."""
        selector = fs.FileSelector(str(self.table_folder(table, layer)), allow_not_found=True, recursive=True)
        files = (Path(info.path) for info in self.filesystem.get_file_info(selector))
        return sorted(_hour_of(file) for file in files if file.name == f"{table.name}.parquet")


def whole_hour(moment: datetime) -> datetime:
    """`moment` in UTC, which must be the start of an hour.

    Raises:
        ValueError: Where it names no time zone or lies inside an hour.
    """
    if moment.tzinfo is None or moment.replace(minute=0, second=0, microsecond=0) != moment:
        raise ValueError(f"{moment.isoformat()} is not the start of an hour with a time zone")
    return moment.astimezone(UTC)


def _hour_of(file: Path) -> datetime:
    day, hour = file.parent.parent.name, file.parent.name
    return datetime.strptime(f"{day} {hour}", "date=%Y-%m-%d hour=%H").replace(tzinfo=UTC)


def _folder(root: str) -> Path:
    path = root.removeprefix("file://")
    if "://" in path or not path:
        raise ConfigurationError(f"the lake must be a folder, not {root!r}: set KALSHI_LAKE_URL to a path")
    return Path(path).expanduser().absolute()
