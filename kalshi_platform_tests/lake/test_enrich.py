from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import ORDERBOOK_DELTAS
from kalshi_platform.lake import writer
from kalshi_platform.lake.datasets import PROCESSED, RAW, Period
from kalshi_platform.lake.enrich import known_markets, write_processed
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.manifest import Coverage, Uncovered, read_manifest
from kalshi_platform.lake.writer import write_partition

MakeBatch = Callable[..., pa.RecordBatch]
DELTAS, DONE = RAW["orderbook_deltas"], PROCESSED["orderbook_deltas"]


def markets(*rows: tuple[str, str | None, str | None]) -> pa.Table:
    """Markets with their events and series."""
    names = ("ticker", "event_ticker", "series_ticker")
    return pa.table({name: pa.array([row[n] for row in rows], pa.string()) for n, name in enumerate(names)})


KNOWN = markets(("KXB", "EB", "SB"), ("KXA", "EA", None))


def test_rows_get_their_event_and_series(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """In the raw file's order; a market that nobody knows has neither, and nothing is guessed from its name."""
    rows = [{"ticker": ticker, "milliseconds": n} for n, ticker in enumerate(("KXC", "KXA", "KXB", "KXA"))]
    raw = write_partition(lake, DELTAS, noon, [deltas(*rows)], until=noon + HOUR / 2)
    facts = write_processed(lake, ORDERBOOK_DELTAS, noon, KNOWN)
    found = pq.read_table(facts.path, partitioning=None)
    assert found.select(DELTAS.schema.names).equals(pq.read_table(raw.path, partitioning=None))
    assert [tuple(row.values()) for row in found.select(["ticker", "event_ticker", "series_ticker"]).to_pylist()] == [
        ("KXA", "EA", None), ("KXA", "EA", None), ("KXB", "EB", "SB"), ("KXC", None, None),
    ]  # fmt: skip
    footer = read_footer(lake, DONE, noon)
    assert footer is not None
    assert (footer.window_end, footer.source_rows) == (noon + HOUR / 2, 4)


def test_the_same_inputs_give_the_same_bytes(
    lake: Lake, noon: datetime, deltas: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of the markets; the row groups are those of the raw file."""
    monkeypatch.setattr(writer, "row_group_rows", lambda _: 30)
    write_partition(lake, DELTAS, noon, [deltas(*({"ticker": f"KX{n % 7}", "position": n} for n in range(100)))])
    known = [(f"KX{n}", f"E{n}", f"S{n}") for n in range(5)]
    once = write_processed(lake, ORDERBOOK_DELTAS, noon, markets(*known))
    again = write_processed(lake, ORDERBOOK_DELTAS, noon, markets(*reversed(known)))
    assert once == again
    metadata = pq.read_metadata(once.path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [30, 30, 30, 10]


def test_coverage_is_taken_over(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """What nobody heard is missing from the enriched rows as well."""
    coverage = Coverage(2, (Uncovered("KXA", noon, noon + HOUR),))
    write_partition(lake, DELTAS, noon, [deltas({})], coverage=coverage)
    write_processed(lake, ORDERBOOK_DELTAS, noon, KNOWN)
    manifest = read_manifest(lake, DONE, noon)
    assert manifest is not None
    assert (manifest.covered, manifest.uncovered) == (0.5, coverage.uncovered)


def test_an_empty_hour_stays_one(lake: Lake, noon: datetime) -> None:
    """With all columns."""
    write_partition(lake, DELTAS, noon, [])
    facts = write_processed(lake, ORDERBOOK_DELTAS, noon, KNOWN)
    assert facts.rows == 0
    assert pq.read_schema(facts.path).names == DONE.schema.names


def test_without_the_raw_file_there_is_nothing_to_enrich(lake: Lake, noon: datetime) -> None:
    """The error says what to do."""
    with pytest.raises(IntegrityError, match="is missing: export it first"):
        write_processed(lake, ORDERBOOK_DELTAS, noon, KNOWN)


def _state(lake: Lake, name: str, day: datetime, **values: Any) -> None:
    dataset = RAW[name]
    row = dict.fromkeys(dataset.schema.names) | {"seen_at": day, "object": "{}"} | values
    write_partition(lake, dataset, day, [pa.RecordBatch.from_pylist([row], dataset.schema)])


def test_markets_are_those_of_the_day_or_the_nearest(lake: Lake, noon: datetime) -> None:
    """A later state knows more than an earlier one; without any, nothing is known."""
    day = Period.DAY.floor(noon)
    assert known_markets(lake, noon).num_rows == 0
    for days, series in ((-24, "S1"), (48, "S2")):
        _state(lake, "markets", day + days * HOUR, ticker="KXA", event_ticker="EA", status="active")
        _state(lake, "events", day + days * HOUR, event_ticker="EA", series_ticker=series)
    for start, series in ((day - 48 * HOUR, "S1"), (noon - 24 * HOUR, "S1"), (noon, "S2"), (noon + 72 * HOUR, "S2")):
        assert known_markets(lake, start).to_pylist() == [
            {"ticker": "KXA", "event_ticker": "EA", "series_ticker": series}
        ]
