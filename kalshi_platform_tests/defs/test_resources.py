from pathlib import Path

import dagster as dg
import pytest

from kalshi_platform.defs.lake import RAW_ASSETS
from kalshi_platform.defs.resources import LakeFolder, ProductionDatabase, default_resources

DAY = "2026-11-20"


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder without `.env`, and none of our variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("KALSHI_PRODUCTION_DATABASE_URL", "KALSHI_LAKE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_addresses_come_from_the_environment(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are those of every other command."""
    monkeypatch.setenv("KALSHI_PRODUCTION_DATABASE_URL", "postgresql://host/production")
    monkeypatch.setenv("KALSHI_LAKE_URL", str(no_settings / "elsewhere"))
    assert ProductionDatabase().address() == "postgresql://host/production"
    assert LakeFolder().lake().root == str(no_settings / "elsewhere")


def test_the_lake_is_a_folder_beside_the_process_by_default(no_settings: Path) -> None:
    """Without a setting it is called lake."""
    assert LakeFolder().lake().root == str(no_settings / "lake")


def test_a_missing_address_is_said_in_plain_words(no_settings: Path, instance: dg.DagsterInstance) -> None:
    """A run fails with the name of the variable and what it is for."""
    with pytest.raises(dg.Failure, match="KALSHI_PRODUCTION_DATABASE_URL is not set"):
        dg.materialize(RAW_ASSETS[:1], partition_key=DAY, resources=default_resources(), instance=instance)


def test_a_password_does_not_show(no_settings: Path) -> None:
    """Neither in the resource nor in what it is printed as."""
    assert "s3cret" not in repr(ProductionDatabase(url="postgresql://user:s3cret@host/production"))
