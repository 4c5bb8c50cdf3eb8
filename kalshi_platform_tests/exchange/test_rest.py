"""Every endpoint asked at the simulator, and recorded answers of the demo exchange decoded."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from kalshi_platform.core.errors import ExchangeRefused
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.errors import NotFound, error_of
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.objects import Event, ExchangeStatus, Market, Trade
from kalshi_platform.exchange.rest.pages import Walk
from kalshi_platform.exchange.rest.records import decode, to_record, to_records
from kalshi_platform.exchange.signing import load_signer
from kalshi_platform.simulator.market import FeeChange
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.exchange.rest_at_hand import exchange_at_hand

GONE = {"fractional_trading_enabled", "liquidity_dollars", "response_price_units"}
"""Recorded in June 2026 and removed since (kalshi-protocol.md §4.1); records keep them as extra."""


async def test_the_exchange_and_the_account(tmp_path: Path) -> None:
    """Status by shard, hours, limits and costs."""
    async with exchange_at_hand(tmp_path, RestOptions(tier="premier", endpoint_costs={"/series": 25})) as hand:
        status = await hand.client.status()
        assert status.exchange_active
        assert [one.exchange_index for one in status.exchange_index_statuses] == [0, 1]
        hours = (await hand.client.schedule()).standard_hours[0]
        assert [one["open_time"] for one in hours["thursday"]] == ["00:00", "05:00"]
        limits = await hand.client.account_limits()
        assert (limits.usage_tier, limits.read.refill_rate) == ("premier", Decimal(1200))
        assert (await hand.client.endpoint_costs()).endpoint_costs[0].path == "/trade-api/v2/series"
        assert hand.client.bucket.cost("/series") == 25


async def test_an_exchange_that_is_down_still_says_so(tmp_path: Path) -> None:
    """The status comes with 503, even to a client that could not learn its limits; it learns them later."""
    async with exchange_at_hand(tmp_path, RestOptions(failures={1: 503})) as hand:
        state = hand.simulator.rest.state
        state.exchange_active, state.trading_active, state.resumes_ms = False, False, 1_790_000_000_000
        status = await hand.client.status()
        assert (status.exchange_active, status.trading_active) == (False, False)
        assert status.exchange_estimated_resume_time == "2026-09-21T14:13:20Z"
        assert not hand.client.bucket.is_fed
        assert hand.asked == 2
        state.exchange_active = True
        assert (await hand.client.status()).exchange_active
        assert hand.client.bucket.is_fed


async def test_series_events_and_milestones(tmp_path: Path) -> None:
    """Lists and single ones agree; events bring their markets when asked."""
    async with exchange_at_hand(tmp_path) as hand:
        client = hand.client
        series = await client.series_list()
        assert series[1] == await client.series(series[1].ticker)
        assert await client.series_list(category=series[0].category) == [series[0]]
        assert series[0].fee_multiplier == Decimal(1)
        assert [one.series_ticker for one in await client.series_fee_changes()] == [one.ticker for one in series]
        assert await client.series_fee_changes(historical=False) == []
        events = [one async for one in client.events(with_nested_markets=True, walk=Walk(limit=5))]
        assert [len(one.markets) for one in events] == [5] * 11 + [2]
        assert await client.event(events[3].event_ticker) == events[3]
        assert [one async for one in client.events(status="settled")] == []
        milestones = [one async for one in client.milestones(walk=Walk(limit=7))]
        assert [one.related_event_tickers for one in milestones] == [(one.event_ticker,) for one in events]
        with pytest.raises(NotFound):
            await client.series("KXNOBODY")


async def test_fees_faces_targets_and_tags(tmp_path: Path) -> None:
    """What hangs on events: the list of targets is walked in pages of a size that has a name of its own there."""
    async with exchange_at_hand(tmp_path) as hand:
        client, catalogue = hand.client, hand.simulator.exchange.catalogue
        assert [one async for one in client.event_fee_changes()] == []
        events = catalogue.events_in_order
        changes = [FeeChange(events[place], "quadratic", 0.5, 1_790_000_000_000) for place in (2, 0, 2)]
        catalogue.fee_changes += changes
        told = [one async for one in client.event_fee_changes(walk=Walk(limit=2))]
        assert [one.event_ticker for one in told] == [one.event.ticker for one in changes]
        assert {(one.fee_multiplier_override, bool(one.extra)) for one in told} == {(Decimal("0.5"), False)}
        mine = [one async for one in client.event_fee_changes(event_ticker=events[2].ticker)]
        assert mine == [told[0], told[2]]
        metadata = await client.event_metadata(events[2].ticker)
        assert [one.market_ticker for one in metadata.market_details] == [
            one.ticker for one in catalogue.markets_by_event[events[2].ticker]
        ]
        assert not metadata.extra
        targets = [one async for one in client.structured_targets(walk=Walk(limit=5))]
        assert [one.name for one in targets] == [one.sub_title for one in events]
        assert await client.structured_target(targets[3].id) == targets[3]
        competition = events[0].series_ticker
        assert len([one async for one in client.structured_targets(competition=competition)]) == 8
        assert (await client.tags_by_categories()).keys() == {one.category for one in await client.series_list()}
        for asking in (client.event_metadata("KXNOBODY"), client.structured_target("nobody")):
            with pytest.raises(NotFound):
                await asking


async def test_combos(tmp_path: Path) -> None:
    """They have lists of their own, and legs."""
    async with exchange_at_hand(tmp_path) as hand:
        combo, _ = hand.simulator.exchange.catalogue.list_combo(1_790_000_000_000)
        (event,) = [one async for one in hand.client.multivariate_events(with_nested_markets=True)]
        assert event.markets[0].ticker == combo.ticker
        assert [one["side"] for one in event.markets[0].mve_selected_legs] == ["yes", "yes"]
        (collection,) = [one async for one in hand.client.collections()]
        assert collection == await hand.client.collection(collection.collection_ticker)
        assert event.markets[0].mve_collection_ticker == collection.collection_ticker
        only = [one.ticker async for one in hand.client.markets(MarketFilters(mve_filter="only"))]
        assert only == [combo.ticker]
        with pytest.raises(ValueError, match="exclude each other"):
            hand.client.multivariate_events(series_ticker="A", collection_ticker="B")


async def test_markets_and_books(tmp_path: Path) -> None:
    """One market, its book, and more books than one call carries."""
    async with exchange_at_hand(tmp_path, markets=230) as hand:
        markets = [one async for one in hand.client.markets()]
        assert markets[4] == await hand.client.market(markets[4].ticker)
        assert not any(one.extra for one in markets)
        before = hand.asked
        books = await hand.client.orderbooks([one.ticker for one in markets])
        assert hand.asked - before == 3
        assert [one.ticker for one in books] == [one.ticker for one in markets]
        assert books[7] == await hand.client.orderbook(markets[7].ticker)
        deep = next(one for one in books if len(one.yes_dollars) > 2)
        assert deep.yes_dollars[-1][0] == (await hand.client.market(deep.ticker)).yes_bid_dollars
        assert (await hand.client.orderbook(deep.ticker, depth=1)).yes_dollars == deep.yes_dollars[-1:]
        assert await hand.client.orderbooks([]) == []


async def test_a_redirect_is_signed_anew(tmp_path: Path) -> None:
    """A path with a slash too many is answered from the path without it, where the old signature is worth nothing."""
    async with exchange_at_hand(tmp_path) as hand:
        raw = await hand.client._transport.get_raw("/markets/", {"limit": 3})
        assert len(raw["markets"]) == 3


@pytest.mark.parametrize("ticker", ["KX A", "KX%41", "KXÄ", "KX?a=b", "KX.5-(1)+2"])
async def test_odd_names_are_signed_as_they_are_sent(tmp_path: Path, ticker: str) -> None:
    """Unknown, which the exchange says only to a signature that it accepts."""
    async with exchange_at_hand(tmp_path) as hand:
        with pytest.raises(NotFound):
            await hand.client.market(ticker)


async def test_a_wrong_key_is_refused_at_once(tmp_path: Path) -> None:
    """A clock that is half a minute late is told about, and nothing is asked twice."""
    async with exchange_at_hand(tmp_path) as hand:
        late = load_signer(hand.signer.key_id, tmp_path / "key.pem", lambda: 1_790_000_000_000)
        async with RestClient(hand.simulator.rest_url, late) as client:
            with pytest.raises(ExchangeRefused, match=r"header_timestamp_expired.*clock"):
                await client.status()


@pytest.mark.skipif(not (Path(__file__).parents[3] / "shared").is_dir(), reason="the recorded bodies are not here")
def test_recorded_answers_decode() -> None:
    """Every recorded page, market, trade and status; what is left over is what was removed since."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "rest_demo"
    seen = 0
    for path in sorted(folder.glob("markets__*.json")):
        if ".meta" in path.name or "over_max" in path.name:
            continue
        raw = decode(path.read_bytes())
        expected = raw["markets"] if "markets" in raw else [raw["market"]]
        names = [one["ticker"] for one in expected]
        markets = to_records(expected, Market)
        assert [one.ticker for one in markets] == names
        assert all(one.extra.keys() == GONE for one in markets)
        seen += len(markets)
    assert seen == 227
    assert to_record(decode((folder / "exchange__status.json").read_bytes()), ExchangeStatus).trading_active
    trades = to_records(decode((folder / "trades__public_recorded.json").read_bytes())["trades"], Trade)
    assert trades[0].count_fp == "7.77"
    assert not any(one.extra for one in trades)


@pytest.mark.skipif(not (Path(__file__).parents[3] / "shared").is_dir(), reason="the recorded bodies are not here")
def test_recorded_refusals_are_read() -> None:
    """Every recorded 400 and 401 becomes an error that says what the exchange said."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "rest_demo"
    for path in sorted(folder.glob("*.meta.json")):
        meta = json.loads(path.read_text())
        body = path.with_name(path.name.replace(".meta", "")).read_bytes()
        if meta["status"] in (400, 401):
            error = error_of(meta["path"], meta["status"], body)
            assert type(error) is ExchangeRefused
            words = json.loads(body)
            assert words.get("msg", words.get("error", {}).get("code")) in str(error).replace("\\", "")


@pytest.mark.skipif(not (Path(__file__).parents[3] / "shared").is_dir(), reason="the recorded bodies are not here")
def test_recorded_events_decode() -> None:
    """Bodies of `GET /events/{ticker}` from production, August 2026."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "gold15m" / "metadata"
    for path in folder.glob("*.json"):
        raw = decode(path.read_bytes())["response"]
        event, markets = to_record(raw["event"], Event), to_records(raw["markets"], Market)
        assert event.extra.keys() == {"available_on_brokers"}
        assert markets[0].floor_strike is None or isinstance(markets[0].floor_strike, Decimal)
