"""Both sides of the historical cutoff, with a cutoff that moves while one walks."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kalshi_platform.exchange.rest.candles import CandleEndpoints, Periods
from kalshi_platform.exchange.rest.errors import NotFound, UnexpectedAnswer
from kalshi_platform.exchange.rest.objects import Trade
from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.rest.options import RestOptions
from kalshi_platform_tests.exchange.rest_at_hand import AtHand, exchange_at_hand
from kalshi_platform_tests.waiting import until

FRESH = RestOptions(tier="prestige", cache_seconds=0)
TRADING = {"rate": 20_000.0, "trading": 10.0}


async def of_pages(pages: AsyncIterator[list[Trade]]) -> list[Trade]:
    """The trades of all pages."""
    return [one async for page in pages for one in page]


async def trade(hand: AtHand, trades: int) -> list[str]:
    """Wait for so many trades and the end of traffic; the ids of all, oldest first."""
    await until(lambda: hand.simulator.ledger.trades >= trades)
    hand.simulator.stop_traffic()
    return [entry.trade_id for entry in hand.simulator.exchange.tape.before(None)][::-1]


def middle_ms(hand: AtHand) -> int:
    """The time of the trade in the middle."""
    entries = list(hand.simulator.exchange.tape.before(None))
    return entries[len(entries) // 2].micros // 1000


async def test_trades_of_a_range_come_from_both_sides_once(tmp_path: Path) -> None:
    """Wherever the cutoff lies, and in slices of any length."""
    async with exchange_at_hand(tmp_path, FRESH, **TRADING) as hand:
        start = int(time.time()) - 5
        names = await trade(hand, 1200)
        for cutoff, slices in ((0, None), (middle_ms(hand), None), (middle_ms(hand), 1), (2**41, 3)):
            hand.simulator.rest.state.cutoff_ms = cutoff
            found = await of_pages(hand.client.trades_between(start, start + 30, slice_seconds=slices))
            assert sorted(one.trade_id for one in found) == sorted(names), (cutoff, slices)
        hand.simulator.rest.state.trades_cutoff_ms = middle_ms(hand)  # markets moved further than trades
        apart = [one.trade_id for one in await of_pages(hand.client.trades_between(start, start + 30))]
        assert sorted(apart) == sorted(names)
        entries = list(hand.simulator.exchange.tape.before(None))
        border = entries[0].micros // 1_000_000
        late = [one.trade_id for one in await of_pages(hand.client.trades_between(border, border + 30))]
        assert sorted(late) == sorted(one.trade_id for one in entries if one.micros >= border * 1_000_000)
        ticker = entries[0].ticker
        mine = [one.trade_id for one in await of_pages(hand.client.trades_between(start, start + 30, ticker=ticker))]
        assert sorted(mine) == sorted(one.trade_id for one in entries if one.ticker == ticker)


async def test_a_cutoff_that_moves_meanwhile_loses_nothing(tmp_path: Path) -> None:
    """Trades that leave the live side between two of its pages are found on the other side, and none is doubled."""
    async with exchange_at_hand(tmp_path, FRESH, **TRADING) as hand:
        start = int(time.time()) - 5
        names = await trade(hand, 1600)
        hand.simulator.rest.state.cutoff_ms = (start - 60) * 1000
        found: list[str] = []
        async for page in hand.client.trades_between(start, start + 30):
            found += [one.trade_id for one in page]
            if len(found) == 1000:  # behind the first page: the rest of the live side is gone with the next
                hand.simulator.rest.state.cutoff_ms = 2**41
        assert sorted(found) == sorted(names)


async def test_every_market_wherever_it_is(tmp_path: Path) -> None:
    """Archived markets are missing from live answers, and from nothing that asks for both."""
    async with exchange_at_hand(tmp_path, FRESH) as hand:
        catalogue = hand.simulator.exchange.catalogue
        kept = [catalogue.touch(place) for place in range(0, 40, 4)]
        for number, market in enumerate(kept):
            market.status, market.result, market.settled_ms = Status.FINALIZED, "yes", 1_790_000_000_000 + number * 1000
        hand.simulator.rest.state.cutoff_ms = 1_790_000_005_000
        live = [one.ticker async for one in hand.client.markets()]
        assert set(catalogue.markets) - set(live) == {one.ticker for one in kept[:5]}
        everything = [one.ticker async for one in hand.client.every_market()]
        assert sorted(everything) == sorted(catalogue.markets)
        some = [one.ticker async for one in hand.client.settled_markets(1_790_000_002, 1_790_000_008)]
        assert sorted(some) == sorted(one.ticker for one in kept[2:8])
        assert (await hand.client.historical_market(kept[0].ticker)).result == "yes"
        with pytest.raises(ValueError, match="exclude each other"):
            hand.client.historical_markets(event_ticker="A", series_ticker="B")
        moved = []
        async for one in hand.client.every_market():
            moved.append(one.ticker)
            hand.simulator.rest.state.cutoff_ms = 1_790_000_009_000
        assert sorted(moved) == sorted(catalogue.markets)


async def test_candles_have_one_shape(tmp_path: Path) -> None:
    """Live, archived and in a batch the same candles, whose volume is that of the trades."""
    async with exchange_at_hand(tmp_path, FRESH, **TRADING) as hand:
        now = int(time.time())
        await trade(hand, 400)
        entries = list(hand.simulator.exchange.tape.before(None))
        market = hand.simulator.exchange.catalogue.markets[entries[0].ticker]
        periods = Periods(start_ts=now - 3600, end_ts=now + 3600)
        live = await hand.client.candlesticks(market.listing.series_ticker, market.ticker, periods)
        volume = sum(float(one.volume_fp or 0) for one in live)
        sizes = [one.trade.size for one in entries if one.ticker == market.ticker]
        assert round(volume * 100) == sum(sizes)
        assert live[0].price
        assert live[0].price.open_dollars
        tickers = [*hand.simulator.exchange.catalogue.markets]
        batch = await hand.client.batch_candlesticks(tickers, periods)
        assert batch[market.ticker] == live
        assert batch.keys() == set(tickers)
        market.status, market.settled_ms = Status.FINALIZED, 1
        hand.simulator.rest.state.cutoff_ms = 2
        assert await hand.client.candlesticks(market.listing.series_ticker, market.ticker, periods) == live


async def test_an_event_s_candles_come_whole_although_they_are_cut(tmp_path: Path) -> None:
    """Five markets of a minute's candles over two days are more than one answer holds; the same as market by market."""
    async with exchange_at_hand(tmp_path, FRESH, rate=20000.0, markets=5) as hand:
        now = int(time.time())
        await trade(hand, 200)
        event = hand.simulator.exchange.catalogue.events_in_order[0]
        periods = Periods(start_ts=now - 2 * 86_400, end_ts=now + 3600)
        before = hand.asked
        found = await hand.client.event_candlesticks(event.series_ticker, event.ticker, periods)
        assert hand.asked - before == 3 + 2, "two days and an hour in spans of 1,000 minutes; limits and costs"
        singly = {
            ticker: await hand.client.live_candlesticks(event.series_ticker, ticker, periods)
            for ticker in hand.simulator.exchange.catalogue.markets
        }
        assert found == singly
        assert any(singly.values())
        with pytest.raises(NotFound):
            await hand.client.event_candlesticks(event.series_ticker, "KXNOBODY", periods)


async def test_a_cut_that_gets_nowhere_is_an_error() -> None:
    """An exchange that always says it got no further is not asked for ever."""

    class Stuck:
        """Cuts everything away."""

        async def get_raw(self, path: str, query: object) -> object:
            return {"market_tickers": [], "market_candlesticks": [], "adjusted_end_ts": 99}

    candles = CandleEndpoints(Stuck())  # type: ignore[arg-type]
    with pytest.raises(UnexpectedAnswer, match="cut before its beginning"):
        await candles.event_candlesticks("KXS", "KXE", Periods(start_ts=100, end_ts=200))


def test_long_ranges_are_cut_without_doubling() -> None:
    """Each period's end lies in exactly one span; impossible ones are refused."""
    periods = Periods(start_ts=30, end_ts=60 * 100, minutes=1, include_latest_before_start=True)
    spans = list(periods.spans(7))
    ends = [end for span in spans for end in range(0, 6001, 60) if span["start_ts"] <= end <= span["end_ts"]]
    assert ends == list(range(60, 6001, 60))
    assert [span["include_latest_before_start"] for span in spans] == [True] + [None] * (len(spans) - 1)
    with pytest.raises(ValueError, match="1, 60 or 1440"):
        Periods(start_ts=0, end_ts=1, minutes=5)
    with pytest.raises(ValueError, match="before they start"):
        Periods(start_ts=2, end_ts=1)
