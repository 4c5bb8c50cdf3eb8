"""The README cannot rot: its tables are compared with the code."""

import re
from pathlib import Path

from typer.main import get_command

from kalshi_platform.cli.app import app
from kalshi_platform.core.schema import TABLES
from kalshi_platform.service.metrics import DeduplicatorMetrics, GathererMetrics, MaintenanceMetrics

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "README.md").read_text()
_PAGES = [
    _ROOT / "README.md",
    _ROOT / "CONTRIBUTING.md",
    *(_ROOT / "docs").glob("*.md"),
    *_ROOT.glob("*/README.md"),
    *_ROOT.glob("deploy/*/README.md"),
    _ROOT / "kalshi_platform/simulator/README.md",
]
_COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def test_every_metric_is_in_the_readme() -> None:
    """Name, type, labels and meaning, and no other metric."""
    rows = re.findall(r"^\| `(kalshi_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", _README, re.MULTILINE)
    kinds = (GathererMetrics(), DeduplicatorMetrics(), MaintenanceMetrics())
    expected = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            frozenset(getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())),
            family.documentation,
        )
        for one in kinds
        for collector in one.registry._collector_to_names
        for family in collector.collect()
    }
    told = {
        (name, kind, frozenset(re.findall(r"`(\w+)`", labels)), meaning.strip()) for name, kind, labels, meaning in rows
    }
    assert told == expected


def test_every_table_is_in_the_readme() -> None:
    """Name, place, key and meaning."""
    for table in TABLES:
        assert f"| `{table.name}` | {table.home.value} | `{', '.join(table.key)}` | {table.comment} |" in _README


def test_every_command_is_in_the_readme() -> None:
    """Whoever reads it knows what there is."""
    assert {name for name in _COMMANDS if f"kalshi-platform {name}" not in _README} == set()


def test_command_lines_that_are_shown_can_be_typed() -> None:
    """Each command and each of its options exists, on every page."""
    for page in _PAGES:
        for name, rest in re.findall(r"kalshi-platform ([a-z][a-z-]*)([^`\n|;#]*)", page.read_text()):
            known = {option for one in _COMMANDS[name].params for option in (*one.opts, *one.secondary_opts)}
            assert {"--help", *known} >= set(re.findall(r"(?<!\S)--[a-z][a-z-]+", rest)), f"{page.name}: {name}{rest}"


def test_links_lead_somewhere() -> None:
    """Relative links and pictures exist, on every page that people read."""
    for page in _PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
