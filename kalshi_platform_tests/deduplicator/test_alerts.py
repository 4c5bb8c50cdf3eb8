"""The rules for Prometheus ask for metrics that there are, and the page explains each."""

import re
from pathlib import Path

import yaml

from kalshi_platform.service.metrics import DeduplicatorMetrics

_ROOT = Path(__file__).parents[2]
_GROUPS = yaml.safe_load((_ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
_RULES = next(group["rules"] for group in _GROUPS if group["name"] == "deduplicator")


def test_each_rule_is_explained_and_says_what_to_do() -> None:
    """Name and condition stand in docs/cursor.md as they are."""
    page = (_ROOT / "docs/cursor.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| ", page.partition("# Alerts")[2], re.MULTILINE)
    assert told == [(rule["alert"], rule["expr"]) for rule in _RULES]
    assert all(set(rule["annotations"]) == {"summary", "action"} for rule in _RULES)


def test_rules_ask_for_metrics_that_there_are() -> None:
    """A misspelt name is no error to Prometheus: the alert would be silent for ever."""
    families = list(DeduplicatorMetrics().registry.collect())
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    asked = {name for rule in _RULES for name in re.findall(r"kalshi_\w+", rule["expr"])}
    assert asked
    assert asked <= names
    labels = {label for rule in _RULES for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))}
    assert labels <= {"gatherer", "table", "channel"}
