"""What a bad hour leaves, and who asks again: runs of the code location itself, on a folder's SQLite."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from kalshi_platform.core.errors import IntegrityError, PlatformError
from kalshi_platform.core.schema import SERIES, TICKERS, Table
from kalshi_platform.defs.backfills import BACKFILL_KEY
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.layers import processed_key
from kalshi_platform.defs.resources import ProductionDatabase
from kalshi_platform.defs.sensors.left_out import left_out
from kalshi_platform.defs.sensors.tried_again import TRIES, TRY_TAG, tried_again
from kalshi_platform.lake.datasets import PROCESSED
from kalshi_platform.lake.layout import HOUR, Lake

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOURS = [f"2026-11-20-{hour}:00" for hour in (11, 12, 13)]
RANGE = {"dagster/asset_partition_range_start": HOURS[0], "dagster/asset_partition_range_end": HOURS[2]}
ASSETS = [raw_key(TICKERS), processed_key(TICKERS)]

_bad: set[str] = set()


class Bad(ProductionDatabase):
    """One hour is damaged, or has other rows when it is counted; as `_bad` says."""

    def refuse_dropped(self, table: Table, start: datetime, end: datetime) -> None:
        """Or refuse for another reason."""
        if "every export" in _bad or ("export" in _bad and start == NOON):
            raise IntegrityError("damaged")
        if "away" in _bad:
            raise PlatformError("the database is away")
        if "process" in _bad and start == NOON:
            raise ZeroDivisionError
        super().refuse_dropped(table, start, end)

    def last_seen(self, table: Table) -> datetime | None:
        """Or be away."""
        if "away" in _bad:
            raise PlatformError("the database is away")
        return super().last_seen(table)

    def families(self) -> pa.Table:
        """Or be away since the export."""
        if "away since" in _bad:
            raise PlatformError("the database is away")
        return super().families()

    def count_window(self, table: Table, start: datetime, end: datetime) -> int:
        """Or one row more."""
        return super().count_window(table, start, end) + ("count" in _bad and start == NOON)


class Location:
    """The code location, its runs and its sensor, as the daemon has them."""

    def __init__(self, instance: dg.DagsterInstance, resources: dict[str, Any]) -> None:
        production = Bad(url=resources["production"].url)
        self.instance = instance
        self.repository = build_defs(resources | {"production": production}).get_repository_def()
        self.cursor: str | None = None

    def run(self, assets: Sequence[dg.AssetKey] = ASSETS, **tags: str) -> bool:
        """A run of tickers, raw and processed, or of other assets, with all of their checks."""
        job = self.repository.get_implicit_job_def_for_assets(assets)
        assert job is not None
        return job.execute_in_process(
            instance=self.instance, asset_selection=list(assets), tags=tags, raise_on_error=False
        ).success

    def recorded(self, status: dg.DagsterRunStatus, **tags: str) -> None:
        """A run that Dagster knows, of tickers, and that leaves nothing else."""
        run = dg.DagsterRun("somewhere", asset_selection=frozenset(ASSETS), tags=tags, status=status)
        self.instance.add_run(run)

    def asked(self, sensor: dg.SensorDefinition) -> list[dg.RunRequest]:
        """What a look of a sensor asks for."""
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, sensor_name=sensor.name
        )
        return list(sensor.evaluate_tick(context).run_requests or ())

    def tick(self, sensor: dg.SensorDefinition = left_out) -> list[str]:
        """One look of a sensor, its runs done; returns their partitions."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.repository, sensor_name=sensor.name
        )
        data = sensor.evaluate_tick(context)
        self.cursor = data.cursor
        new = [one for one in data.run_requests or () if not self._is_known(str(one.run_key))]
        for one in new:
            assert list(one.asset_selection or ()) == sorted(ASSETS)
            self.run(**one.tags, **{"dagster/run_key": str(one.run_key)})
        return [str(one.partition_key) for one in new]

    def made(self) -> set[str]:
        """Processed partitions that Dagster knows."""
        return self.instance.get_materialized_partitions(processed_key(TICKERS))

    def _is_known(self, run_key: str) -> bool:
        return bool(self.instance.get_run_records(dg.RunsFilter(tags={"dagster/run_key": run_key})))


@pytest.fixture
def location(tmp_path: Path, resources: dict[str, Any]) -> Iterator[Location]:
    """With nothing wrong yet."""
    _bad.clear()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Location(instance, resources)
    _bad.clear()


@pytest.mark.parametrize(
    ("wrong", "asked"),
    [("export", [HOURS[0], HOURS[2]]), ("count", HOURS), ("process", HOURS)],
    ids=["an export fails", "a blocking check refuses", "nobody knows why"],
)
@pytest.mark.slow
def test_a_bad_hour_keeps_no_other_from_the_upper_layers(
    wrong: str, asked: list[str], location: Location, lake: Lake
) -> None:
    """The others are asked for alone, are checked and go on; the bad one is not asked for without end."""
    _bad.add(wrong)
    assert not location.run(**RANGE)
    assert location.made() == set()
    assert location.tick() == asked
    assert location.made() == {HOURS[0], HOURS[2]}
    assert lake.starts(PROCESSED[TICKERS.name]) == [NOON - HOUR, NOON + HOUR]
    assert [location.tick() for _ in range(3)] == [[], [], []]


@pytest.mark.parametrize(
    ("wrong", "tags"),
    [
        ("every export", RANGE),
        ("export", {"dagster/partition": HOURS[1]}),
        ("export", RANGE | {"dagster/will_retry": "true"}),
    ],
    ids=["all are bad", "a run of one", "Dagster retries it"],
)
def test_what_leaves_no_good_hour_behind_asks_for_nothing(wrong: str, tags: dict[str, str], location: Location) -> None:
    """A database that is away is one failed run, not one for each hour."""
    _bad.add(wrong)
    assert not location.run(**tags)
    assert location.tick() == []


@pytest.mark.slow
def test_what_was_made_meanwhile_is_not_asked_for(location: Location) -> None:
    """Somebody has exported the range again before the sensor looked."""
    _bad.add("count")
    assert not location.run(**RANGE)
    _bad.clear()
    assert location.run(**RANGE)
    assert location.tick() == []


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in a run, and between runs, takes no time."""
    monkeypatch.setattr("kalshi_platform.defs.steps._FIRST_WAIT_SECONDS", 0)
    monkeypatch.setattr("kalshi_platform.defs.sensors.tried_again._FIRST_PAUSE", timedelta(0))


@pytest.mark.slow
def test_what_was_away_is_asked_for_again_until_it_is_back(location: Location, no_waiting: None) -> None:
    """Of three hours the first tells whether the database is back; then the others follow, each once."""
    _bad.add("away")
    assert not location.run(**RANGE)
    assert location.tick() == [], "none is left out by another's fault"
    assert location.tick(tried_again) == [HOURS[0]]
    _bad.clear()
    assert location.tick(tried_again) == [HOURS[0]], "the second try follows from the first"
    assert location.made() == {HOURS[0]}
    assert location.tick(tried_again) == HOURS[1:]
    assert location.made() == set(HOURS)
    assert location.tick(tried_again) == []


@pytest.mark.slow
def test_what_goes_away_between_two_layers_is_asked_for_again(location: Location, no_waiting: None) -> None:
    """The export of an hour has ended well; what is made of it finds no database any more."""
    _bad.add("away since")
    assert not location.run(**{"dagster/partition": HOURS[1]})
    _bad.clear()
    assert location.tick(tried_again) == [HOURS[1]]
    assert location.made() == {HOURS[1]}


@pytest.mark.slow
def test_the_next_is_asked_for_where_the_first_ends_otherwise(location: Location, no_waiting: None) -> None:
    """The first of three hours is damaged, or somebody ends its run, or it is given up: the others are not."""
    _bad.add("away")
    assert not location.run(**RANGE)
    first, second = ({"dagster/partition": hour} for hour in HOURS[:2])
    for status, number, next_number in (
        (dg.DagsterRunStatus.STARTED, 1, None),
        (dg.DagsterRunStatus.CANCELED, 1, 1),
        (dg.DagsterRunStatus.FAILURE, 2, 2),
        (dg.DagsterRunStatus.FAILURE, TRIES, TRIES),
    ):
        location.recorded(status, **first, **{TRY_TAG: str(number)})
        asked = [(one.partition_key, one.tags[TRY_TAG]) for one in location.asked(tried_again)]
        assert asked == ([(HOURS[1], str(next_number))] if next_number else []), status
    location.recorded(dg.DagsterRunStatus.CANCELED, **second)
    _bad.clear()
    assert location.tick(tried_again) == [HOURS[2]]
    assert location.made() == {HOURS[2]}
    assert location.tick(tried_again) == []


@pytest.mark.slow
def test_what_stays_away_is_given_up(location: Location, no_waiting: None) -> None:
    """A bounded number of tries; damage and settings wait for a person at once."""
    _bad.add("away")
    one = {"dagster/partition": HOURS[1]}
    assert not location.run(**one, **{TRY_TAG: str(TRIES - 1)})
    assert location.tick(tried_again) == [HOURS[1]], "the last try"
    assert location.tick(tried_again) == []
    _bad.clear()
    _bad.add("export")
    assert not location.run(**one)
    assert location.tick(tried_again) == []


def test_many_failed_runs_of_other_jobs_hide_none(
    location: Location, no_waiting: None, instance: dg.DagsterInstance
) -> None:
    """The sync and the checks of freshness fail too while the database is away, every few minutes."""
    location.instance = instance  # in memory: a folder's SQLite takes a minute for so many runs
    _bad.add("away")
    assert not location.run(**{"dagster/partition": HOURS[1]})
    for _ in range(250):
        location.instance.add_run(dg.DagsterRun("metadata_incremental", status=dg.DagsterRunStatus.FAILURE))
    assert [one.partition_key for one in location.asked(tried_again)] == [HOURS[1]]


def test_a_day_that_is_no_stream_is_asked_for_again_too(location: Location, no_waiting: None) -> None:
    """And a run that somebody made of more than this is left to them: Dagster refuses the whole look otherwise."""
    _bad.add("away")
    today = {"dagster/partition": f"{datetime.now(UTC):%Y-%m-%d}"}
    series = raw_key(SERIES)
    assert not location.run(assets=[series], **today)
    assert [one.asset_selection for one in location.asked(tried_again)] == [[series]]
    assert not location.run(assets=[series, BACKFILL_KEY], **today)
    assert location.asked(tried_again) == []


def test_nothing_is_asked_for_again_at_once(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that starts again has some minutes for it."""
    monkeypatch.setattr("kalshi_platform.defs.steps._FIRST_WAIT_SECONDS", 0)
    _bad.add("away")
    assert not location.run(**{"dagster/partition": HOURS[1]})
    assert location.tick(tried_again) == []
