import ast
from pathlib import Path

import kalshi_platform.simulator

PACKAGE = "kalshi_platform"
ROOM = f"{PACKAGE}.simulator"


def test_the_simulator_imports_nothing_of_the_platform() -> None:
    """A bug shared with the platform would hide on both sides, so not even the core is imported."""
    imported: set[str] = set()
    for path in Path(kalshi_platform.simulator.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path.name}: a relative import hides where it leads"
                imported.add(node.module or "")
    ours = {name for name in imported if name.split(".")[0] == PACKAGE}
    assert ours
    assert {name for name in ours if name != ROOM and not name.startswith(f"{ROOM}.")} == set()
