"""What lies before production: the exchange's channels and the gatherers' tables, as external assets.

- Add here: sources that Dagster neither makes nor reads, so that lineage begins where data begins.
- Keep out: production's tables (`tables`) and anything that runs.
- Every gatherer has the same tables; one asset stands for the three copies that the deduplicator merges.
- Dagster's word: external assets, https://docs.dagster.io/guides/build/assets/external-assets
"""

import dagster as dg

from kalshi_platform.core.schema import CAPTURE_TABLES, STREAM_TABLES, Home, Table, tables_of
from kalshi_platform.defs.metadata import COLUMN_SCHEMA, OWNER, table_columns

EXCHANGE = "exchange"
GATHERERS = "gatherers"

REST_KEY = dg.AssetKey([EXCHANGE, "rest"])
"""The exchange's REST API."""

_CHANNELS = {
    "orderbook_delta": "WebSocket: every change of every book, and whole books when asked for.",
    "ticker": "WebSocket: last price, best bid and ask, volume and open interest of every market.",
    "trade": "WebSocket: every trade.",
    "market_lifecycle_v2": "WebSocket: markets come, open, pause, are determined and settled.",
}
CHANNEL_OF = {
    "trades": "trade",
    "orderbook_deltas": "orderbook_delta",
    "orderbook_snapshots": "orderbook_delta",
    "tickers": "ticker",
}
"""Stream table → the channel that fills it."""


def gatherer_key(table: Table) -> dg.AssetKey:
    """The asset that a table of the gatherers is."""
    return dg.AssetKey([GATHERERS, table.name])


def merged_from(table: Table) -> list[dg.AssetKey]:
    """What the deduplicator merges into a table of production."""
    return [gatherer_key(table)] if table in (*STREAM_TABLES, *CAPTURE_TABLES) else []


def _channel(name: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        [EXCHANGE, name], description=description, group_name=EXCHANGE, owners=[OWNER], kinds={"websocket"}
    )


def _gathered(table: Table) -> dg.AssetSpec:
    channels = [CHANNEL_OF[table.name]] if table.name in CHANNEL_OF else _CHANNELS
    return dg.AssetSpec(
        gatherer_key(table),
        deps=[dg.AssetKey([EXCHANGE, name]) for name in channels],
        description=f"{table.comment} Each gatherer has its own.",
        metadata={COLUMN_SCHEMA: table_columns(table, Home.GATHERER), "key": ", ".join(table.key)},
        group_name=GATHERERS,
        owners=[OWNER],
        kinds={"postgres", "table"},
    )


EXCHANGE_SOURCES = [
    *(_channel(name, description) for name, description in _CHANNELS.items()),
    dg.AssetSpec(
        REST_KEY,
        description="REST: what is listed, what was traded, candles; live and under /historical.",
        group_name=EXCHANGE,
        owners=[OWNER],
        kinds={"rest"},
    ),
]
"""The exchange's channels and its REST API."""

GATHERER_TABLES = [_gathered(table) for table in tables_of(Home.GATHERER) if table.home is not Home.PRODUCTION]
"""Every table of the gatherers."""
