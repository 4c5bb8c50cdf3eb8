"""The long walk: memory, progress, a 503 in the middle, the bucket. `KALSHI_TEST_WALK_MARKETS=1000000` walks it all."""

import os
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kalshi_platform.core.errors import ExchangeUnavailable
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.objects import Market
from kalshi_platform.exchange.rest.pages import Pages, Progress, Walk
from kalshi_platform.exchange.rest.progress import walk_bar
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.exchange.rest_at_hand import exchange_at_hand

MARKETS = int(os.environ.get("KALSHI_TEST_WALK_MARKETS", "100000"))
MEBIBYTE = 2**20


def resident_bytes() -> int:
    """What this process holds in memory, the exchange included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def walk_into(seen: list[str], walk: Pages[Market]) -> None:
    """Note each market as it comes, so that those before a failure are not lost."""
    async for market in walk:
        seen.append(market.ticker)  # noqa: PERF401 - a comprehension would lose them


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_walk_over_the_whole_catalogue(tmp_path: Path) -> None:
    """Each market once, in bounded memory, through failures, inside the bucket, with progress to its end."""
    pages = MARKETS // 1000
    failures = {pages // 4: 503, pages // 2: 503, pages // 2 + 1: 503, 3 * pages // 4: 504}
    dear = {"/markets": 30}  # so that the bucket, not the simulator, sets the pace
    async with exchange_at_hand(tmp_path, RestOptions(failures=failures, endpoint_costs=dear), markets=MARKETS) as hand:
        told: list[int] = []
        sizes: list[int] = []
        names = bytearray(MARKETS)
        started = time.monotonic()

        def on_progress(progress: Progress) -> None:
            told.append(progress.rows)
            sizes.append(resident_bytes())

        place = hand.simulator.exchange.catalogue.markets.place
        async for market in hand.client.markets(MarketFilters(mve_filter="exclude"), Walk(on_progress=on_progress)):
            names[place(market.ticker) or 0] += 1
        seconds = time.monotonic() - started
        assert set(names) == {1}
        assert told == [1000 * (n + 1) for n in range(pages)]
        assert max(sizes) - sizes[pages // 10] < 48 * MEBIBYTE
        assert hand.measured.refused == 0
        assert hand.measured.granted == pages + 2, "the limits, the costs, the pages"
        assert seconds > (30 * pages - 400) / 200 - 1, "faster than the bucket allows"
        assert hand.simulator.exchange.catalogue.touched() == 0
        sys.stdout.write(
            f"{MARKETS:,} markets in {seconds:.0f} s, {MARKETS / seconds:,.0f} a second; resident memory "
            f"{sizes[0] / MEBIBYTE:.0f} MiB after the first page, {sizes[pages // 10] / MEBIBYTE:.0f} after a tenth, "
            f"{max(sizes) / MEBIBYTE:.0f} at most; fewest tokens left {hand.measured.lowest:.0f} of "
            f"{hand.measured.capacity}, {hand.measured.refused} refused\n"
        )


async def test_a_walk_that_failed_goes_on_from_its_cursor(tmp_path: Path) -> None:
    """When patience runs out the iterator raises; a new walk from its cursor sees exactly the rest."""
    failures = dict.fromkeys(range(5, 50), 503)
    async with exchange_at_hand(tmp_path, RestOptions(failures=failures)) as hand:
        walk = hand.client.markets(walk=Walk(limit=10))
        seen: list[str] = []
        with pytest.raises(ExchangeUnavailable, match="503"):
            await walk_into(seen, walk)
        assert len(seen) == 20
        hand.simulator.rest.gate.failures.clear()
        await walk_into(seen, hand.client.markets(walk=Walk(cursor=walk.cursor, limit=10)))
        assert seen == list(hand.simulator.exchange.catalogue.markets)


async def test_everything_in_the_process_shares_the_bucket(tmp_path: Path) -> None:
    """Two clients with one key ask as fast as they can, and the exchange never has to refuse."""
    async with exchange_at_hand(
        tmp_path, RestOptions(tier="advanced", endpoint_costs={"/exchange/status": 50})
    ) as hand:
        async with RestClient(hand.simulator.rest_url, hand.signer) as other:
            assert other.bucket is hand.client.bucket
            started = time.monotonic()
            for client in (hand.client, other) * 10:
                await client.status()
            seconds = time.monotonic() - started
        assert hand.client.bucket.limit.rate == 300, "the exchange said so"
        assert hand.measured.refused == 0
        assert hand.measured.granted == 22
        assert seconds > (20 * 50 - 600) / 300, "faster than the bucket allows"


async def test_a_bar_shows_the_walk(tmp_path: Path) -> None:
    """Rows and pages, and the end."""
    console = Console(file=StringIO(), force_terminal=True, width=120)
    async with exchange_at_hand(tmp_path) as hand:
        with walk_bar("markets", console=console) as on_progress:
            assert len([1 async for _ in hand.client.markets(walk=Walk(limit=20, on_progress=on_progress))]) == 57
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "57 rows" in shown
    assert "3 pages" in shown
