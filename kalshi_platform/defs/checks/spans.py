"""Spans: which pieces of the record a check looks at, and how far each goes.

- Add here: finding partitions and windows for checks.
- Keep out: looking at them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from kalshi_platform.core.schema import Table
from kalshi_platform.defs.partitions import window_of
from kalshi_platform.lake.datasets import RAW, Dataset
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake


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


def dataset_of(what: Table | Dataset) -> Dataset:
    """The files of the lake that a check looks at: of a table, the raw ones."""
    return what if isinstance(what, Dataset) else RAW[what.name]


def spans(context: dg.AssetCheckExecutionContext, what: Table | Dataset, lake: Lake) -> Iterator[Span]:
    """The partitions of the run, each looked up in its turn.

    Raises:
        Failure: The run has none. (Dagster 1.13 lets a person start one, and then has no place for what it finds.)
    """
    run = context.op_execution_context
    if not run.has_partitions:
        raise dg.Failure(
            "this check is of partitions: materialize those that it is to look at, which writes the same bytes again "
            "and checks them",
            allow_retries=False,
        )
    dataset = dataset_of(what)
    for key in run.partition_keys:
        start, end = window_of(dataset, key)
        footer = read_footer(lake, dataset, start)
        yield Span(key, start, footer.window_end, footer.source_rows) if footer else Span(key, start, end, None)
