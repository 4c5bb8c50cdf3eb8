from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.lake.datasets import AGGREGATES, PROCESSED, RAW
from kalshi_platform.lake.layout import Lake

DELTAS, TRADES = RAW["orderbook_deltas"], RAW["trades"]


def test_an_hour_has_a_hive_path_in_utc(tmp_path: Path) -> None:
    """An hour given in another zone lands in the folder of its UTC day and hour."""
    berlin = datetime(2026, 11, 21, 0, tzinfo=timezone(timedelta(hours=1)))
    path = Lake(tmp_path).path(DELTAS, berlin)
    assert path == f"{tmp_path}/raw/orderbook_deltas/date=2026-11-20/hour=23/orderbook_deltas.parquet"


def test_a_day_has_a_hive_path_without_an_hour(tmp_path: Path) -> None:
    """Trades are so few that a day is one file."""
    path = Lake(tmp_path).path(TRADES, datetime(2026, 11, 20, tzinfo=UTC))
    assert path == f"{tmp_path}/raw/trades/date=2026-11-20/trades.parquet"


def test_layers_are_apart(tmp_path: Path) -> None:
    """The same table has its own folder in each layer."""
    lake = Lake(tmp_path)
    assert lake.folder(PROCESSED["trades"]) == f"{tmp_path}/processed/trades"
    assert lake.folder(AGGREGATES["candles_1m"]) == f"{tmp_path}/aggregates/candles_1m"


def test_starts_lists_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    """Hours come in order; a file still being written is not one of them, nor is what somebody else put there."""
    lake = Lake(tmp_path)
    hours = [datetime(2026, 11, 21, hour, tzinfo=UTC) for hour in (3, 1)]
    for hour in hours:
        path = Path(lake.path(DELTAS, hour))
        path.parent.mkdir(parents=True)
        path.touch()
    unfinished = Path(lake.path(DELTAS, datetime(2026, 11, 21, 2, tzinfo=UTC)))
    unfinished.parent.mkdir(parents=True)
    unfinished.with_name(".orderbook_deltas.parquet.abc.tmp").touch()
    (tmp_path / "raw" / "orderbook_deltas" / "date=2026-11-21" / "orderbook_deltas.parquet").touch()
    assert lake.starts(DELTAS) == sorted(hours)


def test_days_are_listed_as_days(tmp_path: Path) -> None:
    """A day's start is its midnight in UTC."""
    lake, day = Lake(tmp_path), datetime(2026, 11, 20, tzinfo=UTC)
    path = Path(lake.path(TRADES, day))
    path.parent.mkdir(parents=True)
    path.touch()
    assert lake.starts(TRADES) == [day]


def test_starts_of_a_lake_that_is_not_there_yet(tmp_path: Path) -> None:
    """A lake that nobody wrote to has none."""
    assert Lake(tmp_path / "none").starts(TRADES) == []


@pytest.mark.parametrize("root", ["gs://bucket/lake", "s3://", ""])
def test_a_root_of_another_kind_is_refused_in_plain_words(root: str) -> None:
    """The error names the setting and what it should be."""
    with pytest.raises(ConfigurationError, match="KALSHI_LAKE_URL"):
        Lake(root)


@pytest.mark.parametrize("scheme", ["s3", "s3a", "https"])
def test_keys_in_the_root_are_refused_and_not_repeated(scheme: str) -> None:
    """Whatever else is wrong with it."""
    with pytest.raises(ConfigurationError, match="must not hold keys") as refusal:
        Lake(f"{scheme}://AKIA:s3cret@bucket/lake")
    assert "s3cret" not in str(refusal.value)


def test_file_addresses_are_folders(tmp_path: Path) -> None:
    """A file:// address means the folder it names."""
    assert Lake(f"file://{tmp_path}").root == str(tmp_path)
