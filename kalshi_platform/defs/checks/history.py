"""History: what checks said, out of Dagster's own record.

- Add here: questions to that record.
- Keep out: what follows from the answers (`sensors.failed_checks`, `report`).
- A check with partitions has an outcome for each; what it said of several at once (`partitioned`) is not another one.
- Dagster has no public way to evaluations but `get_event_records`, which is going away and which SQLite, the storage of
  `dagster dev`, refuses: this asks the storage, as the UI does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

_MOST = 1_000
_AGAIN = 1_000
"""Events that are looked at again: the storage numbers them when they begin to be written, not when they are there."""

_ENDED = {AssetCheckExecutionRecordStatus.SUCCEEDED: True, AssetCheckExecutionRecordStatus.FAILED: False}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check last said of one partition.

    Attributes:
        check: Which check.
        partition: Of which partition; None where the check has none.
        passed: What it said.
        event: Its number in Dagster's record.
    """

    check: dg.AssetCheckKey
    partition: str | None
    passed: bool
    event: int


def outcomes(instance: dg.DagsterInstance, specs: Sequence[dg.AssetCheckSpec], after: int) -> Iterator[Outcome]:
    """The latest outcome of each check and partition that may have changed after an event; not what is being run."""
    is_cut = {spec.key: spec.partitions_def is not None for spec in specs}
    found = instance.event_log_storage.get_asset_check_partition_info(
        list(is_cut), after_storage_id=max(0, after - _AGAIN)
    )
    for one in found:
        passed = _ENDED.get(one.latest_execution_status)
        if passed is not None and is_cut[one.check_key] is (one.partition_key is not None):
            yield Outcome(one.check_key, one.partition_key, passed, one.latest_check_event_storage_id)


def said(instance: dg.DagsterInstance, outcome: Outcome) -> dg.AssetCheckEvaluation | None:
    """The evaluation behind an outcome, unless it is being run again just now."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        outcome.check, limit=1, partition_filter=PartitionKeyFilter(key=outcome.partition)
    )
    return next((found for _, found in _evaluations(records)), None)


def between(
    instance: dg.DagsterInstance, specs: Sequence[dg.AssetCheckSpec], start: datetime, end: datetime
) -> Iterator[dg.AssetCheckEvaluation]:
    """The evaluations of a window, check by check, oldest first; of the latest thousand of each."""
    for spec in specs:
        records = instance.event_log_storage.get_asset_check_execution_history(spec.key, limit=_MOST)
        for moment, found in _evaluations(reversed(records)):
            is_outcome = (spec.partitions_def is not None) is (found.partition is not None)
            if is_outcome and start.timestamp() <= moment < end.timestamp():
                yield found


def _evaluations(records: Iterable[AssetCheckExecutionRecord]) -> Iterator[tuple[float, dg.AssetCheckEvaluation]]:
    for record in records:
        event = record.event.dagster_event if record.event else None
        if event is not None and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            yield record.create_timestamp, event.asset_check_evaluation_data
