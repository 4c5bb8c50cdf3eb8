"""Broken frames through decode, session, capture and the binary encoding of rows: nothing breaks.

Each frame is applied, ignored by a rule of the protocol, or quarantined, and what is applied can be written.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from random import Random
from typing import cast

import pytest
import structlog

from kalshi_platform.core.capture import Capture
from kalshi_platform.core.errors import ExchangeUnavailable, FrameRejected, Reason
from kalshi_platform.core.records import TABLE_OF, DeltaRow, Row, rejected_row
from kalshi_platform.core.schema import Home
from kalshi_platform.database.binary_copy import RowEncoder
from kalshi_platform.database.sink import Sink
from kalshi_platform.exchange.session import Channel, Session
from kalshi_platform.gatherer.coverage import Coverage
from kalshi_platform.gatherer.router import Router
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform_tests.exchange.mutations import T0, frames, mutated

FRAMES = int(os.environ.get("KALSHI_TEST_FUZZ_FRAMES", "200000"))
BATCH = 2000


class Book:
    """A sink that encodes what it gets, as the writer would."""

    def __init__(self) -> None:
        self.waiting: dict[type[Row], list[Row]] = {kind: [] for kind in TABLE_OF}
        self.encoders = {kind: RowEncoder(table, Home.GATHERER) for kind, table in TABLE_OF.items()}
        self.rows: Counter[str] = Counter()
        self.rejected: Counter[Reason] = Counter()

    def add(self, row: Row) -> None:
        """One row."""
        self.rows[type(row).__name__] += 1
        self.waiting[type(row)].append(row)

    def add_changes(self, rows: Sequence[DeltaRow]) -> None:
        """Many rows."""
        for row in rows:
            self.add(row)

    def reject(self, raw: bytes, rejection: FrameRejected, connection: str, received_us: int) -> bool:
        """One frame for the quarantine; a frame of any content must fit into its table."""
        self.rejected[rejection.reason] += 1
        self.add(rejected_row(raw, rejection, connection, received_us))
        return False

    def encode(self) -> None:
        """Binary COPY of every row; raises where one cannot be written."""
        for kind, rows in self.waiting.items():
            if rows:
                self.encoders[kind].encode(rows)
                rows.clear()


def connected(sink: Book) -> tuple[Session, Router]:
    """A connection that listens to everything."""
    channels = [Channel.ORDERBOOK, Channel.TRADE, Channel.TICKER, Channel.LIFECYCLE]
    session = Session(channels, [f"KXFUZZ-26DEC01-T{number}" for number in range(8)])
    router = Router(
        Coverage("g", "fuzz", sink.add),
        session,
        Capture("g", 1000),
        cast("Sink", sink),
        GathererMetrics(),
        lambda _: None,
    )
    for sid, channel in enumerate(channels, 1):
        answer = f'{{"id":{sid},"type":"subscribed","msg":{{"channel":"{channel}","sid":{sid}}}}}'
        router.feed([(answer.encode(), T0 * 1000)])
    return session, router


def fuzz(count: int, seed: int) -> Book:
    """Feed so many frames; every sixth is whole, so that something lives to be broken."""
    random, sink = Random(seed), Book()  # noqa: S311 - guards nothing
    session, router = connected(sink)
    handful: list[tuple[bytes, int]] = []
    for number, frame in enumerate(islice(frames(random), count)):
        now_us = (T0 + number // 4) * 1000
        handful.append((json.dumps(frame).encode() if number % 6 == 0 else mutated(random, frame), now_us))
        if len(handful) > random.randrange(12):
            router.feed(handful)
            handful.clear()
        if number % BATCH == 0:
            session, router = sweep(session, router, sink, now_us)
    sink.encode()
    return sink


def sweep(session: Session, router: Router, sink: Book, now_us: int) -> tuple[Session, Router]:
    """What the gatherer does now and then; a hopeless connection is made anew."""
    sink.encode()
    session.take_commands()
    try:
        router.sweep(now_us // 1000 - 5000, now_us, 0)
    except ExchangeUnavailable:
        return connected(sink)
    return session, router


@pytest.fixture(autouse=True)
def _quiet() -> object:
    """A million warnings are no news."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop])
    yield
    structlog.configure(**before)


def _drop(*_: object) -> dict[str, object]:
    raise structlog.DropEvent


def verdict(sink: Book) -> None:
    """Every reason and every table was met: the mutations reach everything."""
    assert sink.rows.keys() == {kind.__name__ for kind in TABLE_OF} - {"BookDifferenceRow"}
    assert sink.rejected.keys() == set(Reason) - {Reason.REFUSED_BY_DATABASE}  # there is none here


def test_twenty_thousand_broken_frames() -> None:
    """The quick form of the test below."""
    verdict(fuzz(20_000, seed=1))


@pytest.mark.slow
def test_as_many_broken_frames_as_asked_for() -> None:
    """No crash, and every row can be written; KALSHI_TEST_FUZZ_FRAMES says how many (a million: two minutes)."""
    verdict(fuzz(FRAMES, seed=2))
