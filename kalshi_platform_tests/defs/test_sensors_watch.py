"""The sensors that watch: late rows, lag, uncovered gaps, failed checks."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, STREAM_TABLES, Table
from kalshi_platform.database.export import read_window
from kalshi_platform.defs.partitions import key_at
from kalshi_platform.defs.repair import REPAIR
from kalshi_platform.defs.resources import ProductionDatabase
from kalshi_platform.defs.sensors.failed_checks import check_failures
from kalshi_platform.defs.sensors.gaps import uncovered_gaps
from kalshi_platform.defs.sensors.late_rows import late_rows
from kalshi_platform.defs.sensors.sync_lag import sync_lag
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.service.alerts import AlertError, Level
from kalshi_platform_tests.defs.dagster_at_hand import said_by_a_run
from kalshi_platform_tests.defs.sensor_at_hand import Sensor, Told

MINUTE = timedelta(minutes=1)


def _export(production: str, lake: Lake, table: Table, moment: datetime) -> None:
    dataset = RAW[table.name]
    start = dataset.period.floor(moment)
    with read_window(production, table, start, dataset.end(start)) as batches:
        write_partition(lake, dataset, start, batches)


def test_rows_that_come_late_report_their_partition_again(
    sensor: Any, fill: Any, delta: Any, production_database: str, lake: Lake
) -> None:
    """Once for each change of the count, until the file has them; however many partitions are fine."""
    now = Period.HOUR.floor(datetime.now(UTC))
    yesterday = now - timedelta(hours=30)
    for moment in (now, yesterday):
        fill(ORDERBOOK_DELTAS, delta(0, exchange_ts=moment))
        _export(production_database, lake, ORDERBOOK_DELTAS, moment)
    late = sensor(late_rows)
    assert isinstance(late.tick(), dg.SkipReason)
    fill(ORDERBOOK_DELTAS, delta(0, exchange_ts=yesterday, occurrence=1))
    (event,) = late.tick().asset_events
    assert event.asset_key == dg.AssetKey(["production", "orderbook_deltas"])
    assert event.partition == key_at(ORDERBOOK_DELTAS, yesterday)
    assert isinstance(late.tick(), dg.SkipReason)  # asked for already
    fill(ORDERBOOK_DELTAS, delta(0, exchange_ts=yesterday, occurrence=2))
    assert len(late.tick().asset_events) == 1
    _export(production_database, lake, ORDERBOOK_DELTAS, yesterday)
    assert isinstance(late.tick(), dg.SkipReason)


def test_a_file_that_cannot_be_read_is_reported_and_those_behind_it_too(
    sensor: Any, fill: Any, delta: Any, production_database: str, lake: Lake
) -> None:
    """Half of it is there: production still has its rows, and the next partition has its turn."""
    now = Period.HOUR.floor(datetime.now(UTC))
    moments = [now - timedelta(hours=ago) for ago in (30, 31, 32)]
    for moment in moments:
        fill(ORDERBOOK_DELTAS, delta(0, exchange_ts=moment))
        _export(production_database, lake, ORDERBOOK_DELTAS, moment)
    file = Path(lake.path(RAW[ORDERBOOK_DELTAS.name], moments[1]))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    fill(ORDERBOOK_DELTAS, delta(0, exchange_ts=moments[2], occurrence=1))
    late = sensor(late_rows)
    wanted = [key_at(ORDERBOOK_DELTAS, moment) for moment in moments[1:]]
    assert [event.partition for event in late.tick().asset_events] == wanted


_counted: list[tuple[str, datetime]] = []


class Slow(ProductionDatabase):
    """Each count takes longer than a second, by a clock of its own; every file has all of its rows."""

    def count_window(self, table: Table, start: datetime, end: datetime) -> int:
        """Remember which file."""
        _counted.append((table.name, start))
        return 0


def test_every_file_has_its_turn(sensor: Any, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long counting takes, no table waits for another, and a tick goes on where the last one stopped."""
    monkeypatch.setenv("KALSHI_LATE_ROWS_DAYS", "3")
    looked_back = {Period.HOUR: 72, Period.DAY: 3}
    expected = set()
    for table in STREAM_TABLES:
        dataset = RAW[table.name]
        newest = dataset.period.floor(datetime.now(UTC))
        for nth in range(looked_back[dataset.period]):
            write_partition(lake, dataset, newest - nth * dataset.period.value, [])
            expected.add((table.name, newest - nth * dataset.period.value))
    _counted.clear()
    monkeypatch.setattr("kalshi_platform.defs.sensors.late_rows.monotonic", lambda: 1.5 * len(_counted))
    late = sensor(late_rows)
    for _ in range(70):
        late.tick(production=Slow())
    assert not sorted(expected - set(_counted))


def test_rows_that_production_has_dropped_are_not_late(
    sensor: Any, fill: Any, delta: Any, production_database: str, lake: Lake, cluster: Any
) -> None:
    """After retention the lake's file is the only copy; nothing asks for it to be written again."""
    now = Period.HOUR.floor(datetime.now(UTC))
    fill(ORDERBOOK_DELTAS, delta(0, exchange_ts=now))
    _export(production_database, lake, ORDERBOOK_DELTAS, now)
    with read_window(production_database, ORDERBOOK_DELTAS, now, now + timedelta(hours=1)) as batches:
        twice = list(batches) * 2
    write_partition(lake, RAW[ORDERBOOK_DELTAS.name], now, twice)
    assert isinstance(sensor(late_rows).tick(), dg.SkipReason)


def test_lag_is_told_when_it_changes(sensor: Any, merged_until: Any) -> None:
    """Late, stalled, well again: three words for many ticks."""
    lag = sensor(sync_lag)
    now = datetime.now(UTC)
    for table in STREAM_TABLES:
        merged_until(table, now)
    assert "orderbook_deltas fine" in str(lag.tick().skip_message)
    assert lag.alerts == []
    for behind, level in ((5, Level.WARNING), (6, None), (20, Level.ERROR), (30, None), (0, Level.RESOLVED)):
        merged_until(ORDERBOOK_DELTAS, datetime.now(UTC) - behind * MINUTE)
        lag.alerts.clear()
        lag.tick()
        assert [alert.level for alert in lag.alerts] == ([level] if level else [])
        assert all(alert.key == "lag/orderbook_deltas" for alert in lag.alerts)


def test_lag_that_nobody_could_be_told_of_is_told_again(sensor: Any, merged_until: Any) -> None:
    """The tick fails, which its page shows, and the next one tries again."""
    merged_until(ORDERBOOK_DELTAS, datetime.now(UTC) - 20 * MINUTE)
    lag = sensor(sync_lag)
    with pytest.raises(AlertError):
        lag.tick(alerts=Told(broken=True))
    lag.tick()
    assert [alert.title for alert in lag.alerts] == ["orderbook_deltas is 20 min behind the exchange"]


def test_a_gap_that_nobody_heard_asks_for_one_repair(sensor: Any, note: Any) -> None:
    """An hour that is reckoned again with the same intervals has the same run key; with others it has another."""
    hour = Period.HOUR.floor(datetime.now(UTC)) - timedelta(hours=2)
    common = {"hour": hour, "channel": "trade"}
    note("uncovered_intervals", ticker="", from_at=hour, until_at=hour + MINUTE, **common)
    reckoned = {"markets": 1, "uncovered_markets": 1, "uncovered_us": 1, "gatherers": "", "behind": "{}"}
    now = datetime.now(UTC)
    note("coverage_hours", computed_at=now, is_stale=False, **common, **reckoned)
    gaps = sensor(uncovered_gaps)
    (request,) = gaps.tick().run_requests
    config = request.run_config["ops"]["repair_gaps"]["config"]
    assert config == {"hour": hour.isoformat(), "channel": "trade"}
    assert request.tags["kalshi/channel"] == "trade"
    assert isinstance(gaps.tick(), dg.SkipReason)
    again = sensor(uncovered_gaps)
    assert again.tick().run_requests[0].run_key == request.run_key
    note("uncovered_intervals", ticker="", from_at=hour + 2 * MINUTE, until_at=hour + 3 * MINUTE, **common)
    other = sensor(uncovered_gaps)
    assert other.tick().run_requests[0].run_key != request.run_key


def test_a_repair_that_failed_is_asked_for_again_after_a_while(
    sensor: Any, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange was away for longer than a run waits: each failed run asks for one more, until one succeeds."""
    tags = {"kalshi/hour": "2026-11-20T12:00:00+00:00", "kalshi/channel": "trade"}
    config = {"ops": {"repair_gaps": {"config": {"hour": tags["kalshi/hour"], "channel": "trade"}}}}
    failed = instance.create_run_for_job(REPAIR, status=dg.DagsterRunStatus.FAILURE, tags=tags, run_config=config)
    watch = sensor(uncovered_gaps)
    assert isinstance(watch.tick(), dg.SkipReason), "not at once"
    monkeypatch.setattr("kalshi_platform.defs.sensors.gaps._PAUSE", timedelta(0))
    (request,) = watch.tick().run_requests
    assert failed.run_id in str(request.run_key)
    assert tags.items() <= request.tags.items()
    assert request.run_config == config
    instance.create_run_for_job(REPAIR, status=dg.DagsterRunStatus.SUCCESS, tags=tags, run_config=config)
    assert isinstance(watch.tick(), dg.SkipReason)


def test_a_repair_that_fails_for_good_is_given_up_two_days_after_the_first(
    sensor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a chosen clock, each run as the tick before asked for it: the last one, however young, asks for no other."""
    began = datetime.now(UTC)

    class Clock(datetime):
        after = timedelta(0)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return began.astimezone(tz) + cls.after

    monkeypatch.setattr("kalshi_platform.defs.sensors.gaps.datetime", Clock)
    tags: Any = {"kalshi/hour": "2026-11-20T12:00:00+00:00", "kalshi/channel": "trade"}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        watch = sensor(uncovered_gaps)
        watch.instance = instance
        for hours in (0, 12, 24, 36, 47, 47.8):
            asked = began + timedelta(hours=hours)
            run = dg.DagsterRun(job_name=REPAIR.name, status=dg.DagsterRunStatus.FAILURE, tags=tags)
            instance.run_storage.add_historical_run(run, asked)
            Clock.after = timedelta(hours=hours, minutes=31)
            result = watch.tick()
            if hours < 47.5:
                tags = result.run_requests[0].tags
    assert isinstance(result, dg.SkipReason)


@pytest.mark.parametrize("definition", [late_rows, sync_lag, uncovered_gaps], ids=lambda one: one.name)
def test_without_a_database_they_skip_in_plain_words(
    definition: Any, instance: dg.DagsterInstance, lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A fresh clone has no production; that is not a failure every thirty seconds."""
    from kalshi_platform.defs.resources import default_resources

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KALSHI_PRODUCTION_DATABASE_URL", raising=False)
    for table in STREAM_TABLES:
        write_partition(lake, RAW[table.name], RAW[table.name].period.floor(datetime.now(UTC)), [])
    given = {**default_resources(), "lake": {"root": lake.root}}
    from kalshi_platform.defs.resources import LakeFolder

    given["lake"] = LakeFolder(root=lake.root)
    result = Sensor(definition, instance, given).tick()
    assert "KALSHI_PRODUCTION_DATABASE_URL is not set" in str(result.skip_message)


def _said(instance: dg.DagsterInstance, key: str, *, passed: bool, severity: Any = dg.AssetCheckSeverity.ERROR) -> None:
    """A run has looked at an hour."""
    said_by_a_run(
        instance, dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["raw", "tickers"]), check_name="coverage", passed=passed, metadata={},
            severity=severity, description=f"{key}: 3 rows are missing", partition=key,
        )
    )  # fmt: skip


NOON = datetime(2026, 9, 20, 12, tzinfo=UTC)
HOURS = [f"2026-11-20-{hour:02}:00" for hour in range(24)]


def test_a_check_is_told_of_when_its_outcome_changes(sensor: Any, tmp_path: Any) -> None:
    """Failing again is no news, also after a restart. On a folder's SQLite, which answers fewer questions."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        checks = sensor(check_failures)
        checks.instance = instance
        error, warning = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
        for passed, severity, levels in (
            (True, error, []),
            (False, error, [Level.ERROR]),
            (False, error, []),
            (True, error, [Level.RESOLVED]),
            (False, warning, [Level.WARNING]),
        ):
            _said(instance, HOURS[12], passed=passed, severity=severity)
            checks.alerts.clear()
            checks.tick()
            assert [alert.level for alert in checks.alerts] == levels
            assert all(alert.text == f"{HOURS[12]}: 3 rows are missing" for alert in checks.alerts)
        assert json.loads(str(checks.cursor))["failing"] == {"raw/tickers:coverage": [HOURS[12]]}


def test_partitions_that_fail_do_not_hide_each_other(sensor: Any, instance: dg.DagsterInstance) -> None:
    """An hour that passes says nothing of the one before it; the check is well when none of them fails."""
    checks = sensor(check_failures)

    def told(*hours: tuple[str, bool]) -> list[tuple[Level, str]]:
        for key, passed in hours:
            _said(instance, key, passed=passed)
        checks.alerts.clear()
        checks.tick()
        return [(alert.level, alert.title) for alert in checks.alerts]

    name = "raw/tickers:coverage"
    assert told((HOURS[1], False), (HOURS[2], True)) == [(Level.ERROR, f"{name} ({HOURS[1]}) fails")]
    assert told((HOURS[3], False)) == [(Level.ERROR, f"{name} ({HOURS[3]}) fails")]
    assert told((HOURS[4], True)) == []
    assert told((HOURS[1], True)) == [], "one of two"
    assert told((HOURS[3], True)) == [(Level.RESOLVED, f"{name} passes again")]
    many = told(*((key, False) for key in HOURS[:8]))
    assert many == [(Level.ERROR, f"{name} ({', '.join(HOURS[:5])}, 3 more) fails")]
    assert checks.alerts[0].text.endswith("… and 3 more partitions")
    assert told((HOURS[1], False)) == []


@pytest.mark.slow
def test_however_many_fail_each_is_told_once(sensor: Any, instance: dg.DagsterInstance) -> None:
    """What nobody heard fails for good, and is no news at each look."""
    checks = sensor(check_failures)
    hours = [f"{NOON + timedelta(hours=nth):%Y-%m-%d-%H:00}" for nth in range(1_001)]
    for key in reversed(hours):  # the earliest was looked at last
        _said(instance, key, passed=False)
    for _ in range(2):
        checks.tick()
    assert [alert.title.endswith("996 more) fails") for alert in checks.alerts] == [True]


def test_what_a_run_of_several_says_in_sum_is_no_outcome(sensor: Any, instance: dg.DagsterInstance) -> None:
    """Each of its partitions is told of; the sum of them would be told twice."""
    _said(instance, HOURS[1], passed=False)
    together = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(["raw", "tickers"]), check_name="coverage", passed=False, metadata={}
    )
    said_by_a_run(instance, together)
    checks = sensor(check_failures)
    checks.tick()
    assert [alert.title for alert in checks.alerts] == [f"raw/tickers:coverage ({HOURS[1]}) fails"]


@pytest.mark.parametrize(
    "cursor",
    ['["raw/tickers:coverage"]', '{"seen": 0, "failing": ["raw/tickers:coverage"]}', "12", "null", "an old one"],
)
def test_a_cursor_of_an_older_version_is_begun_anew(cursor: str, sensor: Any, tmp_path: Path) -> None:
    """It told of checks by their names alone; what fails is told once more, and the sensor goes on."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        checks = sensor(check_failures)
        checks.instance, checks.cursor = instance, cursor
        _said(instance, HOURS[12], passed=False)
        for _ in range(2):
            checks.tick()
        assert [alert.title for alert in checks.alerts] == [f"raw/tickers:coverage ({HOURS[12]}) fails"]


def test_a_check_that_nobody_could_be_told_of_is_told_again(sensor: Any, instance: dg.DagsterInstance) -> None:
    """The cursor stays where it is."""
    _said(instance, HOURS[12], passed=False)
    checks = sensor(check_failures)
    with pytest.raises(AlertError):
        checks.tick(alerts=Told(broken=True))
    checks.tick()
    assert [alert.title for alert in checks.alerts] == [f"raw/tickers:coverage ({HOURS[12]}) fails"]
