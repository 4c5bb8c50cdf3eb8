import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.lake import writer
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.manifest import (
    Coverage,
    Uncovered,
    describe,
    manifest_path,
    mend_manifest,
    read_manifest,
)
from kalshi_platform.lake.writer import write_partition

MakeBatch = Callable[..., pa.RecordBatch]
DELTAS = RAW["orderbook_deltas"]


def test_a_manifest_says_what_the_file_holds(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Rows, size, hash, ranges and window; reading every byte again finds the same."""
    rows = deltas({"milliseconds": 7, "ticker": "KXB"}, {"milliseconds": 9, "ticker": "KXA"}, {"ticker": "KXC"})
    facts = write_partition(lake, DELTAS, noon, [rows], until=noon + HOUR / 2)
    manifest = read_manifest(lake, DELTAS, noon)
    assert manifest is not None
    assert (manifest.rows, manifest.bytes, manifest.sha256) == (facts.rows, facts.bytes, facts.sha256)
    assert (manifest.first_key, manifest.last_key) == ("KXA", "KXC")
    assert (manifest.first_ts, manifest.last_ts) == (noon, noon + timedelta(milliseconds=9))
    assert (manifest.window_start, manifest.window_end) == (noon, noon + HOUR / 2)
    assert f"{lake.root}/{manifest.path}" == facts.path
    assert (manifest.markets, manifest.covered, manifest.uncovered) == (None, None, ())
    assert describe(lake, DELTAS, noon) == manifest


def test_coverage_stands_in_it(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """What nobody heard is named; the share counts all markets' time, and only what lies in the window."""
    gaps = (Uncovered("KXA", noon - HOUR, noon + HOUR / 4), Uncovered("KXB", noon, noon + HOUR / 2))
    write_partition(lake, DELTAS, noon, [deltas({})], coverage=Coverage(3, gaps))
    manifest = read_manifest(lake, DELTAS, noon)
    assert manifest is not None
    assert (manifest.markets, manifest.covered, manifest.uncovered) == (3, 0.75, gaps)


def test_an_empty_hour_has_no_ranges(lake: Lake, noon: datetime) -> None:
    """And the same bytes whenever it is written; nobody to be heard is fully heard."""
    texts = []
    for _ in range(2):
        write_partition(lake, DELTAS, noon, [], coverage=Coverage(0))
        texts.append(Path(manifest_path(lake, DELTAS, noon)).read_bytes())
    assert texts[0] == texts[1]
    facts = json.loads(texts[0])
    assert (facts["rows"], facts["first_key"], facts["last_ts"], facts["covered"]) == (0, None, None, 1.0)


def test_a_writer_that_dies_before_the_manifest_leaves_none(
    lake: Lake, noon: datetime, deltas: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than one that speaks of the file before; it can be made again from the file."""
    write_partition(lake, DELTAS, noon, [deltas({})])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            write_partition(lake, DELTAS, noon, [deltas({}, {"position": 1})])
    assert read_manifest(lake, DELTAS, noon) is None
    assert describe(lake, DELTAS, noon).rows == 2


def test_a_manifest_of_another_file_is_not_believed(lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Its size gives it away; without a file there is no manifest either."""
    write_partition(lake, DELTAS, noon, [deltas({})])
    kept = Path(manifest_path(lake, DELTAS, noon)).read_bytes()
    facts = write_partition(lake, DELTAS, noon, [deltas(*({"position": n} for n in range(99)))])
    Path(manifest_path(lake, DELTAS, noon)).write_bytes(kept)
    assert read_manifest(lake, DELTAS, noon) is None
    Path(facts.path).unlink()
    assert read_manifest(lake, DELTAS, noon) is None
    with pytest.raises(IntegrityError, match="is missing"):
        describe(lake, DELTAS, noon)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"rows": 1}'], ids=["nothing", "empty", "list", "less"])
def test_what_is_no_manifest_is_refused(lake: Lake, noon: datetime, deltas: MakeBatch, text: bytes) -> None:
    """The error names the file; who has just read every byte of the file itself makes it anew."""
    facts = write_partition(lake, DELTAS, noon, [deltas({})])
    path = manifest_path(lake, DELTAS, noon)
    Path(path).write_bytes(text)
    with pytest.raises(IntegrityError, match="is not a manifest"):
        read_manifest(lake, DELTAS, noon)
    assert mend_manifest(lake, DELTAS, noon, facts.sha256)
    assert read_manifest(lake, DELTAS, noon) == describe(lake, DELTAS, noon)


def test_a_bucket_has_manifests_too(s3_lake: Lake, noon: datetime, deltas: MakeBatch) -> None:
    """Written, taken away and written again."""
    for rows in (1, 2):
        write_partition(s3_lake, DELTAS, noon, [deltas(*({"position": n} for n in range(rows)))])
        manifest = read_manifest(s3_lake, DELTAS, noon)
        assert manifest is not None
        assert manifest.rows == rows
        assert describe(s3_lake, DELTAS, noon) == manifest
