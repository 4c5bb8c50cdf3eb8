from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.schema import TRADES
from kalshi_platform.lake.layout import Lake, Layer, whole_hour


def test_partition_path_is_a_hive_path_in_utc(tmp_path: Path) -> None:
    """An hour given in another zone lands in the folder of its UTC day and hour."""
    berlin = datetime(2026, 11, 21, 0, tzinfo=timezone(timedelta(hours=1)))
    path = Lake(tmp_path).partition_path(TRADES, berlin)
    assert path == tmp_path / "raw" / "trades" / "date=2026-11-20" / "hour=23" / "trades.parquet"


def test_layers_are_apart(tmp_path: Path) -> None:
    """The same table has its own folder in each layer."""
    lake = Lake(tmp_path)
    assert lake.table_folder(TRADES, Layer.PROCESSED) == tmp_path / "processed" / "trades"


@pytest.mark.parametrize("moment", [datetime(2026, 11, 21, 1, 30, tzinfo=UTC), datetime(2026, 11, 21, 1)])  # noqa: DTZ001
def test_whole_hour_refuses_what_is_none(moment: datetime) -> None:
    """A moment inside an hour, or one without a zone, names no partition."""
    with pytest.raises(ValueError, match="not the start of an hour"):
        whole_hour(moment)


def test_hours_lists_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    """Hours come in order; a file still being written is not one of them."""
    lake = Lake(tmp_path)
    hours = [datetime(2026, 11, 21, hour, tzinfo=UTC) for hour in (3, 1)]
    for hour in hours:
        path = lake.partition_path(TRADES, hour)
        path.parent.mkdir(parents=True)
        path.touch()
    unfinished = lake.partition_path(TRADES, datetime(2026, 11, 21, 2, tzinfo=UTC))
    unfinished.parent.mkdir(parents=True)
    unfinished.with_name(".trades.parquet.abc.tmp").touch()
    assert lake.hours(TRADES) == sorted(hours)


def test_hours_of_a_lake_that_is_not_there_yet(tmp_path: Path) -> None:
    """A lake that nobody wrote to has no hours."""
    assert Lake(tmp_path / "none").hours(TRADES) == []


@pytest.mark.parametrize("root", ["s3://bucket/lake", ""])
def test_a_root_that_is_no_folder_is_refused_in_plain_words(root: str) -> None:
    """The error names the setting and what it should be."""
    with pytest.raises(ConfigurationError, match="KALSHI_LAKE_URL"):
        Lake(root)


def test_file_addresses_are_folders(tmp_path: Path) -> None:
    """A file:// address means the folder it names."""
    assert Lake(f"file://{tmp_path}").root == tmp_path
