"""The notebooks run from the first cell to the last, on an invented hour; they are kept without outputs."""

from datetime import datetime
from pathlib import Path

import pytest

from kalshi_platform.lake.layout import Lake
from kalshi_platform_tests.lake.invented import write_invented

nbformat = pytest.importorskip("nbformat", reason="needs the extra [notebooks]")
nbclient = pytest.importorskip("nbclient", reason="needs the extra [notebooks]")
pytest.importorskip("matplotlib", reason="needs the extra [notebooks]")

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    """Four, in the order in which to read them."""
    assert [path.stem[0] for path in NOTEBOOKS] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    """What it showed on somebody's data does not belong into the repository."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_notebooks_run(tmp_path: Path, noon: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each draws what it promises."""
    write_invented(Lake(tmp_path / "lake"), noon)
    monkeypatch.setenv("KALSHI_LAKE_URL", str(tmp_path / "lake"))
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        pictures = [output for output in outputs if "image/png" in output.get("data", {})]
        assert len(pictures) == {"1": 2, "2": 2, "3": 2, "4": 2}[path.stem[0]], path.stem
