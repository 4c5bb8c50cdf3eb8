"""Where things lie in the lake: one root, three layers, hive partitions by day and hour.

Here belong paths and the listing of what is there. Kept out: what is inside a file, and how it gets there.
"""

from datetime import UTC, datetime, timedelta
from glob import escape
from pathlib import Path

from pyarrow import fs

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.lake.datasets import Dataset, Layer, Period

__all__ = ["HOUR", "Lake", "Layer"]

HOUR = timedelta(hours=1)
_HOUR_FOLDER = "date=%Y-%m-%d/hour=%H"
_DAY_FOLDER = "date=%Y-%m-%d"


class Lake:
    """A lake under one root.

    Args:
        root: A folder, made when the first file is written; a `file://` address will do.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = _folder(str(root))
        self.filesystem: fs.FileSystem = fs.LocalFileSystem()

    def __repr__(self) -> str:
        return f"Lake({self.root!r})"

    def folder(self, dataset: Dataset) -> str:
        """What holds all partitions of a dataset."""
        return f"{self.root}/{dataset.layer}/{dataset.name}"

    def path(self, dataset: Dataset, start: datetime) -> str:
        """The one file of a dataset and the hour or day that begins at `start`.

        Raises:
            ValueError: Where `start` is not the start of one.
        """
        partition = dataset.period.start(start).strftime(_pattern(dataset.period))
        return f"{self.folder(dataset)}/{partition}/{dataset.name}.parquet"

    def glob(self, dataset: Dataset) -> str:
        """A pattern that finds every partition of a dataset; files being written do not match it."""
        partitions = "date=*/hour=*" if dataset.period is Period.HOUR else "date=*"
        return f"{escape(self.folder(dataset))}/{partitions}/{dataset.name}.parquet"

    def starts(self, dataset: Dataset) -> list[datetime]:
        """The starts of the partitions that are in the lake, earliest first."""
        folder = self.folder(dataset)
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
        files = [info.path for info in self.filesystem.get_file_info(selector)]
        found = (_start(file.removeprefix(f"{folder}/"), dataset) for file in files)
        return sorted(start for start in found if start is not None)


def _start(file: str, dataset: Dataset) -> datetime | None:
    """The start of the partition that a file is; None for a file that is none."""
    try:
        pattern = f"{_pattern(dataset.period)}/{dataset.name}.parquet"
        return datetime.strptime(file, pattern).replace(tzinfo=UTC)
    except ValueError:
        return None


def _pattern(period: Period) -> str:
    return _HOUR_FOLDER if period is Period.HOUR else _DAY_FOLDER


def _folder(root: str) -> str:
    path = root.removeprefix("file://")
    if "://" in path or not path:
        raise ConfigurationError(f"the lake must be a folder, not {root!r}: set KALSHI_LAKE_URL to a path")
    return str(Path(path).expanduser().absolute())
