"""Where things lie in the lake: one root, three layers, hive partitions by day and hour.

The root is a folder or `s3://bucket/prefix`; paths are text, and whoever opens one need not know which of the two it
is. Here belong paths, the listing of what is there, and opening it. Kept out: what is inside a file.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.lake.datasets import Dataset, Layer, Period
from kalshi_platform.lake.publish import CountedFile, replacing

if TYPE_CHECKING:
    from kalshi_platform.lake.bucket import Bucket

__all__ = ["HOUR", "Lake", "Layer"]

HOUR = timedelta(hours=1)
_HOUR_FOLDER = "date=%Y-%m-%d/hour=%H"
_DAY_FOLDER = "date=%Y-%m-%d"


class Lake:
    """A lake under one root.

    Args:
        root: A folder, made when the first file is written (a `file://` address will do), or `s3://bucket/prefix`.

    Attributes:
        root: The root as text, without a slash at its end.
        filesystem: Arrow's way to it; it knows a file as `key` says.
        bucket: The bucket it is in; None for a folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root, self.bucket = _opened(str(root))
        self.filesystem: fs.FileSystem = self.bucket.filesystem if self.bucket else fs.LocalFileSystem()

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

    def glob(self, dataset: Dataset, days: str = "*") -> str:
        """A pattern that finds every partition of a dataset; files being written do not match it.

        Args:
            dataset: Which.
            days: A pattern of the days; the less it finds, the less is listed.
        """
        partitions = f"date={days}/hour=*" if dataset.period is Period.HOUR else f"date={days}"
        return f"{escape(self.folder(dataset))}/{partitions}/{dataset.name}.parquet"

    def starts(self, dataset: Dataset) -> list[datetime]:
        """The starts of the partitions that are in the lake, earliest first."""
        return list(self.written(dataset))

    def written(self, dataset: Dataset) -> dict[datetime, datetime]:
        """By their starts, earliest first, when the partitions that are in the lake were put there."""
        folder = self.folder(dataset)
        key = self.key(folder)
        selector = fs.FileSelector(key, allow_not_found=True, recursive=True)
        with self._plain_words(f"cannot list {folder}"):
            files = {info.path: info.mtime for info in self.filesystem.get_file_info(selector)}
        if not files and self.bucket:
            self.bucket.require()
        found = ((_start(file.removeprefix(f"{key}/"), dataset), at) for file, at in files.items())
        return dict(sorted((start, at) for start, at in found if start is not None))

    def key(self, path: str) -> str:
        """What `filesystem` calls a path of this lake."""
        return path.removeprefix("s3://")

    @contextmanager
    def open(self, path: str) -> Iterator[pa.NativeFile]:
        """A file of this lake for reading anywhere in it.

        Raises:
            FileNotFoundError: Where it is not there.
            StorageError: Where its bucket cannot be used.
        """
        with self._plain_words(f"cannot read {path}"), self.filesystem.open_input_file(self.key(path)) as file:
            yield file

    def replacing(self, path: str) -> AbstractContextManager[CountedFile]:
        """A file that takes the place of `path`, whole, when the block ends well, and never otherwise.

        Raises:
            StorageError: Where its bucket cannot be used.
        """
        if self.bucket:
            return self.bucket.replacing(self._object(path))
        return replacing(Path(path))

    def size(self, path: str) -> int | None:
        """The size of a file in bytes; None where there is none."""
        with self._plain_words(f"cannot read {path}"):
            found = self.filesystem.get_file_info(self.key(path))
        return int(found.size) if found.type is fs.FileType.File else None

    def remove(self, path: str) -> None:
        """Take a file away, if there is one."""
        if self.bucket:
            self.bucket.remove(self._object(path))
        else:
            Path(path).unlink(missing_ok=True)

    def _object(self, path: str) -> str:
        """What the bucket calls a path of this lake."""
        return path.removeprefix("s3://").partition("/")[2]

    def _plain_words(self, what: str) -> AbstractContextManager[None]:
        return self.bucket.plain_words(what) if self.bucket else nullcontext()


def _start(file: str, dataset: Dataset) -> datetime | None:
    """The start of the partition that a file is; None for a file that is none."""
    try:
        pattern = f"{_pattern(dataset.period)}/{dataset.name}.parquet"
        return datetime.strptime(file, pattern).replace(tzinfo=UTC)
    except ValueError:
        return None


def _pattern(period: Period) -> str:
    return _HOUR_FOLDER if period is Period.HOUR else _DAY_FOLDER


def _opened(root: str) -> "tuple[str, Bucket | None]":
    scheme, separator, rest = root.partition("://")
    if not separator:
        scheme, rest = "file", root
    if separator and "@" in urlsplit(root).netloc:  # first: another message might repeat the keys
        raise ConfigurationError("KALSHI_LAKE_URL must not hold keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if not rest or scheme not in {"file", "s3"}:
        raise ConfigurationError(f"the lake cannot be {root!r}: set KALSHI_LAKE_URL to a folder or s3://bucket/prefix")
    if scheme == "file":
        return str(Path(rest).expanduser().absolute()), None
    from kalshi_platform.lake.bucket import Bucket  # boto3 is not loaded for a folder

    return f"s3://{rest.strip('/')}", Bucket(rest.strip("/").partition("/")[0])
