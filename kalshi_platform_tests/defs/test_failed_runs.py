"""Failed runs: what people are told of them, and when."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.defs.repair import REPAIR
from kalshi_platform.defs.sensors.failed_runs import run_failures
from kalshi_platform.service.alerts import AlertError, Level
from kalshi_platform_tests.defs.sensor_at_hand import Told


@dg.asset(key=["raw", "thing"])
def thing() -> None:
    """Fails."""
    raise dg.Failure("the lake is full")


@dg.asset(key=["raw", "thing"])
def mended() -> None:
    """The same, when it works."""


def run_of(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> str:
    """As its page starts one; returns the run's id."""
    job = dg.Definitions(assets=[asset]).get_repository_def().get_implicit_job_def_for_assets([asset.key])
    assert job is not None
    return job.execute_in_process(
        instance=instance, asset_selection=[asset.key], raise_on_error=False
    ).dagster_run.run_id


def test_what_fails_is_told_once_and_again_when_it_works(
    sensor: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a run with its assets and the reason, however deep that lies; people hear of the first one alone."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        watch = sensor(run_failures)
        watch.instance = instance
        watch.tick()
        first, second = (run_of(thing, instance) for _ in range(2))
        for _ in range(2):
            watch.tick()
        lines = [line for line in capsys.readouterr().err.splitlines() if "the lake is full" in line]
        for run_id in (first, second):
            assert sum(f"run {run_id} of raw/thing failed" in line for line in lines) == 1
        assert [(one.level, one.title) for one in watch.alerts] == [(Level.ERROR, "run of raw/thing failed")]
        assert "thing: dagster._core.definitions.events.Failure: the lake is full" in watch.alerts[0].text
        assert "Nobody asks for it again" in watch.alerts[0].text
        run_of(mended, instance)
        for _ in range(2):
            watch.tick()
        assert [one.level for one in watch.alerts] == [Level.ERROR, Level.RESOLVED]
        assert len({one.key for one in watch.alerts}) == 1, "one incident"
        run_of(thing, instance)
        watch.tick()
        assert watch.alerts[-1].level is Level.ERROR, "news again"


def test_a_job_that_fails_every_five_minutes_is_one_incident(sensor: Any, tmp_path: Path) -> None:
    """Until it succeeds; one hour of one channel does not stand for another."""
    config = {"ops": {"repair_gaps": {"config": {"hour": "2026-11-20T12:00:00+00:00", "channel": "trade"}}}}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        watch = sensor(run_failures)
        watch.instance = instance
        watch.tick()
        for hour in ("12", "12", "13"):
            instance.create_run_for_job(
                REPAIR, status=dg.DagsterRunStatus.FAILURE, tags={"kalshi/hour": hour}, run_config=config
            )
        watch.tick()
        assert [one.title for one in watch.alerts] == ["run of repair (12) failed", "run of repair (13) failed"]
        assert "asks for it again" in watch.alerts[0].text
        instance.create_run_for_job(
            REPAIR, status=dg.DagsterRunStatus.SUCCESS, tags={"kalshi/hour": "12"}, run_config=config
        )
        watch.tick()
        assert [one.title for one in watch.alerts[2:]] == ["repair (12) works again"]


def test_a_failed_run_that_nobody_could_be_told_of_is_told_again(sensor: Any, tmp_path: Path) -> None:
    """The tick fails, and the next one tells."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        watch = sensor(run_failures)
        watch.instance = instance
        watch.tick()
        run_of(thing, instance)
        with pytest.raises(AlertError):
            watch.tick(alerts=Told(broken=True))
        watch.tick()
        assert [one.title for one in watch.alerts] == ["run of raw/thing failed"]
