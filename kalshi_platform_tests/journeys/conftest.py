"""A folder for everything that a journey leaves behind."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL may enter too when the tests run as root; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="kalshi-journey-") as name:
        Path(name).chmod(0o711)
        yield Path(name)
