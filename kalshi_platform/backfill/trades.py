"""Trades as REST has them, as rows of production: each once, whichever way it came first.

A REST trade has no receive time of the socket's, its time carries microseconds, and old ones may lack the taker's side,
the mark of a block trade, or all below the second of their time. So a trade that production has under the same id
within the same second is that trade; only what REST says and production denies is a conflict. Kept out: fetching.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from io import BytesIO

import asyncpg

from kalshi_platform.core.messages import TradeBody
from kalshi_platform.core.records import TradeRow, trade_row
from kalshi_platform.core.schema import TRADES, Home
from kalshi_platform.core.units import MILLISECOND, SECOND, us_from_rfc3339
from kalshi_platform.database.binary_copy import RowEncoder
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.partitions import PartitionKeeper
from kalshi_platform.exchange.rest.objects import Trade

SOURCE = "rest"
"""Who brought a copy that disagrees, in `merge_conflicts.gatherer_id`."""

_EPOCH = date(1970, 1, 1)
_DAY_US = 86_400 * SECOND

# OFFSET 0 keeps the planner from joining in another way than by the key, row by row: it knows nothing of the size of
# a staging table, and a scan of a month's partitions for a thousand trades would be the end.
_MEET = """
WITH met AS (
    SELECT came.ctid AS place, kept.trade_id, kept.ticker, to_jsonb(kept) AS kept, to_jsonb(came) AS came,
           (kept.ticker, kept.price, kept.size) IS DISTINCT FROM (came.ticker, came.price, came.size)
           OR kept.taker_side <> came.taker_side OR (came.is_block_trade AND NOT kept.is_block_trade) AS disagrees
    FROM {staged} AS came CROSS JOIN LATERAL (
        SELECT * FROM trades AS one
        WHERE one.trade_id = came.trade_id AND one.exchange_ts = came.exchange_ts
        UNION ALL
        SELECT * FROM trades AS one
        WHERE one.trade_id = came.trade_id AND one.exchange_ts = date_trunc('second', came.exchange_ts)
          AND one.exchange_ts <> came.exchange_ts
        UNION ALL
        SELECT * FROM trades AS one
        WHERE one.trade_id = came.trade_id AND came.exchange_ts = date_trunc('second', came.exchange_ts)
          AND one.exchange_ts > came.exchange_ts AND one.exchange_ts < came.exchange_ts + interval '1 second'
        OFFSET 0
    ) AS kept
), noted AS (
    INSERT INTO merge_conflicts (table_name, row_key, gatherer_id, ticker, kept, refused)
    SELECT 'trades', jsonb_build_array(trade_id)::text, $1, ticker, kept, came FROM met WHERE disagrees
    ON CONFLICT DO NOTHING RETURNING 1
), gone AS (
    DELETE FROM {staged} WHERE ctid IN (SELECT place FROM met) RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS known, (SELECT count(*) FROM noted) AS conflicts
"""


@dataclass(frozen=True, slots=True)
class Inserted:
    """What became of some trades."""

    new: int
    known: int
    conflicts: int


def row_of(trade: Trade, received_us: int) -> TradeRow:
    """A trade's row, as the socket's copy of it would be, but for the receive time.

    Args:
        trade: As REST has it.
        received_us: When the answer came, µs since 1970.

    Raises:
        FrameRejected: A value is not usable.
    """
    body = TradeBody(
        trade_id=trade.trade_id,
        market_ticker=trade.ticker,
        yes_price_dollars=trade.yes_price_dollars,
        count_fp=trade.count_fp,
        taker_outcome_side=trade.taker_outcome_side,
        taker_book_side=trade.taker_book_side,
        taker_side=trade.taker_side,
        is_block_trade=bool(trade.is_block_trade),
        ts_ms=us_from_rfc3339(trade.created_time) // MILLISECOND,
    )
    return trade_row(body, received_us)


class TradeInserter:
    """Puts trades into production within a caller's transaction; one for each connection."""

    def __init__(self) -> None:
        self._encoder = RowEncoder(TRADES, Home.PRODUCTION)
        self._stage = Stage(TRADES, Home.PRODUCTION)
        self._partitions = PartitionKeeper()
        self._meet = _MEET.format(staged=self._stage.staged)

    async def make_room(self, production: asyncpg.Connection, rows: Sequence[TradeRow]) -> None:
        """Make the partitions of the rows' days; outside of a transaction."""
        days = {row.exchange_ts // _DAY_US for row in rows}
        await self._partitions.ensure(production, TRADES, [_EPOCH + timedelta(days=day) for day in days])

    async def insert(self, production: asyncpg.Connection, rows: Sequence[TradeRow]) -> Inserted:
        """Insert the trades that production does not have; of each it has, note where it says something else."""
        if not rows:
            return Inserted(0, 0, 0)
        await self._stage.load(production, BytesIO(self._encoder.encode(rows)))
        await self._stage.take_turn(production)
        met = await production.fetchrow(self._meet, SOURCE)
        assert met is not None  # noqa: S101 - the query has no FROM, so it has one row
        new = await self._stage.insert_loaded(production)
        return Inserted(new, len(rows) - new, met["conflicts"])


def second_of(row: TradeRow) -> datetime:
    """The second in which a trade was made."""
    return datetime.fromtimestamp(row.exchange_ts // SECOND, UTC)
