"""Changes of books in which all is as usual, as it nearly always is: many at once, without detours.

The same rows and books as `Capture.record` gives, at a fraction of its time (core/test_usual_changes). Whatever is
unusual about a change, a value, a time or its market, is left to that. Kept out: everything else.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from kalshi_platform.core.book import NegativeLevel
from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.market_book import CaptureCounts, MarketBook
from kalshi_platform.core.messages import DeltaFrame
from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.units import (
    EARLIEST_TIME,
    FUTURE_TOLERANCE,
    MILLISECOND,
    price_from_dollars,
    size_from_contracts,
)

Change = tuple[DeltaFrame, bytes, int]
"""A decoded change, the bytes it came as, and when (µs)."""

_EARLIEST_MS = EARLIEST_TIME // MILLISECOND
_SIDES = {"yes": True, "no": False}
_row = partial(tuple.__new__, DeltaRow)  # less than half of the constructor's time


def usual_rows(
    markets: Mapping[str, MarketBook], counts: CaptureCounts, remember_from: int | None, changes: Iterable[Change]
) -> list[DeltaRow]:
    """The rows of the first changes, up to one that is not as usual; with that one nothing has happened.

    Args:
        markets: By ticker; their books and occurrences follow the changes.
        counts: Told of crossed books.
        remember_from: As `Occurrences.count` has it.
        changes: In the order in which they came.
    """
    rows: list[DeltaRow] = []
    for frame, _, received_us in changes:
        body = frame.msg
        ticker, ms = body.market_ticker, body.ts_ms
        market, side = markets.get(ticker), _SIDES.get(body.side)
        if market is None or side is None or ms is None or market.valid_from is None or market.due is None:
            break
        occurrences, book = market.occurrences, market.book
        exchange_us = ms * MILLISECOND
        if not occurrences.ms <= ms < market.due or ms < market.emitted or ms < _EARLIEST_MS:
            break
        if exchange_us > received_us + FUTURE_TOLERANCE:
            break
        try:
            price, size_delta = price_from_dollars(body.price_dollars), size_from_contracts(body.delta_fp)
            book.apply(side, price, size_delta)
        except (FrameRejected, NegativeLevel):
            break
        if book.is_crossed:
            counts.crossed_books += 1
        occurrence = occurrences.count(ms, (side, price, size_delta), remember_from)
        values = (
            exchange_us, ticker, side, price, size_delta, occurrence, occurrences.position,
            frame.seq, frame.sid, received_us,
        )  # fmt: skip
        rows.append(_row(values))
    return rows
