import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kalshi_platform.simulator import Simulator, running
from kalshi_platform.simulator.market import Status
from kalshi_platform_tests.waiting import until

MARKET_FIELDS = {
    "ticker",
    "event_ticker",
    "market_type",
    "yes_sub_title",
    "no_sub_title",
    "created_time",
    "updated_time",
    "open_time",
    "close_time",
    "latest_expiration_time",
    "settlement_timer_seconds",
    "status",
    "yes_bid_dollars",
    "yes_bid_size_fp",
    "yes_ask_dollars",
    "yes_ask_size_fp",
    "no_bid_dollars",
    "no_ask_dollars",
    "last_price_dollars",
    "volume_fp",
    "volume_24h_fp",
    "open_interest_fp",
    "result",
    "can_close_early",
    "notional_value_dollars",
    "previous_yes_bid_dollars",
    "previous_yes_ask_dollars",
    "previous_price_dollars",
    "expiration_value",
    "rules_primary",
    "rules_secondary",
    "price_level_structure",
    "price_ranges",
}
EVENT_FIELDS = {
    "event_ticker",
    "series_ticker",
    "title",
    "sub_title",
    "collateral_return_type",
    "mutually_exclusive",
    "settlement_sources",
}
SERIES_FIELDS = {
    "ticker",
    "frequency",
    "title",
    "category",
    "tags",
    "settlement_sources",
    "contract_url",
    "contract_terms_url",
    "fee_type",
    "fee_multiplier",
    "additional_prohibitions",
}


@dataclass(frozen=True)
class Api:
    """A running exchange and the way to ask it."""

    simulator: Simulator
    http: aiohttp.ClientSession

    async def get(self, path: str, status: int = 200) -> Any:
        """The body of a GET that must end with this status."""
        async with self.http.get(self.simulator.rest_url + path) as response:
            assert response.status == status
            assert response.content_type == "application/json"
            return await response.json()

    async def walk(self, path: str, name: str, cursor: str = "") -> list[dict[str, Any]]:
        """Every row of a paged list, from a cursor on."""
        rows: list[dict[str, Any]] = []
        joint = "&" if "?" in path else "?"
        while True:
            body = await self.get(f"{path}{joint}cursor={cursor}")
            rows += body[name]
            cursor = body["cursor"]
            if not cursor:
                return rows


@pytest.fixture
async def api(options: Callable[..., Any]) -> AsyncIterator[Api]:
    """An exchange of 57 markets without traffic."""
    async with running(options(markets=57)) as simulator, aiohttp.ClientSession() as http:
        yield Api(simulator, http)


async def test_pages_cover_every_market_once(api: Api) -> None:
    """Whatever the page size, the walk gives each market once, in the order of listing."""
    expected = list(api.simulator.exchange.catalogue.markets)
    for limit in (1, 19, 56, 57, 1000):
        assert [m["ticker"] for m in await api.walk(f"/markets?limit={limit}", "markets")] == expected
    assert len((await api.get("/markets"))["markets"]) == 57


async def test_objects_carry_every_required_field(api: Api) -> None:
    """Market, event and series have the fields that the specification requires."""
    market = (await api.get("/markets?limit=1"))["markets"][0]
    assert market.keys() >= MARKET_FIELDS
    assert (await api.get(f"/markets/{market['ticker']}"))["market"] == market
    event = (await api.get(f"/events/{market['event_ticker']}?with_nested_markets=true"))["event"]
    assert event.keys() >= EVENT_FIELDS
    assert event["markets"][0] == market
    beside = await api.get(f"/events/{market['event_ticker']}")
    assert beside["markets"] == event["markets"]
    assert "markets" not in beside["event"]
    series = (await api.get(f"/series/{event['series_ticker']}"))["series"]
    assert series.keys() >= SERIES_FIELDS
    assert series in (await api.get("/series"))["series"]
    assert (await api.get("/series?category=Nothing"))["series"] == []


async def test_market_filters(api: Api) -> None:
    """Filters by name, event, series and combos; `open` is answered with `active`."""
    markets = list(api.simulator.exchange.catalogue.markets_in_order)
    one = markets[7]
    names = f"{markets[3].ticker},{one.ticker},KXNOBODY"
    assert [m["ticker"] for m in await api.walk(f"/markets?tickers={names}", "markets")] == [
        markets[3].ticker,
        one.ticker,
    ]
    assert len(await api.walk(f"/markets?event_ticker={one.listing.event_ticker}", "markets")) == 5
    assert len(await api.walk(f"/markets?series_ticker={one.listing.series_ticker}", "markets")) == 40
    assert len(await api.walk("/markets?mve_filter=exclude&limit=10", "markets")) == 57
    assert await api.walk("/markets?mve_filter=only", "markets") == []
    one.status = Status.DETERMINED
    markets[8].status = Status.FINALIZED
    for text, found in (("open", 55), ("closed", 1), ("settled", 1), ("unopened", 0), ("paused", 0), ("", 57)):
        rows = await api.walk(f"/markets?status={text}&limit=20", "markets")
        assert len(rows) == found
        assert text != "open" or {row["status"] for row in rows} == {"active"}


async def test_event_pages_and_filters(api: Api) -> None:
    """Events page too, with their markets inside when asked; a status means that some market has it."""
    rows = await api.walk("/events?limit=5&with_nested_markets=true", "events")
    assert [row["event_ticker"] for row in rows] == list(api.simulator.exchange.catalogue.events)
    assert sum(len(row["markets"]) for row in rows) == 57
    assert len(await api.walk("/events?status=open", "events")) == len(rows)
    assert await api.walk("/events?status=settled", "events") == []
    assert len(await api.walk(f"/events?tickers={rows[2]['event_ticker']}", "events")) == 1
    assert len(await api.walk("/events?series_ticker=KXSIM001", "events")) == 4


async def test_books(api: Api) -> None:
    """Both keys, ascending, the best last; depth keeps the best; up to a hundred books in one call."""
    markets = api.simulator.exchange.catalogue.markets_in_order
    market = next(m for m in markets if len(m.book.levels["yes"]) > 3 and m.book.levels["no"])
    book = (await api.get(f"/markets/{market.ticker}/orderbook"))["orderbook_fp"]
    assert book.keys() == {"yes_dollars", "no_dollars"}
    prices = [float(price) for price, _ in book["yes_dollars"]]
    assert prices == sorted(prices)
    assert round(prices[-1] * 10_000) == market.book.best["yes"]
    short = (await api.get(f"/markets/{market.ticker}/orderbook?depth=2"))["orderbook_fp"]
    assert short["yes_dollars"] == book["yes_dollars"][-2:]
    query = "&".join(f"tickers={one.ticker}" for one in markets)
    books = (await api.get(f"/markets/orderbooks?{query}&tickers=KXNOBODY"))["orderbooks"]
    assert [one["ticker"] for one in books] == [one.ticker for one in markets]
    assert {"ticker": market.ticker, "orderbook_fp": book} in books
    one_sided = next(m for m in markets if not m.book.levels["no"])
    assert (await api.get(f"/markets/{one_sided.ticker}/orderbook"))["orderbook_fp"]["no_dollars"] == []
    listed = (await api.get(f"/markets/{one_sided.ticker}"))["market"]
    assert (listed["yes_ask_dollars"], listed["yes_ask_size_fp"]) == ("1.0000", "0.00")


async def test_exchange_status(api: Api) -> None:
    """The exchange is open, shard by shard."""
    status = await api.get("/exchange/status")
    assert status["exchange_active"] is status["trading_active"] is True
    assert status["exchange_index_statuses"][0]["exchange_index"] == 0


async def test_errors(api: Api) -> None:
    """Wrong requests get the exchange's status and body; a trailing slash leads to the path without."""
    too_much = (
        "Parameter validation failed for GetMarkets: Key: 'GetMarketsParams.Limit' "
        "Error:Field validation for 'Limit' failed on the 'lte' tag"
    )
    assert await api.get("/markets?limit=1001", 400) == {"msg": too_much}
    for path in ("/markets/KXNO", "/markets/KXNO/orderbook", "/events/KXNO", "/series/KXNO", "/nothing/here"):
        assert (await api.get(path, 404))["error"]["code"] == "not_found"
    for query in ("limit=x", "limit=-1", "cursor=%21", "cursor=eA", "status=active", "mve_filter=maybe"):
        body = await api.get(f"/markets?{query}", 400)
        assert "error" in body or "msg" in body
    assert "error" in await api.get("/markets/orderbooks", 400)
    assert "error" in await api.get("/events?with_nested_markets=perhaps", 400)
    async with api.http.get(f"{api.simulator.rest_url}/markets/", allow_redirects=False) as response:
        assert response.status == 301
        assert response.headers["Location"].endswith("/markets")


async def test_trades(options: Any, tmp_path: Path) -> None:
    """Newest first in pages, all that the ledger holds, microseconds whose floor is the socket's time; filters."""
    path = tmp_path / "ledger.ndjson"
    async with running(options(rate=3000.0, trading=10.0, ledger=path)) as simulator, aiohttp.ClientSession() as http:
        api = Api(simulator, http)
        await until(lambda: simulator.ledger.trades >= 20)
        early_page = await api.get("/markets/trades?limit=5")
        await until(lambda: simulator.ledger.trades >= 300)
        simulator.stop_traffic()
        told = [line for line in map(json.loads, path.read_text().splitlines()) if line["kind"] == "trade"][::-1]
        rows = await api.walk("/markets/trades?limit=7", "trades")
        assert [row["trade_id"] for row in rows] == [line["trade_id"] for line in told]
        assert rows == await api.walk("/markets/trades?limit=1000", "trades")
        times = [datetime.fromisoformat(row["created_time"]) for row in rows]
        assert times == sorted(times, reverse=True)
        assert [int(time.timestamp() * 1000 + 1e-4) for time in times] == [line["ts_ms"] for line in told]
        ticker = rows[0]["ticker"]
        mine = await api.walk(f"/markets/trades?ticker={ticker}&limit=3", "trades")
        assert mine == [row for row in rows if row["ticker"] == ticker]
        assert all(row["is_block_trade"] for row in await api.walk("/markets/trades?is_block_trade=true", "trades"))
        second = told[len(told) // 2]["ts_ms"] // 1000
        early = await api.walk(f"/markets/trades?max_ts={second}", "trades")
        late = await api.walk(f"/markets/trades?min_ts={second}", "trades")
        assert late + early == rows
        older = await api.walk("/markets/trades?limit=5", "trades", early_page["cursor"])
        assert early_page["trades"] + older == rows[-len(older) - 5 :], "a cursor holds while new trades arrive"
