"""Filters on time, the historical cutoff, candles and the lists besides markets, as any client gets them."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from kalshi_platform.simulator import Simulator, running
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.waiting import until


@asynccontextmanager
async def asking(options: Callable[..., Any], **changes: Any) -> AsyncIterator[tuple[Simulator, Callable[..., Any]]]:
    """An exchange without cache, and a way to get a body."""
    chosen = options(markets=57, rest=RestOptions(cache_seconds=0), **changes)
    async with running(chosen) as simulator, aiohttp.ClientSession() as http:

        async def get(path: str, status: int = 200) -> Any:
            async with http.get(simulator.rest_url + path) as response:
                assert response.status == status, await response.text()
                return await response.json()

        yield simulator, get


def tickers(body: dict[str, Any]) -> list[str]:
    """The names of a page of markets."""
    return [one["ticker"] for one in body["markets"]]


async def test_filters_on_time(options: Any) -> None:
    """Both bounds count; families exclude each other and most statuses."""
    async with asking(options) as (simulator, get):
        market = simulator.exchange.catalogue.touch(4)
        market.status, market.settled_ms, market.close_ms = Status.FINALIZED, 1_790_000_000_000, 1_780_000_000_000
        for query in (
            "min_settled_ts=1790000000&max_settled_ts=1790000000&status=settled",
            "max_close_ts=1780000000",
            "min_settled_ts=1",
        ):
            assert tickers(await get(f"/markets?{query}")) == [market.ticker]
        assert tickers(await get("/markets?max_created_ts=1&status=open")) == []
        assert len(tickers(await get("/markets?min_updated_ts=1&mve_filter=exclude"))) == 57
        for query in (
            "min_close_ts=1&min_created_ts=1",
            "min_close_ts=1&status=open",
            "min_updated_ts=1&status=open",
            "min_updated_ts=1&event_ticker=X",
            "min_close_ts=soon",
        ):
            await get(f"/markets?{query}", 400)


async def test_the_cutoff_moves_markets(options: Any) -> None:
    """What was settled before it is archived: gone from live lists, single answers and nested markets."""
    async with asking(options) as (simulator, get):
        market = simulator.exchange.catalogue.touch(4)
        market.status, market.settled_ms = Status.FINALIZED, 1_790_000_000_000
        assert tickers(await get("/historical/markets")) == []
        simulator.rest.state.cutoff_ms = 1_790_000_000_001
        assert (await get("/historical/cutoff"))["market_settled_ts"] == "2026-09-21T14:13:20.001Z"
        assert len(tickers(await get("/markets"))) == 56
        await get(f"/markets/{market.ticker}", 404)
        event = await get(f"/events/{market.listing.event_ticker}")
        assert len(event["markets"]) == 4
        assert tickers(await get("/historical/markets")) == [market.ticker]
        assert tickers(await get(f"/historical/markets?event_ticker={market.listing.event_ticker}")) == [market.ticker]
        assert (await get(f"/historical/markets/{market.ticker}"))["market"]["status"] == "finalized"
        other = simulator.exchange.catalogue.markets_in_order[5].ticker
        await get(f"/historical/markets/{other}", 404)
        await get("/historical/markets?event_ticker=A&series_ticker=B", 400)


async def test_trades_and_candles(options: Any) -> None:
    """Candles add up to the trades; the archive names their fields otherwise; trades stand on one side only."""
    async with asking(options, rate=20000.0, trading=10.0) as (simulator, get):
        await until(lambda: simulator.ledger.trades >= 300)
        simulator.stop_traffic()
        entries = list(simulator.exchange.tape.before(None))
        market = simulator.exchange.catalogue.markets[entries[0].ticker]
        now = int(time.time())
        span = f"start_ts={now - 7200}&end_ts={now + 7200}&period_interval=60"
        path = f"/series/{market.listing.series_ticker}/markets/{market.ticker}/candlesticks"
        candles = (await get(f"{path}?{span}"))["candlesticks"]
        mine = [one.trade for one in entries if one.ticker == market.ticker]
        assert round(sum(float(one["volume_fp"]) for one in candles) * 100) == sum(one.size for one in mine)
        highest = max(float(one["price"]["high_dollars"]) for one in candles)
        assert highest == max(one.yes_price for one in mine) / 10_000
        batch = (await get(f"/markets/candlesticks?{span}&market_tickers={market.ticker},KXNO"))["markets"]
        assert batch == [{"market_ticker": market.ticker, "candlesticks": candles}]
        late = f"start_ts={now + 3600 * 2}&end_ts={now + 3600 * 3}&period_interval=60&include_latest_before_start=true"
        assert (await get(f"{path}?{late}"))["candlesticks"][0]["price"].keys() == {"previous_dollars"}
        for wrong in (
            "start_ts=1&end_ts=2",
            "start_ts=1&end_ts=2&period_interval=7",
            "start_ts=1&end_ts=999999&period_interval=1",
        ):
            await get(f"{path}?{wrong}", 400)
        await get("/markets/candlesticks?start_ts=0&end_ts=60&period_interval=1", 400)
        market.status, market.settled_ms = Status.FINALIZED, 1
        simulator.rest.state.cutoff_ms = entries[150].micros // 1000
        await get(f"{path}?{span}", 404)
        old = (await get(f"/historical/markets/{market.ticker}/candlesticks?{span}"))["candlesticks"]
        assert old[0]["price"]["open"] == candles[0]["price"]["open_dollars"]
        assert old[0].keys() == {"end_period_ts", "yes_bid", "yes_ask", "price", "volume", "open_interest"}
        live = [one["trade_id"] for one in (await get("/markets/trades?limit=1000"))["trades"]]
        archived = [one["trade_id"] for one in (await get("/historical/trades?limit=1000"))["trades"]]
        assert live + archived == [one.trade_id for one in entries][: len(live + archived)]
        assert live
        assert archived


async def test_combos_milestones_and_fees(options: Any) -> None:
    """Combos stay out of /events; a milestone's limit must be given; fees change in the past only."""
    async with asking(options) as (simulator, get):
        combo, event = simulator.exchange.catalogue.list_combo(int(time.time() * 1000))
        assert event.ticker not in {one["event_ticker"] for one in (await get("/events"))["events"]}
        listed = (await get("/events/multivariate?with_nested_markets=true"))["events"]
        assert [one["event_ticker"] for one in listed] == [event.ticker]
        assert tickers(listed[0]) == [combo.ticker]
        assert (await get(f"/events/{event.ticker}"))["markets"][0]["ticker"] == combo.ticker
        await get("/events/multivariate?series_ticker=A&collection_ticker=B", 400)
        for query in ("mve_filter=only", f"event_ticker={event.ticker}", f"series_ticker={event.series_ticker}"):
            assert tickers(await get(f"/markets?{query}")) == [combo.ticker]
        await get("/milestones", 400)
        assert len((await get("/milestones?limit=5"))["milestones"]) == 5
        assert (await get("/series/fee_changes"))["series_fee_change_arr"] == []
        assert len((await get("/series/fee_changes?show_historical=true"))["series_fee_change_arr"]) == 3
        assert len((await get("/exchange/schedule"))["schedule"]["standard_hours"]) == 1
        await get("/multivariate_event_collections/KXNO", 404)


async def test_a_filter_that_few_pass_gets_short_pages(options: Any) -> None:
    """A page looks at so many markets and no more; the walk still finds the one that is wanted."""
    async with running(options(markets=30_000)) as simulator, aiohttp.ClientSession() as http:
        market = simulator.exchange.catalogue.touch(25_000)
        market.status = Status.FINALIZED
        found, cursor, pages = [], "", 0
        while cursor or not pages:
            async with http.get(f"{simulator.rest_url}/markets?status=settled&cursor={cursor}") as response:
                body = await response.json()
            found += tickers(body)
            cursor, pages = body["cursor"], pages + 1
        assert (found, pages) == ([market.ticker], 3)


async def test_what_hangs_on_events(options: Any) -> None:
    """Fees that sockets were told of, faces, targets and tags; wrong sizes are refused."""
    async with asking(options, rate=20_000.0, change_market_seconds=0.02) as (simulator, get):
        await until(lambda: simulator.exchange.catalogue.fee_changes)
        simulator.stop_traffic()
        told = simulator.exchange.catalogue.fee_changes
        changes = (await get("/events/fee_changes?limit=1000"))["event_fee_changes"]
        assert [one["event_ticker"] for one in changes] == [one.event.ticker for one in told]
        assert (await get("/events/fee_changes?event_ticker=KXNO"))["event_fee_changes"] == []
        event = changes[0]["event_ticker"]
        face = await get(f"/events/{event}/metadata")
        assert [one["market_ticker"] for one in face["market_details"]] == tickers(await get(f"/events/{event}"))
        await get("/events/KXNO/metadata", 404)
        targets = await get("/structured_targets?page_size=5")
        assert len(targets["structured_targets"]) == 5
        one = targets["structured_targets"][4]
        assert (await get(f"/structured_targets/{one['id']}"))["structured_target"] == one
        for size in (0, 2001):
            await get(f"/structured_targets?page_size={size}", 400)
        assert (await get("/structured_targets?type=person"))["structured_targets"] == []
        assert len((await get("/search/tags_by_categories"))["tags_by_categories"]) >= 2


async def test_candles_of_an_event_are_cut(options: Any) -> None:
    """More than 5,000 candles end early, and the answer says where."""
    async with asking(options) as (simulator, get):
        event = simulator.exchange.catalogue.events_in_order[0]
        names = [one.ticker for one in simulator.exchange.catalogue.markets_by_event[event.ticker]]
        path = f"/series/{event.series_ticker}/events/{event.ticker}/candlesticks"
        body = await get(f"{path}?start_ts=0&end_ts=600000&period_interval=1")
        assert body["adjusted_end_ts"] == 1000 * 60 - 1
        assert body["market_tickers"] == names
        assert len(body["market_candlesticks"]) == 5
        assert (await get(f"{path}?start_ts=0&end_ts=600&period_interval=1"))["adjusted_end_ts"] == 600
        await get(f"{path}?start_ts=0&end_ts=600", 400)
