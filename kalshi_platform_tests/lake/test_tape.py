"""Books of the recorded windows: from the lake, and from the tape by plain counting."""

import os
from datetime import timedelta
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pytest

from kalshi_platform.core.capture import HOUR_MS
from kalshi_platform.core.records import TABLE_OF
from kalshi_platform.lake.books import BookUnknown, book_at, books
from kalshi_platform.lake.datasets import COVERAGE, RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.lake.tape import EPOCH, STREAMS_OF_TAPE, Tape, folded, recorded, windows

pytestmark = pytest.mark.slow

INSTANTS = int(os.environ.get("KALSHI_TEST_INSTANTS", "100"))
"""Random moments of each window; the benchmarks' page says when it was run with 1,000."""

RAW_SNAPSHOTS = STREAMS_OF_TAPE[1]
AFTER_MS = 30_000
"""Moments are taken so far beyond a market's end, where its book is empty."""


def written(lake: Lake, tape: Tape) -> None:
    """Every hour and day of a tape, and what of it nobody heard."""
    for table in STREAMS_OF_TAPE:
        dataset = RAW[table.name]
        kept = [*tape.rows[table], *tape.rows[RAW_SNAPSHOTS]]  # an hour may hold no change, and the end of a market
        times = [row[row._fields.index(str(TABLE_OF[type(row)].time_column))] for row in kept]
        stamps = {dataset.period.floor(EPOCH + timedelta(microseconds=time)) for time in times}
        for start in sorted(stamps):
            write_partition(lake, dataset, start, tape.batches(table, start, dataset.end(start)))
    uncovered = COVERAGE["uncovered_intervals"]
    for day in lake.starts(RAW["orderbook_snapshots"]):
        holes = [gap for gap in tape.gaps if day <= gap[1] < uncovered.end(day)]
        rows = [
            {"hour": start.replace(minute=0, second=0, microsecond=0), "channel": "orderbook_delta", "ticker": ticker,
             "from_at": start, "until_at": until} for ticker, start, until in holes
        ]  # fmt: skip
        write_partition(lake, uncovered, day, [pa.RecordBatch.from_pylist(rows, uncovered.schema)])


@pytest.fixture(scope="module")
def tape_lake(tmp_path_factory: pytest.TempPathFactory) -> tuple[duckdb.DuckDBPyConnection, Tape, list[Path]]:
    """A lake of all nine windows as gatherers keep them, or of the two that tell most in a plain run."""
    shared = Path(__file__).parents[3] / "shared" / "data"
    if not shared.is_dir():
        pytest.skip("needs the recorded tape in ../shared/data")
    paths = windows(shared)
    if "KALSHI_TEST_INSTANTS" not in os.environ:
        paths = [path for path in paths if path.parent.name.endswith(("050000-00", "102030-30"))]
    tape = recorded(paths, HOUR_MS)
    lake = Lake(tmp_path_factory.mktemp("tape"))
    written(lake, tape)
    return connect(lake), tape, paths


def _span(tape: Tape, ticker: str) -> tuple[int, int]:
    """Milliseconds from the first snapshot on, and until the book has been empty for a while."""
    sent = [row.snapshot_ts for row in tape.rows[RAW_SNAPSHOTS] if row.ticker == ticker and row.source == "ws"]
    return min(sent) // 1000, max(sent) // 1000 + AFTER_MS


def test_books_equal_the_tape(tape_lake: tuple[duckdb.DuckDBPyConnection, Tape, list[Path]]) -> None:
    """At random moments the book from the lake is the book counted by hand, or the lake says that it cannot know.

    Pure SQL tells the same wherever a checkpoint lies behind.
    """
    connection, tape, paths = tape_lake
    told, refused, in_sql = 0, 0, 0
    for path in paths:
        ticker, book, random = path.parent.name, folded(path), Random(path.parent.name)  # noqa: S311 - moments
        first, last = _span(tape, ticker)
        for _ in range(INSTANTS):
            when = EPOCH + timedelta(milliseconds=random.randint(first, last))
            try:
                found = book_at(connection, ticker, when)
            except BookUnknown:
                assert any(name == ticker and low - SLACK <= when < high for name, low, high in tape.gaps), when
                refused += 1
                continue
            assert (dict(found.yes), dict(found.no)) == book.at(when), f"{ticker} at {when}"
            if found.checkpoint_ts <= when:
                levels = connection.execute("FROM book_at(?, ?)", [ticker, when]).fetchall()
                assert levels == [tuple(row.values()) for row in found.to_arrow_table().to_pylist()]
                in_sql += 1
            assert found.is_covered
            told += 1
    assert told > 0.9 * INSTANTS * len(paths)
    assert refused <= 0.1 * INSTANTS * len(paths)
    assert in_sql > 0.9 * told
    print(f"{told} books told ({in_sql} in SQL too), {refused} refused")  # noqa: T201 - what the report quotes


SLACK = timedelta(seconds=5)


def test_a_series_of_books_is_each_of_its_books(
    tape_lake: tuple[duckdb.DuckDBPyConnection, Tape, list[Path]],
) -> None:
    """Over a whole window with a reconnect in it: each known book is right, and what nobody heard is marked."""
    connection, tape, paths = tape_lake
    path = next(path for path in paths if path.parent.name.endswith("102030-30"))
    ticker, book = path.parent.name, folded(path)
    first, last = _span(tape, ticker)
    start, every = EPOCH + timedelta(milliseconds=first), timedelta(milliseconds=777)
    rows = books(connection, ticker, start, EPOCH + timedelta(milliseconds=last), every).to_arrow_table().to_pylist()
    assert [row["at"] for row in rows] == [start + nth * every for nth in range(len(rows))]
    ((_, low, high),) = [gap for gap in tape.gaps if gap[0] == ticker]
    for row in rows:
        assert row["is_known"] == (not low - SLACK <= row["at"] < high)
        if row["is_known"]:
            sides = [dict(zip(row[f"{side}_prices"], row[f"{side}_sizes"], strict=True)) for side in ("yes", "no")]
            assert tuple(sides) == book.at(row["at"])
