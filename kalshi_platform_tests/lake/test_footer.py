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


def test_rows_that_differ_from_the_footer_are_refused(lake: Lake, noon: datetime) -> None:
    """A file that somebody changed no longer holds what it says."""
    _foreign(lake.path(DELTAS, noon), Footer("orderbook_deltas", noon, noon + HOUR, 2).as_metadata())
    with pytest.raises(IntegrityError, match="holds 1 rows and says 2"):
        read_footer(lake, DELTAS, noon)
