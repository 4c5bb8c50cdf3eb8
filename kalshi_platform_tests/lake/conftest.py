"""Rows and lakes that live for one test."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, Table
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.schema import source_schema
from kalshi_platform_tests.lake.stores import Store, moto, new_root, rclone

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

MakeBatch = Callable[..., pa.RecordBatch]


@pytest.fixture(scope="session")
def noon() -> datetime:
    """The start of the hour that these tests are about."""
    return NOON


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake")


@pytest.fixture(scope="session")
def moto_store() -> Iterator[Store]:
    """A store that keeps S3's semantics, and takes any key."""
    with moto() as running:
        yield running


@pytest.fixture(scope="session")
def rclone_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that keeps its objects as files, and checks signatures."""
    with rclone(tmp_path_factory.mktemp("rclone")) as running:
        yield running


@pytest.fixture(params=["moto_store", "rclone_store"])
def store(request: pytest.FixtureRequest) -> Store:
    """A store that speaks S3, once with each server."""
    running: Store = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def s3_root(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """A root in a bucket that no other test uses; the environment is set for reaching it."""
    return new_root(store, monkeypatch)


@pytest.fixture
def s3_lake(s3_root: str) -> Lake:
    """An empty lake in a bucket."""
    return Lake(s3_root)


@pytest.fixture(scope="session")
def batch() -> Callable[[Table, Iterable[dict[str, Any]]], pa.RecordBatch]:
    """Makes a batch of rows as they come from the database."""
    return lambda table, rows: pa.RecordBatch.from_pylist(list(rows), schema=source_schema(table))


def delta_row(milliseconds: int = 0, ticker: str = "KXA", **values: Any) -> dict[str, Any]:
    """A delta so long after noon."""
    moment = NOON + timedelta(milliseconds=milliseconds)
    row = {"exchange_ts": moment, "ticker": ticker, "side": True, "price": 560_000, "size_delta": 100}
    return row | {"occurrence": 0, "position": 0, "seq": 1, "received_at": moment} | values


def checkpoint_row(moment: datetime, ticker: str = "KXA", **values: Any) -> dict[str, Any]:
    """A checkpoint of an empty book."""
    row: dict[str, Any] = {"snapshot_ts": moment, "ticker": ticker, "source": "checkpoint", "gatherer_id": ""}
    row |= {f"{side}_{what}": [] for side in ("yes", "no") for what in ("prices", "sizes")}
    return row | {"best_yes_bid": None, "best_yes_ask": None, "received_at": moment} | values


@pytest.fixture(scope="session")
def deltas(batch: MakeBatch) -> MakeBatch:
    """Makes a batch of deltas, each given by what differs from a plain one."""
    return lambda *rows: batch(ORDERBOOK_DELTAS, [delta_row(**row) for row in rows])


@pytest.fixture(scope="session")
def checkpoints(batch: MakeBatch) -> MakeBatch:
    """Makes a batch of checkpoints, each given by what differs from an empty book."""
    return lambda *rows: batch(ORDERBOOK_SNAPSHOTS, [checkpoint_row(**row) for row in rows])
