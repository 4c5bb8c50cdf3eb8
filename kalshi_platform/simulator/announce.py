"""What a simulator that runs as a process says on stderr, one line of JSON at a time, for machines and people.

Kept out: everything it says on its port.
"""

import asyncio
import os
import sys
from pathlib import Path

import structlog

from kalshi_platform.simulator.options import SimulatorOptions
from kalshi_platform.simulator.prices import rfc3339_ms
from kalshi_platform.simulator.replay import Replay

_REPORT_SECONDS = 1.0

_log = structlog.wrap_logger(
    structlog.WriteLogger(sys.stderr),
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(),
    ],
)


def ready(options: SimulatorOptions, rest_url: str, ws_url: str, markets: int) -> None:
    """The exchange answers."""
    traffic = {"replay": str(options.replay)} if options.replay else {"rate": options.rate, "seed": options.seed}
    _log.info("ready", rest_url=rest_url, ws_url=ws_url, markets=markets, pid=os.getpid(), **traffic)


class Looking:
    """Tells how far the look through a recording has come: at each file, and in large ones at each tenth of it."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._tenth = 0

    def __call__(self, path: Path, read: int) -> None:
        """So many bytes of a file were read."""
        if path != self._path:
            self._path, self._tenth = path, 0
        tenth = 10 * read // max(1, path.stat().st_size)
        if tenth > self._tenth:
            self._tenth = tenth
            _log.info("looking through the recording", file=str(path), percent=10 * tenth)


async def report(replay: Replay) -> None:
    """Tell every second how far a replay has come, until it is over."""
    was_waiting = False
    while not replay.is_over:
        if replay.has_begun:
            _place("replaying", replay)
        elif not was_waiting:
            was_waiting = True
            _log.info("waiting for a subscription before the tape begins", frames=replay.frames)
        await asyncio.sleep(_REPORT_SECONDS)
    _place("the tape is over", replay)
    if replay.impossible:
        _log.warning("the recording has holes: these changes did not fit its books", changes=replay.impossible)


def _place(event: str, replay: Replay) -> None:
    percent = 100 * replay.played // max(1, replay.frames)
    _log.info(event, place=rfc3339_ms(replay.now_ms), frames=replay.played, of=replay.frames, percent=percent)
