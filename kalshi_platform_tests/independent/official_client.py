"""The exchange's own generated SDK: asks every public endpoint over REST; it has no WebSocket.

Run by an interpreter that has `kalshi_python_async` of 3.31 or newer; prints what it saw as JSON. Arguments as of
`client.py`. Its models refuse an answer that does not fit the exchange's own description.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import kalshi_python_async as kalshi


async def listings(client: kalshi.ApiClient) -> dict[str, object]:
    """What there is: series, events with all that hangs on them, milestones, combos."""
    markets, events = kalshi.MarketApi(client), kalshi.EventsApi(client)
    nested = (await events.get_events(limit=3, with_nested_markets=True)).events
    event = nested[0].event_ticker
    targets = kalshi.StructuredTargetsApi(client)
    page = await targets.get_structured_targets(page_size=5)
    collections = kalshi.MultivariateApi(client)
    return {
        "series": len((await markets.get_series_list()).series),
        "events": [len(one.markets) for one in nested],
        "event": (await events.get_event(event)).event.event_ticker,
        "faces": len((await events.get_event_metadata(event)).market_details),
        "event_fee_changes": len((await events.get_event_fee_changes(limit=10)).event_fee_changes),
        "series_fee_changes": len(
            (await kalshi.ExchangeApi(client).get_series_fee_changes(show_historical=True)).series_fee_change_arr
        ),
        "combos": len((await events.get_multivariate_events(limit=5)).events),
        "collections": len((await collections.get_multivariate_event_collections(limit=5)).multivariate_contracts),
        "targets": len(page.structured_targets),
        "target": (await targets.get_structured_target(page.structured_targets[0].id)).structured_target.name,
        "tags": len((await kalshi.SearchApi(client).get_tags_for_series_categories()).tags_by_categories),
        "milestones": len((await kalshi.MilestoneApi(client).get_milestones(limit=5)).milestones),
    }


async def trading(client: kalshi.ApiClient) -> dict[str, object]:
    """What is going on: markets, books, trades, candles, the exchange itself."""
    markets, exchange, history = kalshi.MarketApi(client), kalshi.ExchangeApi(client), kalshi.HistoricalApi(client)
    listed = (await markets.get_markets(limit=20)).markets
    first, series = listed[0], listed[0].event_ticker.split("-")[0]
    now = int(time.time())
    span = {"start_ts": now - 7200, "end_ts": now + 7200, "period_interval": 60}
    batch = await markets.batch_get_market_candlesticks(market_tickers=first.ticker, **span)
    events = await kalshi.EventsApi(client).get_market_candlesticks_by_event(first.event_ticker, series, **span)
    return {
        "markets": [market.ticker for market in listed],
        "book": (await markets.get_market_orderbook(first.ticker)).to_dict(),
        "books": len((await markets.get_market_orderbooks(tickers=[one.ticker for one in listed])).orderbooks),
        "trades": len((await markets.get_trades(limit=5)).trades),
        "candles": len((await markets.get_market_candlesticks(series, first.ticker, **span)).candlesticks),
        "batch": [len(one.candlesticks) for one in batch.markets],
        "of_event": events.market_tickers,
        "active": (await exchange.get_exchange_status()).exchange_active,
        "hours": len((await exchange.get_exchange_schedule()).schedule.standard_hours),
        "cutoff": (await history.get_historical_cutoff()).to_dict(),
        "archived": len((await history.get_historical_markets(limit=5)).markets),
        "limits": (await kalshi.AccountApi(client).get_account_api_limits()).usage_tier,
    }


async def main() -> None:
    """Look at everything, and say so."""
    rest_url, _, key_id, private_key = sys.argv[1:]
    configuration = kalshi.Configuration(host=rest_url)
    configuration.api_key_id = key_id
    configuration.private_key_pem = Path(private_key).read_text()  # noqa: ASYNC240
    async with kalshi.KalshiClient(configuration) as client:  # the base class signs nothing
        report = {"version": kalshi.__version__, **await listings(client), **await trading(client)}
    sys.stdout.write(json.dumps(report, default=str))


if __name__ == "__main__":
    asyncio.run(main())
