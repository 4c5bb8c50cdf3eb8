from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS
from kalshi_platform.defs.checks.history import outcomes, said
from kalshi_platform.defs.checks.parity import PARITY_CHECKS
from kalshi_platform.defs.lake import RAW_ASSETS, raw_key
from kalshi_platform.defs.resources import ProductionDatabase
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake

KEY = "2026-11-20-12:00"
ASSET = next(asset for asset in RAW_ASSETS if asset.key == raw_key(ORDERBOOK_DELTAS))
CHECK = next(check for check in PARITY_CHECKS if check.check_key.asset_key == raw_key(ORDERBOOK_DELTAS))
RANGE = {
    "dagster/asset_partition_range_start": "2026-11-20-11:00",
    "dagster/asset_partition_range_end": "2026-11-20-13:00",
}


@dataclass
class Export:
    """Exports hours and checks them; `between` happens after the export and before the check."""

    resources: dict[str, Any]
    instance: dg.DagsterInstance

    def __call__(self, between: Callable[[], None] = lambda: None, **where: Any) -> dg.AssetCheckEvaluation:
        """Runs as Dagster does; returns what the check found."""

        class Meddled(ProductionDatabase):
            """The same database, to which something happens before it is counted."""

            def count_window(self, *window: Any) -> int:
                between()
                return super().count_window(*window)

        given = self.resources | {"production": Meddled(url=self.resources["production"].url)}
        return self._evaluation([ASSET, CHECK], given, **where)

    def _evaluation(self, definitions: list[Any], resources: Any, **where: Any) -> dg.AssetCheckEvaluation:
        result = dg.materialize(definitions, resources=resources, instance=self.instance, raise_on_error=False, **where)
        evaluation = result.get_asset_check_evaluations()[-1]
        assert result.success is evaluation.passed  # a failed blocking check fails the run
        return evaluation


@pytest.fixture
def export(fill: Any, delta: Any, resources: dict[str, Any], instance: dg.DagsterInstance) -> Export:
    """Over an hour of production with two deltas."""
    fill(ORDERBOOK_DELTAS, delta(0), delta(1))
    return Export(resources, instance)


def test_an_hour_as_exported_passes(export: Export) -> None:
    """Both sides are counted and told."""
    evaluation = export(partition_key=KEY)
    assert evaluation.passed
    assert evaluation.blocking
    facts = {name: entry.value for name, entry in evaluation.metadata.items()}
    assert facts == {"production_rows": 2, "parquet_rows": 2}
    assert evaluation.partition == KEY


def test_rows_that_arrive_after_the_export_fail_it(export: Export, fill: Any, delta: Any) -> None:
    """The partition and both numbers are named, and the run fails, so that nothing builds on the file."""
    evaluation = export(lambda: fill(ORDERBOOK_DELTAS, delta(3_599_999)), partition_key=KEY)
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    assert evaluation.description == f"{KEY}: production has 3 rows, Parquet has 2 rows"
    assert export(partition_key=KEY).passed  # late rows need no more than another run


def test_a_missing_file_fails_it(export: Export, lake: Lake) -> None:
    """Of several hours, the one without a file is named; even an hour without rows must have one."""
    path = Path(lake.path(RAW[ORDERBOOK_DELTAS.name], datetime(2026, 11, 20, 13, tzinfo=UTC)))
    evaluation = export(lambda: path.unlink(missing_ok=True), tags=RANGE)
    assert evaluation.description == "2026-11-20-13:00: production has 0 rows, Parquet has no file"
    assert evaluation.metadata["partitions"].value == 3


def test_many_wrong_hours_are_counted_and_the_first_named(export: Export, lake: Lake) -> None:
    """A message stays readable."""
    day = RANGE | {"dagster/asset_partition_range_end": "2026-11-21-00:00"}
    folder = lake.folder(RAW[ORDERBOOK_DELTAS.name])
    description = export(lambda: rmtree(folder, ignore_errors=True), tags=day).description
    assert description is not None
    assert description.count("has no file") == 10
    assert description.endswith(" … and 3 more")  # the first was looked at before they vanished


def test_each_partition_of_a_run_has_its_own_verdict(
    export: Export, lake: Lake, instance: dg.DagsterInstance, resources: dict[str, Any]
) -> None:
    """A run of three, of which one is wrong: its page says so, and the others' say that they are right."""
    path = Path(lake.path(RAW[ORDERBOOK_DELTAS.name], datetime(2026, 11, 20, 13, tzinfo=UTC)))
    export(lambda: path.unlink(missing_ok=True), tags=RANGE)
    (spec,) = CHECK.check_specs
    found = {one.partition: (one.passed, said(instance, one)) for one in outcomes(instance, [spec], 0)}
    assert {key: passed for key, (passed, _) in found.items()} == {
        "2026-11-20-11:00": True, KEY: True, "2026-11-20-13:00": False,
    }  # fmt: skip
    assert {key: one.description for key, (_, one) in found.items() if one} == {
        "2026-11-20-11:00": "0 rows on both sides",
        KEY: "2 rows on both sides",
        "2026-11-20-13:00": "2026-11-20-13:00: production has 0 rows, Parquet has no file",
    }
    state = instance.event_log_storage.get_asset_check_state([(spec.key, spec.partitions_def)])[spec.key]
    left = {status.value: subset for status, subset in state.subsets.items() if not subset.is_empty}
    assert sorted(left) == ["FAILED", "SUCCEEDED"], "nothing stays planned"
    assert export(partition_key="2026-11-20-13:00").passed
    assert all(one.passed for one in outcomes(instance, [spec], 0)), "one partition made again is one verdict more"


def test_without_partitions_it_says_what_to_do(export: Export) -> None:
    """Dagster's button "Execute" starts such a run."""
    result = dg.materialize(
        [ASSET, CHECK], resources=export.resources, instance=export.instance, raise_on_error=False,
        selection=dg.AssetSelection.checks(CHECK),
    )  # fmt: skip
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "materialize those" in str(failure.step_failure_data.error)
