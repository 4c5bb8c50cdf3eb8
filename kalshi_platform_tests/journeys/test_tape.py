"""The recorded tape through three gatherers and the deduplicator: production is exactly one tape."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kalshi_platform.core.capture import HOUR_MS
from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.tools.replay import Replay
from kalshi_platform_tests.deduplicator.rows import running, sync_loops, until_read
from kalshi_platform_tests.queries import value

pytestmark = pytest.mark.slow

_COLUMNS = {
    "orderbook_deltas": "exchange_ts, ticker, side, price, size_delta, occurrence, position",
    "trades": "exchange_ts, trade_id, ticker, price, size, taker_side, is_block_trade",
}


@pytest.mark.timeout(600)
async def test_three_copies_of_the_tape_become_one(
    shared_data: Path, folder: Path, new_gatherer_database: Callable[[], str], production_database: str
) -> None:
    """The same windows three times, one of them under other sequence numbers; each row stands there once."""
    events = shared_data / "gold15m" / "events"
    tapes = {"gatherer-1": events, "gatherer-2": _renumbered(events, folder / "renumbered"), "gatherer-3": events}
    sources = {name: new_gatherer_database() for name in tapes}
    for name, tape in tapes.items():
        await Replay(sources[name], name, HOUR_MS, lambda _path, _frames: None).run([tape])
    seqs = [await value(url, "SELECT max(seq) FROM orderbook_deltas") for url in sources.values()]
    assert seqs[0] != seqs[1]

    async with running(sync_loops(sources, production_database, *STREAM_TABLES)):
        await until_read(sources, production_database, *STREAM_TABLES)

    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 778_646
    assert await value(production_database, "SELECT count(*) FROM trades") == 14_276
    for table, columns in _COLUMNS.items():
        digests = {await _digest(url, table, columns) for url in (production_database, sources["gatherer-1"])}
        assert len(digests) == 1
    share = "SELECT sum(rows_merged)::float / sum(rows_read) FROM sync_cursors WHERE table_name = 'orderbook_deltas'"
    assert await value(production_database, share) == pytest.approx(1 / 3)


async def _digest(url: str, table: str, columns: str) -> str:
    sql = f"SELECT md5(string_agg(md5(r::text), '' ORDER BY r)) FROM (SELECT {columns} FROM {table}) AS r"  # noqa: S608
    return str(await value(url, sql))


def _renumbered(events: Path, target: Path) -> Path:
    """The same frames as another connection would have numbered them."""
    for path in sorted(events.rglob("*.ndjson.gz")):
        copy = target / path.relative_to(events).with_suffix("")
        copy.parent.mkdir(parents=True)
        frames = gzip.decompress(path.read_bytes())
        copy.write_bytes(re.sub(rb'"seq":(\d+)', lambda match: b'"seq":%d' % (int(match[1]) + 5_000_000), frames))
    return target
