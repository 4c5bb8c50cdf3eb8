"""Everything that an operator finds in the code location, as one text: a change of it is a change for people."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kalshi_platform.defs.build import build_defs

SNAPSHOT = Path(__file__).with_name("definitions.txt")


def test_the_code_location_is_what_people_know() -> None:
    """Keys, partitions, checks, jobs, sensors, schedules; `KALSHI_TEST_SNAPSHOT=write` accepts what has changed."""
    now = "\n".join(_lines(build_defs().get_repository_def())) + "\n"
    if os.environ.get("KALSHI_TEST_SNAPSHOT") == "write":
        SNAPSHOT.write_text(now)
    assert now == SNAPSHOT.read_text()


def _lines(repository: Any) -> Iterator[str]:
    graph = repository.asset_graph
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        cut = type(node.partitions_def).__name__.removesuffix("PartitionsDefinition").lower()
        kind = "external" if node.is_external else "made here"
        yield f"asset {key.to_user_string()}: {node.group_name}, {kind}" + (f", {cut}" if node.partitions_def else "")
    for key in sorted(graph.asset_check_keys):
        blocking = ", blocking" if graph.get(key).blocking else ""
        yield f"check {key.to_user_string()}{blocking}"
    yield from sorted(f"job {job.name}" for job in repository.get_all_jobs() if not job.name.startswith("__"))
    yield from sorted(f"sensor {sensor.name}, {sensor.default_status.value}" for sensor in repository.sensor_defs)
    yield from sorted(f"schedule {one.name}: {one.cron_schedule}" for one in repository.schedule_defs)
