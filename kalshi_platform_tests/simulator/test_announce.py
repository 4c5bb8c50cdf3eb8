"""What a simulator says on stderr while it works on a recording."""

import asyncio
import json
from math import inf
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.simulator import announce, running
from kalshi_platform_tests.waiting import until


class Log:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **facts: Any) -> None:
        """Keep a line."""
        self.said.append((event, facts))

    warning = info


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """In the place of stderr."""
    kept = Log()
    monkeypatch.setattr(announce, "_log", kept)
    monkeypatch.setattr(announce, "_REPORT_SECONDS", 0.01)
    return kept


async def test_how_far_the_tape_is(options: Any, tmp_path: Path, log: Log) -> None:
    """It waits, it plays, it is over, and what did not fit its books is said."""
    message = {"market_ticker": "KXA-1", "price_dollars": "0.4000", "delta_fp": "-1.00", "side": "yes", "ts_ms": 1000}
    lines = [{"recv_ms": 1000 + 100 * n, "event": {"type": "orderbook_delta", "msg": message}} for n in range(5)]
    path = tmp_path / "tape.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with running(options(replay=path, replay_speed=5.0, replay_wait_seconds=inf)) as simulator:
        replay = simulator.replay
        assert replay is not None
        reporting = asyncio.create_task(announce.report(replay))
        await until(lambda: log.said)
        replay.begin()
        await asyncio.wait_for(reporting, 10)
    events = list(dict.fromkeys(event for event, _ in log.said))
    assert events[:3] == ["waiting for a subscription before the tape begins", "replaying", "the tape is over"]
    facts = log.said[-2][1]
    assert (facts["frames"], facts["of"], facts["percent"]) == (5, 5, 100)
    assert facts["place"].startswith("1970-01-01T00:00:0")
    assert log.said[-1] == ("the recording has holes: these changes did not fit its books", {"changes": 5})


def test_how_far_the_look_through_is(tmp_path: Path, log: Log) -> None:
    """At each tenth of a file."""
    path = tmp_path / "tape.ndjson"
    path.write_bytes(b"x" * 1000)
    looking = announce.Looking()
    for read in (50, 120, 130, 1000):
        looking(path, read)
    assert [facts["percent"] for _, facts in log.said] == [10, 100]
