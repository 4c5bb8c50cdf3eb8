"""What is known of each file without opening it: rows, ranges of tickers and times, hash, and how much was heard.

One small JSON file for each file of the lake, under `manifest/` in the same folders. It goes before its file is put in
place and comes back after it, so that a manifest that is there speaks of the file that is there; where a writer was
killed in between there is none, and `describe` makes one. It proves nothing: what may be dropped is proven by reading
the file again (`evidence`). Kept out: footers, which say what a reader must know.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.evidence import sha256_of
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.layout import Lake

_TIMES = ("window_start", "window_end", "first_ts", "last_ts")


@dataclass(frozen=True, slots=True)
class Uncovered:
    """When nobody heard a market without a gap.

    Attributes:
        ticker: The market; empty for every market.
        from_at: Where it begins.
        until_at: Where it ends.
    """

    ticker: str
    from_at: datetime
    until_at: datetime


@dataclass(frozen=True, slots=True)
class Coverage:
    """How completely a window was heard, as production's `coverage_hours` and `uncovered_intervals` say.

    Attributes:
        markets: Markets that somebody should have heard; a channel of all markets counts as one.
        uncovered: When somebody was not.
    """

    markets: int
    uncovered: Sequence[Uncovered] = ()

    def share(self, start: datetime, end: datetime) -> float:
        """The part of all markets' time in a window that was heard, from 0 to 1."""
        whole = self.markets * (end - start).total_seconds()
        missed = sum((min(one.until_at, end) - max(one.from_at, start)).total_seconds() for one in self.uncovered)
        return 1.0 if not whole else max(0.0, 1.0 - missed / whole)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One file of the lake.

    Attributes:
        dataset: Layer and name.
        path: The file, as seen from the lake's root.
        schema_version: Version of its columns.
        window_start: Earliest moment whose rows it holds.
        window_end: First moment whose rows it does not hold.
        rows: Rows in it.
        bytes: Its size.
        sha256: Hash of its bytes, in hexadecimal.
        first_key: Least value of the column it is sorted by first, which is the ticker; None without rows.
        last_key: Greatest one.
        first_ts: Earliest time among the rows; None without rows.
        last_ts: Latest one.
        markets: Markets that somebody should have heard; None where nobody said.
        covered: The part of their time that was heard, from 0 to 1; None where nobody said.
        uncovered: When somebody was not heard.
    """

    dataset: str
    path: str
    schema_version: int
    window_start: datetime
    window_end: datetime
    rows: int
    bytes: int
    sha256: str
    first_key: str | None = None
    last_key: str | None = None
    first_ts: datetime | None = None
    last_ts: datetime | None = None
    markets: int | None = None
    covered: float | None = None
    uncovered: tuple[Uncovered, ...] = ()

    def with_coverage(self, coverage: Coverage | None) -> dict[str, Any]:
        """Its fields as JSON has them, and what is known of coverage."""
        facts = asdict(self)
        if coverage is not None:
            facts["markets"] = coverage.markets
            facts["covered"] = round(coverage.share(self.window_start, self.window_end), 9)
            facts["uncovered"] = [asdict(one) for one in coverage.uncovered]
        return facts


def manifest_path(lake: Lake, dataset: Dataset, start: datetime) -> str:
    """Where the manifest of a partition is."""
    file = lake.path(dataset, start).removeprefix(f"{lake.root}/")
    return f"{lake.root}/manifest/{file.removesuffix('.parquet')}.json"


def write_manifest(
    lake: Lake, dataset: Dataset, start: datetime, manifest: Manifest, coverage: Coverage | None = None
) -> None:
    """Put the manifest of a partition in its place; the file must be in its place already."""
    text = json.dumps(manifest.with_coverage(coverage), default=_iso, indent=1)
    with lake.replacing(manifest_path(lake, dataset, start)) as file:
        file.write(text.encode() + b"\n")


def read_manifest(lake: Lake, dataset: Dataset, start: datetime) -> Manifest | None:
    """The manifest of a partition; None where there is none, or the file's size shows that it speaks of another.

    Raises:
        IntegrityError: Where it is not one of ours.
    """
    path = manifest_path(lake, dataset, start)
    try:
        with lake.open(path) as file:
            manifest = _parsed(file.read(), path)
    except FileNotFoundError:
        return None
    return manifest if lake.size(lake.path(dataset, start)) == manifest.bytes else None


def describe(lake: Lake, dataset: Dataset, start: datetime) -> Manifest:
    """The manifest of a file as it is now, from every byte of it; of coverage it knows nothing.

    Raises:
        IntegrityError: Where there is no such file, or it is not one of ours.
    """
    path = lake.path(dataset, start)
    footer = read_footer(lake, dataset, start)
    if footer is None:
        raise IntegrityError(f"{path} is missing")
    with lake.open(path) as file:
        keys, times, size = _span(file, dataset.sort[0]), _span(file, dataset.time), file.size()
    return Manifest(
        dataset=str(dataset),
        path=path.removeprefix(f"{lake.root}/"),
        schema_version=footer.schema_version,
        window_start=footer.window_start,
        window_end=footer.window_end,
        rows=footer.source_rows,
        bytes=size,
        sha256=sha256_of(lake, path),
        first_key=keys[0],
        last_key=keys[1],
        first_ts=times[0],
        last_ts=times[1],
    )


def mend_manifest(lake: Lake, dataset: Dataset, start: datetime, sha256: str) -> bool:
    """Make the manifest of a file anew where it is away or speaks of another one; whether that was needed.

    Args:
        lake: Where both are.
        dataset: What the rows are.
        start: Start of the hour or day.
        sha256: Hash of the file as it was just read.
    """
    with suppress(IntegrityError):  # what cannot be read is none of ours, and gives way to one that is
        manifest = read_manifest(lake, dataset, start)
        if manifest is not None and manifest.sha256 == sha256:
            return False
    write_manifest(lake, dataset, start, describe(lake, dataset, start))
    return True


def _span(file: Any, column: str | None) -> tuple[Any, Any]:
    """Least and greatest value of a column."""
    if column is None:
        return None, None
    spans = [pc.min_max(batch[column]).as_py() for batch in pq.ParquetFile(file).iter_batches(columns=[column])]
    least = [span["min"] for span in spans if span["min"] is not None]
    greatest = [span["max"] for span in spans if span["max"] is not None]
    return min(least, default=None), max(greatest, default=None)


def _parsed(content: bytes, path: str) -> Manifest:
    try:
        facts = json.loads(content)
        moments = {name: datetime.fromisoformat(facts[name]) if facts[name] else None for name in _TIMES}
        uncovered = tuple(
            Uncovered(one["ticker"], datetime.fromisoformat(one["from_at"]), datetime.fromisoformat(one["until_at"]))
            for one in facts["uncovered"]
        )
        return Manifest(**{**facts, **moments, "uncovered": uncovered})
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is not a manifest of this platform: {error}") from error


def _iso(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{value!r} does not belong into a manifest")
    return value.astimezone(UTC).isoformat()
