import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import TRADES
from kalshi_platform.lake import writer
from kalshi_platform.lake.datasets import AGGREGATES, DATASETS, RAW, Dataset
from kalshi_platform.lake.footer import Footer, read_footer
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition

MakeBatch = Callable[..., pa.RecordBatch]
DELTAS, CANDLES = RAW["orderbook_deltas"], AGGREGATES["candles_1m"]


def test_rows_are_sorted_exact_and_in_people_s_units(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Market by market, in the order of the exchange; negative sizes and the smallest price survive."""
    first = deltas({"milliseconds": 5, "ticker": "KXB"}, {"milliseconds": 9, "price": 1, "size_delta": -12_345})
    second = deltas({"milliseconds": 9, "position": 1, "price": 999_999, "size_delta": 10**18 - 1})
    facts = write_partition(lake, DELTAS, noon, [second, first])
    rows = pq.read_table(facts.path, partitioning=None).select(["ticker", "price", "size_delta"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("KXA", Decimal("0.000001"), Decimal("-123.45")),
        ("KXA", Decimal("0.999999"), Decimal("9999999999999999.99")),
        ("KXB", Decimal("0.560000"), Decimal("1.00")),
    ]


def test_facts_are_those_of_the_file(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Rows, size, hash and span tell of what stands on the disk."""
    facts = write_partition(lake, DELTAS, noon, [deltas({"milliseconds": 7}, {"milliseconds": 3})])
    content = Path(facts.path).read_bytes()
    assert facts.path == lake.path(DELTAS, noon)
    assert (facts.rows, facts.bytes, facts.sha256) == (2, len(content), hashlib.sha256(content).hexdigest())
    assert (facts.min_ts, facts.max_ts) == (noon + timedelta(milliseconds=3), noon + timedelta(milliseconds=7))


def test_order_and_batches_of_the_source_do_not_show(
    lake: Lake, noon: datetime, deltas: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows give the same bytes, in whatever order and pieces they come, in memory or through the disk."""
    rows = [{"milliseconds": n % 50, "ticker": f"KX{n % 7}", "position": n} for n in range(500)]
    once = write_partition(lake, DELTAS, noon, [deltas(*rows)])
    monkeypatch.setattr(writer, "RUN_BYTES", 1)
    pieces = [deltas(*reversed(rows[start : start + 90])) for start in range(0, 500, 90)]
    again = write_partition(lake, DELTAS, noon, reversed(pieces))
    assert (again.sha256, again.rows) == (once.sha256, 500)


def test_row_groups_have_their_size(
    lake: Lake, noon: datetime, deltas: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of one ticker rely on small groups; only the last one may be smaller."""
    monkeypatch.setattr(writer, "row_group_rows", lambda _: 40)
    facts = write_partition(lake, DELTAS, noon, [deltas(*({"position": n} for n in range(100)))])
    metadata = pq.read_metadata(facts.path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [40, 40, 20]


def test_columns_are_encoded_for_size(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Times and counters as differences, names and decimals as dictionaries, decimals as plain integers, all zstd."""
    facts = write_partition(lake, DELTAS, noon, [deltas({}, {"position": 1})])
    group = pq.read_metadata(facts.path).row_group(0)
    columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert "DELTA_BINARY_PACKED" in columns["exchange_ts"].encodings
    assert "RLE_DICTIONARY" in columns["ticker"].encodings
    assert (columns["price"].physical_type, columns["size_delta"].physical_type) == ("INT32", "INT64")


@pytest.mark.parametrize("dataset", DATASETS, ids=str)
def test_a_partition_without_rows_is_a_file_without_rows(lake: Lake, noon: datetime, dataset: Dataset) -> None:
    """It has all columns, so that readers see nothing instead of failing."""
    facts = write_partition(lake, dataset, dataset.period.floor(noon), [])
    assert (facts.rows, facts.min_ts, facts.max_ts) == (0, None, None)
    assert pq.read_schema(facts.path).remove_metadata() == dataset.schema.remove_metadata()


def test_decimals_and_texts_of_decimals_are_taken_as_they_are(lake: Lake, noon: datetime) -> None:
    """What was read from the lake, or from a numeric column, needs no unit."""
    candle = {"ticker": "KXA", "minute": noon, "open": Decimal("0.1"), "high": Decimal("0.2"), "low": Decimal("0.1")}
    candle |= {"close": Decimal("0.15"), "volume": Decimal("7.50"), "dollar_volume": Decimal("1.2345"), "trades": 3}
    candle = dict.fromkeys(CANDLES.schema.names) | candle
    candles = CANDLES.schema
    facts = write_partition(lake, CANDLES, noon.replace(hour=0), [pa.RecordBatch.from_pylist([candle], candles)])
    assert pq.read_table(facts.path, partitioning=None).to_pylist() == [candle]
    series = RAW["series"].schema
    row = dict.fromkeys(series.names) | {"ticker": "KX", "seen_at": noon, "object": "{}", "fee_multiplier": "0.07"}
    texts = series.set(series.get_field_index("fee_multiplier"), pa.field("fee_multiplier", pa.string()))
    facts = write_partition(lake, RAW["series"], noon.replace(hour=0), [pa.RecordBatch.from_pylist([row], texts)])
    (found,) = pq.read_table(facts.path, partitioning=None).to_pylist()
    assert found["fee_multiplier"] == Decimal("0.07")


def test_a_day_is_one_file_and_may_still_go_on(lake: Lake, noon: datetime, batch: MakeBatch) -> None:
    """Trades of the morning stand in the day's file; the next export takes its place."""
    day = noon.replace(hour=0)
    trade = {"exchange_ts": noon - timedelta(hours=1), "trade_id": "a", "ticker": "KXA", "price": 1, "size": 2}
    trade |= {"taker_side": None, "is_block_trade": False, "received_at": noon}
    first = write_partition(lake, RAW["trades"], day, [batch(TRADES, [trade])], until=noon)
    assert read_footer(lake, RAW["trades"], day) == Footer("trades", day, noon, 1)
    later = trade | {"exchange_ts": noon, "trade_id": "b"}
    second = write_partition(lake, RAW["trades"], day, [batch(TRADES, [later, trade])])
    assert (second.path, second.rows) == (first.path, 2)
    assert read_footer(lake, RAW["trades"], day) == Footer("trades", day, day + timedelta(days=1), 2)


def test_the_footer_tells_where_rows_come_from(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Table, window, source rows and schema version stand in the file."""
    until = noon + timedelta(minutes=5)
    write_partition(lake, DELTAS, noon, [deltas({})], until)
    assert read_footer(lake, DELTAS, noon) == Footer("orderbook_deltas", noon, until, 1)


def test_a_failing_source_leaves_the_old_partition_whole(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """A run that dies in the middle of the stream changes nothing and leaves nothing behind."""

    def broken() -> Iterator[pa.RecordBatch]:
        yield deltas({"position": 1}, {"position": 2})
        raise ConnectionResetError

    old = write_partition(lake, DELTAS, noon, [deltas({})])
    with pytest.raises(ConnectionResetError):
        write_partition(lake, DELTAS, noon, broken())
    assert hashlib.sha256(Path(old.path).read_bytes()).hexdigest() == old.sha256
    assert [str(file) for file in Path(old.path).parent.iterdir()] == [old.path]


@pytest.mark.parametrize("milliseconds", [-1, 3_600_000])
def test_a_row_of_another_hour_is_refused(lake: Lake, noon: datetime, deltas: MakeBatch, milliseconds: int) -> None:
    """The window is half open: its end belongs to the next hour."""
    with pytest.raises(IntegrityError, match="do not belong to"):
        write_partition(lake, DELTAS, noon, [deltas({}, {"milliseconds": milliseconds})])


def test_a_row_without_a_value_is_refused(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """The error names the column."""
    rows = deltas({}).set_column(3, "price", pa.array([None], pa.int32()))
    with pytest.raises(IntegrityError, match="price"):
        write_partition(lake, DELTAS, noon, [rows])
