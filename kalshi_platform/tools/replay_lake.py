"""A replay straight into the lake: raw Parquet partitions, without a database in between.

Rows wait on disk, one Arrow file for each partition, until everything is read; each partition is then made once, every
key once, in the lake's order. Kept out: how a partition is written (lake).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from kalshi_platform.core.errors import ConfigurationError, FrameRejected
from kalshi_platform.core.records import TABLE_OF, Row
from kalshi_platform.core.schema import STREAM_TABLES, Home, Table
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.schema import source_schema
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.tools.replay_targets import ReplayReport

_BATCH_ROWS = 20_000
_MOST_ROWS = 200_000
"""Rows of all partitions together that wait in memory: a recording of months has thousands of hours."""

_FIRST = "SELECT * FROM rows QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY received_at) = 1"


class LakeTarget:
    """The raw layer of a lake.

    Args:
        lake: Which one.
        overwrite: Whether partitions that are there may be replaced; they may hold more than the recording does.

    Raises:
        ConfigurationError: At the end of the block, where a partition is there; nothing is written then.
    """

    def __init__(self, lake: Lake, *, overwrite: bool = False) -> None:
        self._lake = lake
        self._overwrite = overwrite
        self._rejected: Counter[str] = Counter()
        self._came: Counter[str] = Counter()
        self._held = 0
        self._waiting: defaultdict[tuple[Table, datetime], list[Row]] = defaultdict(list)
        self._rows: Counter[str] = Counter()
        self._report: ReplayReport | None = None

    async def __aenter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="kalshi-replay-")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._folder:
            if kind is None:
                self._write()

    def add(self, row: Row) -> None:
        """Keep a row of a stream; the lake has no place for others."""
        table = TABLE_OF[type(row)]
        if table not in STREAM_TABLES:
            return
        period = RAW[table.name].period
        key = table, period.floor(datetime_from_us(row[0]))
        waiting = self._waiting[key]
        waiting.append(row)
        self._came[table.name] += 1
        self._held += 1
        if len(waiting) >= _BATCH_ROWS:
            self._spill(*key)
        elif self._held >= _MOST_ROWS:
            for one in self._waiting:
                self._spill(*one)

    def reject(self, raw: bytes, rejection: FrameRejected, source: str, received_us: int) -> None:
        """Count it."""
        del raw, source, received_us
        self._rejected[rejection.reason.value] += 1

    async def room(self) -> None:
        """The disk has room, or says so."""

    def finish(self, latest_us: int | None, report: ReplayReport) -> None:
        """Tell the counts; those of what was written follow with the end of the block."""
        del latest_us
        report.rows.update(self._came)
        report.rejected.update(self._rejected)
        self._report = report

    def _spill(self, table: Table, start: datetime) -> None:
        rows = self._waiting[table, start]
        if not rows:
            return
        path = self._part(table, start)
        number = len(list(path.iterdir()))
        with pa.OSFile(str(path / f"{number:06d}.arrow"), "wb") as file:
            batch = _batch(table, rows)
            with pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
        self._held -= len(rows)
        rows.clear()

    def _part(self, table: Table, start: datetime) -> Path:
        path = Path(self._folder.name) / table.name / f"{start:%Y%m%d%H}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _write(self) -> None:
        known = {table: set(self._lake.starts(RAW[table.name])) for table, _ in self._waiting}
        there = [(table, start) for table, start in self._waiting if start in known[table]]
        if there and not self._overwrite:
            table, start = there[0]
            raise ConfigurationError(
                f"the lake has {table.name} of {start:%Y-%m-%d %H:%M} already, which a recording may know less of: "
                "name another lake, or add --overwrite"
            )
        for table, start in sorted(self._waiting, key=lambda one: (one[1], one[0].name)):
            self._spill(table, start)
            facts = write_partition(self._lake, RAW[table.name], start, _once(table, self._part(table, start)))
            if self._report is not None:
                self._report.new_rows[table.name] += facts.rows


def _batch(table: Table, rows: list[Row]) -> pa.RecordBatch:
    """Rows as production has them."""
    written = table.written_columns(Home.GATHERER)
    columns: dict[str, Any] = dict(zip((one.name for one in written), zip(*rows, strict=True), strict=True))
    if "trade_id" in columns:
        columns["trade_id"] = [str(one) for one in columns["trade_id"]]
    schema = source_schema(table)
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def _once(table: Table, folder: Path) -> Iterator[pa.RecordBatch]:
    """Every key once, as first received: recordings overlap."""
    tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in sorted(folder.iterdir())]
    with duckdb.connect() as session:
        session.execute("SET TimeZone = 'UTC'")
        session.register("rows", pa.concat_tables(tables))
        key = ", ".join(table.key)
        yield from session.sql(_FIRST.format(key=key)).to_arrow_table().cast(source_schema(table)).to_batches()
