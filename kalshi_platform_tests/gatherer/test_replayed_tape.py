"""A recorded window, served by the simulator over real sockets to a real gatherer: its rows are the recording's."""

from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

from kalshi_platform.core.capture import HOUR_MS
from kalshi_platform.simulator import SimulatorOptions, running
from kalshi_platform.tools.replay import Replay
from kalshi_platform_tests.gatherer.exchange_at_hand import KEY_ID, gatherer, gathering, keys
from kalshi_platform_tests.queries import fetch, value
from kalshi_platform_tests.waiting import until

_DELTAS = (
    "SELECT exchange_ts, ticker, side, price, size_delta, occurrence, position FROM orderbook_deltas ORDER BY 1, 2, 7"
)
_IS_WHOLE = "SELECT (SELECT count(*) FROM orderbook_deltas) + (SELECT count(*) FROM trades) >= 32697 + 1046"
_TRADES = "SELECT exchange_ts, trade_id, ticker, price, size, taker_side, is_block_trade FROM trades ORDER BY 1, 2"


@pytest.mark.slow
async def test_a_gatherer_captures_history(
    shared_data: Path, tmp_path: Path, new_gatherer_database: Callable[[], str]
) -> None:
    """Sockets at full speed on one side, the recorded file read directly on the other: the same rows."""
    window = shared_data / "gold15m" / "events" / "KXGOLD15M-26AUG101800-00"
    expected, captured = new_gatherer_database(), new_gatherer_database()
    await Replay(expected, "read", HOUR_MS, lambda _path, _frames: None).run([window])

    private, public = keys(tmp_path)
    options = SimulatorOptions(keys={KEY_ID: public}, replay=window, replay_speed=inf, replay_wait_seconds=inf)
    async with running(options) as simulator:
        one = gatherer(captured, simulator.rest_url, simulator.ws_url, private)
        async with gathering(one):
            await until(lambda: {"orderbook_delta", "trade"} <= simulator.hub.listening().keys())
            assert simulator.replay is not None
            simulator.replay.begin()
            await until(lambda: not simulator.is_trading, 120)
            await until(lambda: value(captured, _IS_WHOLE), 60)
    assert await fetch(captured, _DELTAS) == await fetch(expected, _DELTAS)
    assert await fetch(captured, _TRADES) == await fetch(expected, _TRADES)
    assert await value(captured, "SELECT count(*) FROM orderbook_deltas") == 32_697
    assert await value(captured, "SELECT count(*) FROM capture_gaps") == 0
