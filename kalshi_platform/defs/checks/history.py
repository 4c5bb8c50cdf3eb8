"""History: what checks said, out of Dagster's own record.

- Add here: questions to that record.
- Keep out: what follows from the answers (`sensors.failures`, `report`).
- Dagster has no public way to evaluations but `get_event_records`, which is going away and which SQLite, the storage of
  `dagster dev`, refuses: this asks the storage, as the UI does.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

_MOST = 1_000


def latest(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> Iterator[tuple[float, dg.AssetCheckEvaluation]]:
    """The last evaluation of each check that has one and is not being run just now, with its Unix time."""
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys))
    yield from _evaluations(records.values())


def between(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey], start: datetime, end: datetime
) -> Iterator[dg.AssetCheckEvaluation]:
    """The evaluations of a window, check by check, oldest first; of the latest thousand of each."""
    for key in keys:
        records = instance.event_log_storage.get_asset_check_execution_history(key, limit=_MOST)
        for moment, found in _evaluations(reversed(records)):
            if start.timestamp() <= moment < end.timestamp():
                yield found


def _evaluations(records: Iterable[AssetCheckExecutionRecord]) -> Iterator[tuple[float, dg.AssetCheckEvaluation]]:
    for record in records:
        event = record.event.dagster_event if record.event else None
        if event is not None and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            yield record.create_timestamp, event.asset_check_evaluation_data
