"""Spans: which pieces of the record a check looks at, and how far each goes.

- Add here: finding partitions and windows for checks.
- Keep out: looking at them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from kalshi_platform.core.schema import Table
from kalshi_platform.defs.partitions import key_at, window_of
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake

_LATEST = timedelta(days=1)
"""How much of the lake a check looks at when it runs alone, without partitions."""


@dataclass(frozen=True, slots=True)
class Span:
    """One partition as far as it is known.

    Attributes:
        key: Its partition key.
        start: Where it begins.
        end: Where its file ends; where the partition ends if it has no file.
        rows: Rows of the file; None where there is none.
    """

    key: str
    start: datetime
    end: datetime
    rows: int | None

    @property
    def has_file(self) -> bool:
        """Whether the lake has it."""
        return self.rows is not None


def spans(context: dg.AssetCheckExecutionContext, table: Table, lake: Lake) -> Iterator[Span]:
    """The partitions of the run; of a run without any, the latest that the lake has. Each is looked up in its turn."""
    for key in _partition_keys(context, table, lake):
        yield _span(table, key, lake)


def _partition_keys(context: dg.AssetCheckExecutionContext, table: Table, lake: Lake) -> Sequence[str]:
    run = context.op_execution_context
    if run.has_partitions:
        return list(run.partition_keys)
    dataset = RAW[table.name]
    most = _LATEST // Period.HOUR.value if dataset.period is Period.HOUR else 2
    return [key_at(table, start) for start in lake.starts(dataset)[-most:]]


def _span(table: Table, key: str, lake: Lake) -> Span:
    start, end = window_of(table, key)
    footer = read_footer(lake, RAW[table.name], start)
    return Span(key, start, footer.window_end, footer.source_rows) if footer else Span(key, start, end, None)
