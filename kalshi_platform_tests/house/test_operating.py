"""What an operator installs beside the code: alert rules and the systemd unit, held against the code."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kalshi_platform.core.errors import Reason
from kalshi_platform.core.records import TABLE_OF
from kalshi_platform.gatherer import daemon
from kalshi_platform.service.lifecycle import EXIT_CONFIGURATION
from kalshi_platform.service.metrics import MaintenanceMetrics
from kalshi_platform_tests.deduplicator.rows import sync_loops
from kalshi_platform_tests.gatherer.exchange_at_hand import gatherer, keys

_ROOT = Path(__file__).parents[2]
_LABELS = {
    name: {"instance", "job", *re.findall(r"`(\w+)`", labels)}
    for name, labels in re.findall(
        r"^\| `(kalshi_\w+)` \| \w+ \| ([^|]*) \|", (_ROOT / "README.md").read_text(), re.MULTILINE
    )
}
"""Of each metric, by the README's table, which `test_readme` holds against the code."""
_PROMETHEUS = _ROOT / "deploy/prometheus"
_RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((_PROMETHEUS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
_PROMTOOL = shutil.which("promtool")


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule["alert"])
def test_each_alert_looks_at_what_is_there_and_says_what_to_do(rule: dict[str, Any]) -> None:
    """One on a metric or a label that nobody emits would be silent for ever."""
    metrics = set(re.findall(r"\bkalshi_\w+", rule["expr"])) or {"up"}
    assert metrics <= _LABELS.keys() | {"up"}
    labels = {"instance", "job"}.union(*(_LABELS.get(name, ()) for name in metrics))
    for used in re.findall(r"\b(?:by|on) \(([^)]*)\)|\$labels\.(\w+)", rule["expr"] + rule["annotations"]["summary"]):
        assert set(filter(None, re.split(r"\W+", " ".join(used)))) <= labels
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["action"]


def test_what_alerts_count_begins_before_anything_has_happened(tmp_path: Path) -> None:
    """A series that begins with 1 has no increase: of every daemon, each is there with 0 for each value of a label."""
    private, _ = keys(tmp_path)
    nowhere = "postgresql://none"
    one = gatherer(nowhere, "http://127.0.0.1:9", "ws://127.0.0.1:9", private)
    (loop,) = sync_loops({"gatherer-1": nowhere}, nowhere)
    registries = (one.metrics.registry, loop._metrics.registry, MaintenanceMetrics().registry)
    begun = [sample for registry in registries for family in registry.collect() for sample in family.samples]
    at_zero = {sample.name for sample in begun if sample.value == 0}
    counted = {name for rule in _RULES for name in re.findall(r"\b(?:increase|rate)\((\w+)", rule["expr"])}
    assert len(counted) >= 7
    assert counted <= at_zero

    def values(name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in begun if sample.name == f"kalshi_gatherer_{name}_total"}

    roles = {"lifecycle", "trade", "ticker", "orderbook"}
    assert (values("frames", "role"), values("connection_crashes", "role")) == (roles, roles)
    assert values("rejected_frames", "reason") == {*Reason}
    assert values("refused_rows", "table") == {table.name for table in TABLE_OF.values()}


@pytest.mark.skipif(_PROMTOOL is None, reason="needs promtool (Debian: prometheus)")
def test_each_alert_is_raised_by_what_it_is_for() -> None:
    """Prometheus's own judge: silent while all is well, and each of them raised once."""
    assert _PROMTOOL
    cases = (_PROMETHEUS / "alerts.test.yaml").read_text()
    assert [rule["alert"] for rule in _RULES if f'alertname="{rule["alert"]}"' not in cases] == []
    said = subprocess.run(
        [_PROMTOOL, "test", "rules", "alerts.test.yaml"], cwd=_PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_unit_ends_as_daemons_do() -> None:
    """It gives a gatherer the time to drain, and leaves alone what a person must mend."""
    unit = dict(re.findall(r"^(\w+)=(.*)$", (_ROOT / "deploy/systemd/kalshi@.service").read_text(), re.MULTILINE))
    assert float(unit["TimeoutStopSec"]) > daemon._DRAIN_SECONDS
    assert int(unit["RestartPreventExitStatus"]) == EXIT_CONFIGURATION
    assert unit["Restart"] == "always"
