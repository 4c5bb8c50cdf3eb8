from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.footer import Footer, read_footer
from kalshi_platform.lake.layout import HOUR, Lake

DELTAS = RAW["orderbook_deltas"]


def _foreign(path: str, metadata: dict[str, str]) -> None:
    Path(path).parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), path)


def test_a_missing_partition_has_no_footer(lake: Lake, noon: datetime) -> None:
    """What is not there says nothing."""
    assert read_footer(lake, DELTAS, noon) is None


def test_a_foreign_file_is_refused(lake: Lake, noon: datetime) -> None:
    """A file that does not name its window cannot be trusted to hold all of it."""
    _foreign(lake.path(DELTAS, noon), {})
    with pytest.raises(IntegrityError, match="was not written by this platform"):
        read_footer(lake, DELTAS, noon)


def test_a_footer_in_which_a_bit_fell_over_is_refused(lake: Lake, noon: datetime) -> None:
    """A time that is none, a number that is none."""
    good = Footer("orderbook_deltas", noon, noon + HOUR, 1).as_metadata()
    _foreign(lake.path(DELTAS, noon), good | {"kalshi_platform.window_end": "2026-11-2p"})
    with pytest.raises(IntegrityError, match="does not name its window in words of ours"):
        read_footer(lake, DELTAS, noon)


def test_rows_that_differ_from_the_footer_are_refused(lake: Lake, noon: datetime) -> None:
    """A file that somebody changed no longer holds what it says."""
    _foreign(lake.path(DELTAS, noon), Footer("orderbook_deltas", noon, noon + HOUR, 2).as_metadata())
    with pytest.raises(IntegrityError, match="holds 1 rows and says 2"):
        read_footer(lake, DELTAS, noon)


def test_a_file_that_is_cut_off_is_said_in_words(lake: Lake, noon: datetime) -> None:
    """Whoever looks at many files can go on with the next."""
    path = Path(lake.path(DELTAS, noon))
    _foreign(str(path), {})
    for left in (path.stat().st_size // 2, 0):
        path.write_bytes(path.read_bytes()[:left])
        with pytest.raises(IntegrityError, match="cannot be read"):
            read_footer(lake, DELTAS, noon)
