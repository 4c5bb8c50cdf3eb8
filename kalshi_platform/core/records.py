"""Rows: what one frame says, in the schema's columns and integers.

Each row class lists its table's written columns in the schema's order (a test holds them together), so a row goes
into binary COPY as it is. Here belongs turning a frame's strings into exact values. Kept out: books and sequences.
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import ClassVar, NamedTuple
from uuid import UUID

from kalshi_platform.core import schema
from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.errors import FrameRejected, Reason
from kalshi_platform.core.messages import Level, TickerBody, TradeBody
from kalshi_platform.core.units import (
    EARLIEST_TIME,
    FUTURE_TOLERANCE,
    MILLISECOND,
    SECOND,
    amount_from_contracts,
    price_from_dollars,
    us_from_rfc3339,
)

_LONGEST_TICKER = 200
_SIDES: Mapping[str, bool] = {"yes": True, "no": False}
_BOOK_SIDES: Mapping[str, bool] = {"bid": True, "ask": False}  # kalshi-protocol.md §4: outcome yes is book side bid


class DeltaRow(NamedTuple):
    """A row of `orderbook_deltas`; times in µs since 1970."""

    exchange_ts: int
    ticker: str
    side: bool
    price: int
    size_delta: int
    occurrence: int
    position: int
    seq: int
    sid: int
    received_at: int


class TradeRow(NamedTuple):
    """A row of `trades`; times in µs since 1970."""

    exchange_ts: int
    trade_id: UUID
    ticker: str
    price: int
    size: int
    taker_side: bool | None
    is_block_trade: bool
    received_at: int


class TickerRow(NamedTuple):
    """A row of `tickers`; times in µs since 1970."""

    exchange_ts: int
    ticker: str
    last_price: int | None
    yes_bid: int | None
    yes_ask: int | None
    yes_bid_size: int | None
    yes_ask_size: int | None
    last_trade_size: int | None
    volume: int | None
    open_interest: int | None
    dollar_volume: int | None
    dollar_open_interest: int | None
    digest: int
    received_at: int


class SnapshotRow(NamedTuple):
    """A row of `orderbook_snapshots`; times in µs since 1970, levels ascending by price."""

    snapshot_ts: int
    ticker: str
    source: str
    gatherer_id: str
    yes_prices: tuple[int, ...]
    yes_sizes: tuple[int, ...]
    no_prices: tuple[int, ...]
    no_sizes: tuple[int, ...]
    best_yes_bid: int | None
    best_yes_ask: int | None
    received_at: int


class RejectedRow(NamedTuple):
    """A row of `rejected_messages`."""

    received_at: int
    digest: int
    connection: str
    reason: str
    detail: str
    raw: bytes


class GapRow(NamedTuple):
    """A row of `capture_gaps`; times in µs since 1970, by the gatherer's clock."""

    detected_at: int
    gatherer_id: str
    connection: str
    sid: int
    channel: str
    ticker: str
    cause: str
    expected_seq: int
    seen_seq: int
    markets: int
    from_at: int
    until_at: int | None = None
    healed_by: str | None = None


class SessionRow(NamedTuple):
    """A row of `capture_sessions`; times in µs since 1970, by the gatherer's clock. The end is a later version's."""

    started_at: int
    gatherer_id: str
    connection: str
    channel: str
    ticker: str
    sid: int
    ended_at: int | None = None
    ended_by: str | None = None


class BookDifferenceRow(NamedTuple):
    """A row of `book_differences`; times in µs since 1970."""

    compared_at: int
    gatherer_id: str
    connection: str
    ticker: str
    snapshot_ts: int
    levels: int
    size: int
    detail: str


Row = DeltaRow | TradeRow | TickerRow | SnapshotRow | RejectedRow | GapRow | SessionRow | BookDifferenceRow
"""Anything that a gatherer writes."""

TABLE_OF: Mapping[type[Row], schema.Table] = {
    DeltaRow: schema.ORDERBOOK_DELTAS,
    TradeRow: schema.TRADES,
    TickerRow: schema.TICKERS,
    SnapshotRow: schema.ORDERBOOK_SNAPSHOTS,
    RejectedRow: schema.REJECTED_MESSAGES,
    GapRow: schema.CAPTURE_GAPS,
    SessionRow: schema.CAPTURE_SESSIONS,
    BookDifferenceRow: schema.BOOK_DIFFERENCES,
}
"""The table that each class of row belongs to."""


class Source:
    """Values of `orderbook_snapshots.source`."""

    WEBSOCKET: ClassVar[str] = "ws"
    REST: ClassVar[str] = "rest"
    CHECKPOINT: ClassVar[str] = "checkpoint"


def digest_of(value: object) -> int:
    """A 64-bit hash that is the same in every process, as a signed integer."""
    content = value if isinstance(value, bytes) else repr(value).encode()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big", signed=True)


def check_ticker(ticker: str) -> str:
    """The ticker itself.

    Raises:
        FrameRejected: With `bad_ticker` where it is empty, very long, or holds what no ticker holds.
    """
    if ticker and len(ticker) <= _LONGEST_TICKER and ticker.isascii() and ticker.isprintable():
        return ticker
    raise FrameRejected(Reason.BAD_TICKER, f"ticker {ticker[:100]!r}")


def side_of(text: str) -> bool:
    """`yes` is true, `no` is false.

    Raises:
        FrameRejected: With `bad_side` for anything else.
    """
    side = _SIDES.get(text)
    if side is None:
        raise FrameRejected(Reason.BAD_SIDE, f"side {text[:100]!r}")
    return side


def exchange_ms(ts_ms: int | None, ts: str | int | None, received_us: int) -> int:
    """The exchange's time in whole milliseconds since 1970.

    `ts_ms` where it is sent (since April 2026), else the deprecated `ts`: a string in deltas, whole seconds in
    trades and tickers. On the recorded tape `ts_ms` is always the floor of `ts`.

    Raises:
        FrameRejected: With `bad_time` where there is no stamp, or one that no clock could show.
    """
    if ts_ms is not None:
        time_ms = ts_ms
    elif isinstance(ts, str):
        time_ms = us_from_rfc3339(ts) // MILLISECOND
    elif ts is not None:
        time_ms = ts * (SECOND // MILLISECOND)
    else:
        raise FrameRejected(Reason.BAD_TIME, "neither ts_ms nor ts")
    if EARLIEST_TIME <= time_ms * MILLISECOND <= received_us + FUTURE_TOLERANCE:
        return time_ms
    raise FrameRejected(Reason.BAD_TIME, f"time {time_ms} ms lies before 2021 or over a day after its receipt")


def levels_of(levels: tuple[Level, ...]) -> list[tuple[int, int]]:
    """Levels as sent to (price, size); a level of no size means nothing and a book keeps none."""
    return [(price_from_dollars(price), amount_from_contracts(size)) for price, size in levels]


def trade_row(body: TradeBody, received_us: int) -> TradeRow:
    """A trade's row.

    Raises:
        FrameRejected: Where a value is not usable.
    """
    try:
        trade_id = UUID(body.trade_id)
    except ValueError as error:
        raise FrameRejected(Reason.BAD_TRADE_ID, f"trade id {body.trade_id[:100]!r}") from error
    return TradeRow(
        exchange_ms(body.ts_ms, body.ts, received_us) * MILLISECOND,
        trade_id,
        check_ticker(body.market_ticker),
        price_from_dollars(body.yes_price_dollars),
        amount_from_contracts(body.count_fp),
        _taker_side(body),
        body.is_block_trade,
        received_us,
    )


def _taker_side(body: TradeBody) -> bool | None:
    if body.taker_outcome_side is not None:
        return side_of(body.taker_outcome_side)
    if body.taker_book_side is not None:
        return _BOOK_SIDES.get(body.taker_book_side)
    return None if body.taker_side is None else side_of(body.taker_side)


_Value = int | None
TickerValues = tuple[_Value, _Value, _Value, _Value, _Value, _Value, _Value, _Value, _Value, _Value]
"""From `last_price` to `dollar_open_interest`, in the schema's order."""


def ticker_values(body: TickerBody) -> TickerValues:
    """The values of a ticker update.

    Raises:
        FrameRejected: Where a value is not usable.
    """
    return (
        _price(body.price_dollars),
        _price(body.yes_bid_dollars),
        _price(body.yes_ask_dollars),
        _size(body.yes_bid_size_fp),
        _size(body.yes_ask_size_fp),
        _size(body.last_trade_size_fp),
        _size(body.volume_fp),
        _size(body.open_interest_fp),
        body.dollar_volume,
        body.dollar_open_interest,
    )


@lru_cache(maxsize=16_384)  # a ticker has eight of these, and most did not change
def _price(text: str | None) -> int | None:
    return None if text is None else price_from_dollars(text)


@lru_cache(maxsize=65_536)
def _size(text: str | None) -> int | None:
    return None if text is None else amount_from_contracts(text)


def snapshot_row(
    book: OrderBook, ticker: str, source: str, gatherer_id: str, snapshot_us: int, received_us: int
) -> SnapshotRow:
    """A book's row; a checkpoint carries no gatherer, because the three must be one."""
    yes, no = sorted(book.yes.items()), sorted(book.no.items())
    return SnapshotRow(
        snapshot_us,
        ticker,
        source,
        "" if source == Source.CHECKPOINT else gatherer_id,
        tuple(price for price, _ in yes),
        tuple(size for _, size in yes),
        tuple(price for price, _ in no),
        tuple(size for _, size in no),
        book.best_yes_bid,
        book.best_yes_ask,
        received_us,
    )


def rejected_row(raw: bytes, rejection: FrameRejected, connection: str, received_us: int) -> RejectedRow:
    """A refused frame's row; NUL, which PostgreSQL's text cannot hold, is shown escaped in the detail."""
    detail = rejection.detail.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return RejectedRow(received_us, digest_of(raw), connection, rejection.reason.value, detail, raw)
