"""When the exchange trades nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from kalshi_platform.simulator import HandClock, Pause, parse_pause, running
from kalshi_platform.simulator.pauses import maintenance
from kalshi_platform_tests.waiting import until


def _ms(*moment: int) -> int:
    return round(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("now", "window"),
    [
        (_ms(2026, 11, 17, 12), (_ms(2026, 11, 19, 8), _ms(2026, 11, 19, 10))),  # a Tuesday in winter
        (_ms(2026, 11, 19, 9, 59), (_ms(2026, 11, 19, 8), _ms(2026, 11, 19, 10))),  # while it lasts
        (_ms(2026, 11, 19, 10), (_ms(2026, 11, 26, 8), _ms(2026, 11, 26, 10))),  # just over
        (_ms(2026, 7, 1, 0), (_ms(2026, 7, 2, 7), _ms(2026, 7, 2, 9))),  # an hour earlier in summer
        (_ms(2026, 11, 19, 4, 30), (_ms(2026, 11, 19, 8), _ms(2026, 11, 19, 10))),  # Wednesday there, Thursday here
    ],
)
def test_thursday_in_new_york(now: int, window: tuple[int, int]) -> None:
    """From 03:00 to 05:00, as the clocks of New York show it."""
    assert maintenance(now) == window


def test_a_pause_is_read() -> None:
    """Seconds since the start, seconds of its length, and whether sockets go."""
    assert parse_pause("30=10") == Pause(30.0, 10.0)
    assert parse_pause("0.5=2.5!") == Pause(0.5, 2.5, drops_sockets=True)
    for wrong in ("30", "30=", "=10", "30=10?", "-1=5"):
        with pytest.raises(ValueError, match="AFTER=SECONDS"):
            parse_pause(wrong)


async def test_a_planned_pause_drops_sockets_and_ends(options: Any, client: Any) -> None:
    """Traffic stops, every connection is closed with 1001, a new one is welcome, and traffic goes on."""
    clock = HandClock(1_795_021_200_000)
    chosen = options(rate=500.0, pauses=(Pause(30.0, 60.0, drops_sockets=True),))
    async with running(chosen, clock) as simulator:
        async with client(simulator.ws_url) as me:
            await me.ask("subscribe", channels=["trade"])
            for _ in range(3):
                clock.advance(10.0)
                await until(lambda: simulator.exchange.now_ms == clock.now_ms())
            with pytest.raises(ConnectionClosed):
                await me.until(lambda _: False)
            assert me.socket.close_code == 1001
        assert simulator.exchange.is_paused
        at_rest = simulator.ledger.deltas
        assert at_rest > 0
        async with client(simulator.ws_url) as me:
            await me.ask("subscribe", channels=["trade"])
            clock.advance(59.0)
            await until(lambda: simulator.exchange.now_ms == clock.now_ms())
            assert simulator.ledger.deltas == at_rest
            clock.advance(1.0)
            await until(lambda: not simulator.exchange.is_paused)
            clock.advance(5.0)
            await me.until(lambda message: message["type"] == "trade")
            simulator.stop_traffic()
            await me.settle()
