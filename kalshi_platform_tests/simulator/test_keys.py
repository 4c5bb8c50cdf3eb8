from pathlib import Path

import pytest

from kalshi_platform.simulator import write_key_pair
from kalshi_platform.simulator.keys import KeyKind, read_public_key


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_private_half_is_private(kind: KeyKind, tmp_path: Path) -> None:
    """Only the owner may read the private key; the public one is of the asked kind."""
    write_key_pair(tmp_path / "private", tmp_path / "public", kind)
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
    assert kind in type(read_public_key(tmp_path / "public")).__name__.lower()


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    """An existing private key stays what it is."""
    (tmp_path / "private").write_text("precious")
    with pytest.raises(FileExistsError):
        write_key_pair(tmp_path / "private", tmp_path / "public")
    assert (tmp_path / "private").read_text() == "precious"
