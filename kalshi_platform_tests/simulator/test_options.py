import ast
import inspect
from typing import Any

import pytest

from kalshi_platform.simulator import SimulatorOptions


@pytest.mark.parametrize(
    "wrong",
    [{"markets": 0}, {"rate": -1.0}, {"port": 70_000}, {"heartbeat_seconds": 0.0}, {"connection_cap": 0}],
    ids=str,
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    """An option that cannot work is refused by its name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SimulatorOptions(**wrong)


def test_every_field_is_documented() -> None:
    """The command line takes its help from the text under each field."""
    (body,) = ast.parse(inspect.getsource(SimulatorOptions)).body
    assert isinstance(body, ast.ClassDef)
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
