import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.checks.all import SPECS
from kalshi_platform.defs.checks.verdict import WHAT_TO_DO
from kalshi_platform.defs.resources import LakeFolder

SYNCED = {"series", "events", "markets"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def repository() -> Any:
    """The code location as Dagster resolves it."""
    return build_defs().get_repository_def()


def test_everything_resolves() -> None:
    """Keys, dependencies, resources and partitions fit together."""
    dg.Definitions.validate_loadable(build_defs())


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_lineage_reads_from_production_to_raw(repository: Any, table: Any) -> None:
    """Each raw asset follows from its table, hour by hour."""
    raw = repository.asset_graph.get(dg.AssetKey(["raw", table.name]))
    production = repository.asset_graph.get(dg.AssetKey(["production", table.name]))
    assert raw.parent_keys == {production.key}
    assert raw.partitions_def == production.partitions_def
    assert production.is_external


def test_every_asset_introduces_itself(repository: Any) -> None:
    """Owner, group, kinds, description and columns are there before the first run."""
    for key in repository.asset_graph.get_all_asset_keys():
        node = repository.asset_graph.get(key)
        assert node.owners == ["team:market-data"]
        assert node.group_name == (
            "metadata" if key.path[-1] in SYNCED and key.path[0] == "production" else key.path[0]
        )
        assert node.description
        assert any(tag.startswith("dagster/kind/") for tag in node.tags)
        if node.group_name in ("exchange", "reports"):  # what others keep, and pages, have no columns of ours
            continue
        columns = node.metadata["dagster/column_schema"]
        columns = getattr(columns, "schema", columns).columns
        assert columns
        assert all(column.description for column in columns)


def test_every_check_says_what_to_do_in_the_words_of_the_docs() -> None:
    """In the definition, in each verdict that is not good, and in docs/dagster.md."""
    docs = (ROOT / "docs" / "dagster.md").read_text().splitlines()
    for spec in SPECS:
        what_to_do = spec.metadata[WHAT_TO_DO]
        rows = [line for line in docs if line.startswith(f"| `{spec.name}`")]
        assert any(line.endswith(f"| {what_to_do} |") for line in rows), (spec.key.to_user_string(), what_to_do)
        assert spec.description


def test_resources_given_take_the_place_of_the_default_ones(tmp_path: Path) -> None:
    """The others stay."""
    folder = LakeFolder(root=str(tmp_path))
    resources = build_defs({"lake": folder}).resources
    assert resources is not None
    assert resources["lake"] is folder
    assert "production" in resources


def test_definitions_load_without_a_database_and_are_short() -> None:
    """The entry point only assembles, and warns of nothing."""
    source = (ROOT / "kalshi_platform" / "definitions.py").read_text()
    assert len(source.splitlines()) < 40
    code = "from kalshi_platform.definitions import defs; assert defs"
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, env=environment, check=True, timeout=60)
