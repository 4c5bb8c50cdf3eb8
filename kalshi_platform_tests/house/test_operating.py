"""What an operator installs beside the code: alert rules and the systemd unit, held against the code."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kalshi_platform.gatherer import daemon
from kalshi_platform.service.lifecycle import EXIT_CONFIGURATION

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
