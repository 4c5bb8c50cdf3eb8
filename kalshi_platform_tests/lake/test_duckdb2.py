"""The reading side on DuckDB 2.0, whose Python API breaks what 1.x allowed; in a process of its own, beside 1.5.5.

`run.py test` puts it into the environment's folder `duckdb2`, where nothing else finds it.
"""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from kalshi_platform.lake.layout import Lake
from kalshi_platform_tests.lake.invented import write_invented

pytestmark = pytest.mark.slow

ASKED = """
import sys
from datetime import datetime, timedelta, UTC
import duckdb
from kalshi_platform.lake import book_at, books, books_at, candles, connect, coverage, trades
from kalshi_platform.lake.aggregates import AGGREGATE_NAMES, aggregate_sql
lake, noon = connect(sys.argv[1]), datetime(2026, 11, 20, 12, tzinfo=UTC)
moment, hour, day = noon + timedelta(minutes=31), timedelta(hours=1), noon.replace(hour=0)
ticker = "KXA-26NOV20-T1"
book = book_at(lake, ticker, moment)
told = lake.execute("FROM book_at(?, ?)", [ticker, moment]).fetchall()
print(duckdb.__version__)
print(book.yes, book.no, book.is_covered)
print(told)
print(books(lake, ticker, noon, noon + hour, hour / 6).fetchall())
print(books_at(lake, moment).fetchall())
print(len(trades(lake, ticker, noon, noon + hour).to_arrow_table()))
print(coverage(lake, ticker, noon, noon + hour).fetchall(), candles(lake, ticker, noon, noon + hour).fetchall())
for name in AGGREGATE_NAMES:
    start, end = (noon, noon + hour) if name == "best_bid_offer" else (day, day + 24 * hour)
    print(sorted(map(str, lake.sql(aggregate_sql(name, start, end)).fetchall())))
"""


def test_duckdb_2_tells_the_same(tmp_path: Path, noon: datetime) -> None:
    """Every question and every aggregate, on both versions, over the same files."""
    newer = Path(sys.prefix) / "duckdb2"
    if not newer.is_dir():
        pytest.skip("needs DuckDB 2.0, as python3 run.py test installs it")
    write_invented(Lake(tmp_path / "lake"), noon)
    first, *ours = _asked(tmp_path / "lake", "")
    second, *theirs = _asked(tmp_path / "lake", str(newer))
    assert (first, second.split(".")[0]) == ("1.5.5", "2")
    assert ours == theirs


def _asked(root: Path, path: str) -> list[str]:
    house = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part for part in (path, house) if part)}
    command = [sys.executable, "-c", ASKED, str(root)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
