"""What an operator installs beside the code: alert rules and the systemd unit, held against the code."""

import re
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
_RULES: list[dict[str, Any]] = yaml.safe_load((_ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"][0][
    "rules"
]


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule["alert"])
def test_each_alert_looks_at_what_is_there_and_says_what_to_do(rule: dict[str, Any]) -> None:
    """One on a metric or a label that nobody emits would be silent for ever."""
    metrics = set(re.findall(r"\bkalshi_\w+", rule["expr"])) or {"up"}
    assert metrics <= _LABELS.keys() | {"up"}
    labels = {"instance", "job"}.union(*(_LABELS.get(name, ()) for name in metrics))
    for used in re.findall(r"\b(?:by|on) \(([^)]*)\)|\$labels\.(\w+)", rule["expr"] + rule["annotations"]["summary"]):
        assert set(filter(None, re.split(r"\W+", " ".join(used)))) <= labels
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["do"]


def test_the_unit_ends_as_daemons_do() -> None:
    """It gives a gatherer the time to drain, and leaves alone what a person must mend."""
    unit = dict(re.findall(r"^(\w+)=(.*)$", (_ROOT / "deploy/systemd/kalshi@.service").read_text(), re.MULTILINE))
    assert float(unit["TimeoutStopSec"]) > daemon._DRAIN_SECONDS
    assert int(unit["RestartPreventExitStatus"]) == EXIT_CONFIGURATION
    assert unit["Restart"] == "always"
