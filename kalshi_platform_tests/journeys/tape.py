"""The recorded tape played to gatherers' own code in the tape's time, each of which misses something else.

The exchange is the simulator, gatherers are their sessions, routers, records of coverage and writers; only the wire
between them is missing, so that it is known to the message what was lost, and when. Kept out: what must come of it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from kalshi_platform.core.schema import Table
from kalshi_platform.core.units import MILLISECOND
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.session import Channel
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.simulator import SimulatorOptions
from kalshi_platform.simulator.clock import TapeClock
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.recorded_markets import open_tape
from kalshi_platform.simulator.replay import Replay
from kalshi_platform_tests.deduplicator.rows import Silence, no_waits
from kalshi_platform_tests.gatherer.direct_line import Line

HOUR_MS = 3_600_000
_STEP_MS = 25
_STEPS_BETWEEN_CARE = 40
_SETTLE_MS = 5_000
_DATA = (b'"type":"orderbook_delta"', b'"type":"orderbook_snapshot"', b'"type":"trade"')

Hole = tuple[int, int]
"""From the exchange's time of the last message that was heard until all was whole again, µs since 1970."""


class Outage(NamedTuple):
    """When a gatherer hears nothing: its sockets are broken, or messages do not arrive on living ones."""

    from_ms: int
    until_ms: int
    is_cut: bool = False


class _Stamp(msgspec.Struct):
    ts_ms: int | None = None


class _Stamped(msgspec.Struct):
    msg: _Stamp


_STAMPED = msgspec.json.Decoder(_Stamped)


class LossyLine(Line):
    """A connection that keeps account of what it lost, by other means than the platform's own.

    Attributes:
        lost: Messages that did not arrive, as the exchange wrote them.
        holes: When it missed something.
    """

    def __init__(self, *about: Any) -> None:
        self.lost: Counter[bytes] = Counter()
        self.holes: list[Hole] = []
        self._outage: Outage | None = None
        self._now_us = self._heard_us = 0
        self._hole_since: int | None = None
        self._heard_more = False
        super().__init__(*about)

    def frames(self) -> Iterator[bytes]:
        """The frames that arrive."""
        for frame in super().frames():
            if not frame.startswith(_DATA, 1):
                yield frame
            elif self._outage is None:
                self._heard_more = True
                stamp_ms = _STAMPED.decode(frame).msg.ts_ms
                self._heard_us = self._heard_us if stamp_ms is None else min(stamp_ms * MILLISECOND, self._now_us)
                yield frame
            else:
                self._miss()
                self.lost[frame[frame.index(b'"msg":') :]] += 1

    def attend(self, outages: Sequence[Outage], now_us: int) -> None:
        """Begin or end an outage as it is planned; what lies here is heard, or lost."""
        self._now_us, self._heard_more = now_us, False
        due = next((one for one in outages if one.from_ms * MILLISECOND <= now_us < one.until_ms * MILLISECOND), None)
        was_cut, is_cut = (one is not None and one.is_cut for one in (self._outage, due))
        if is_cut and not was_cut:
            self._miss()
            self.cut(now_us)
        if was_cut or is_cut:
            list(self.frames())
        if was_cut and not is_cut:
            self.connect()
        self._outage = due
        if is_cut:
            return
        self.exchange_frames(now_us)
        if self._hole_since is not None and due is None and (was_cut or self._heard_more) and self._is_whole():
            self.holes.append((self._hole_since, now_us))
            self._hole_since = None

    def care(self, now_us: int) -> None:
        """What a connection does a few times a second."""
        if self._outage is None or not self._outage.is_cut:
            self.router.sweep(now_us // MILLISECOND - _SETTLE_MS, now_us)

    def _miss(self) -> None:
        if self._hole_since is None:
            self._hole_since = self._heard_us

    def _is_whole(self) -> bool:
        return all(self.book(ticker) is not None for ticker in self.tickers)


class LossyGatherer:
    """A gatherer of one connection for books and one for trades.

    Args:
        name: What it is called.
        url: Its database.
        outages: What it misses.
        replay: The exchange.
        hub: The exchange's clients.
    """

    def __init__(self, name: str, url: str, outages: Sequence[Outage], replay: Replay, hub: Hub) -> None:
        self.name, self.url = name, url
        self._outages = outages
        self.sink = Sink(url, Silence(), self._heard_until, no_waits)
        self._heard_us: int | None = None
        self.lines = {
            channel: LossyLine(
                f"{channel.name.lower()}-1", channel, hub, replay, self.sink, GathererMetrics(), lambda _: None, name
            )
            for channel in (Channel.ORDERBOOK, Channel.TRADE)
        }

    def attend(self, now_us: int) -> None:
        """Hear what there is."""
        for line in self.lines.values():
            line.attend(self._outages, now_us)

    def care(self, now_us: int) -> None:
        """What is due now and then."""
        for line in self.lines.values():
            line.care(now_us)

    def stop(self, now_us: int) -> None:
        """Write down what was heard, and how far."""
        self._heard_us = now_us
        for line in self.lines.values():
            line.coverage.stopped(now_us)
        self.sink.close()

    def _heard_until(self, table: Table) -> int | None:
        del table
        return self._heard_us


class _TapeTime(TapeClock):
    """The tape's time, turned by hand."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._base_ms


class Tape:
    """The exchange of a recording, and gatherers that listen to it.

    Args:
        path: The recording.
        databases: The gatherers and their databases.
        outages: What each of them misses.
    """

    def __init__(self, path: Path, databases: Mapping[str, str], outages: Mapping[str, Sequence[Outage]]) -> None:
        index = open_tape(path)
        self._clock = _TapeTime(index.first_ms, 1.0)
        self._hub = Hub(self._clock.now_ms)
        self._replay = Replay(SimulatorOptions(replay=path), index, self._clock, self._hub, Ledger(None))
        self.gatherers = [
            LossyGatherer(name, url, outages[name], self._replay, self._hub) for name, url in databases.items()
        ]
        for one in self.gatherers:
            one.lines[Channel.ORDERBOOK].follow(list(index.markets))

    async def play(self) -> int:
        """Play all of it, and go on listening until the hour is over; returns when that was, µs since 1970."""
        self._carry()
        self._replay.begin()
        async with asyncio.TaskGroup() as tasks:
            for one in self.gatherers:
                tasks.create_task(one.sink.run())
            steps = 0
            while not self._replay.is_over:
                self._clock.turn_to(self._clock.now_ms() + _STEP_MS)
                self._replay.beat(self._clock.now_ms())
                self._carry()
                steps += 1
                if steps % _STEPS_BETWEEN_CARE == 0:
                    await self._care()
            self._clock.turn_to((self._clock.now_ms() // HOUR_MS + 1) * HOUR_MS)
            await self._care()
            for one in self.gatherers:
                one.stop(self._clock.now_ms() * MILLISECOND)
        return self._clock.now_ms() * MILLISECOND

    def _carry(self) -> None:
        self._hub.look_at_clock()
        self._hub.flush()
        for one in self.gatherers:
            one.attend(self._clock.now_ms() * MILLISECOND)

    async def _care(self) -> None:
        for one in self.gatherers:
            one.care(self._clock.now_ms() * MILLISECOND)
            await one.sink.room()
        await asyncio.sleep(0)


def lost_by_all(lines: Sequence[LossyLine]) -> Counter[bytes]:
    """Messages that arrived nowhere."""
    first, *others = (line.lost for line in lines)
    for other in others:
        first &= other
    return first


def missed_by_all(lines: Sequence[LossyLine]) -> list[Hole]:
    """When none of them heard everything."""
    common = lines[0].holes
    for line in lines[1:]:
        pairs = ((max(one[0], other[0]), min(one[1], other[1])) for one in common for other in line.holes)
        common = sorted(pair for pair in pairs if pair[0] < pair[1])
    return common
