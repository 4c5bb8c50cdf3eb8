"""Each check of the record is seen to fail on the defect that it is for, and to pass without it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS, STREAM_TABLES, TICKERS, TRADES, Table
from kalshi_platform.database.export import read_window
from kalshi_platform.defs.checks import coverage as coverage_module
from kalshi_platform.defs.checks.books import BOOK_CHECKS, replay_check
from kalshi_platform.defs.checks.coverage import COVERAGE_CHECKS
from kalshi_platform.defs.checks.freshness import LAKE_FRESHNESS, PRODUCTION_FRESHNESS
from kalshi_platform.defs.checks.trades import trade_delta_coupling
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

Export = Callable[..., None]


@pytest.fixture
def export(production_database: str, lake: Lake) -> Export:
    """Writes the file that a table's rows of noon belong to."""

    def exported(table: Table, moment: datetime = NOON) -> None:
        dataset = RAW[table.name]
        start = dataset.period.floor(moment)
        with read_window(production_database, table, start, dataset.end(start)) as batches:
            write_partition(lake, dataset, start, batches)

    return exported


def _trade(number: int, **values: Any) -> dict[str, Any]:
    """A taker bought yes at 56 cents, so the maker stood on no at 44."""
    row = {"exchange_ts": NOON, "trade_id": UUID(int=number), "ticker": "KXA", "price": 560_000, "size": 300}
    return row | {"taker_side": True, "is_block_trade": False, "received_at": NOON} | values


def _checkpoint(moment: datetime, yes: dict[int, int], no: dict[int, int], ticker: str = "KXA") -> dict[str, Any]:
    return {
        "snapshot_ts": moment, "ticker": ticker, "source": "checkpoint", "gatherer_id": "",
        "yes_prices": sorted(yes), "yes_sizes": [yes[price] for price in sorted(yes)],
        "no_prices": sorted(no), "no_sizes": [no[price] for price in sorted(no)], "received_at": moment,
    }  # fmt: skip


def _of(checks: list[dg.AssetChecksDefinition], table: Table) -> dg.AssetChecksDefinition:
    return next(one for one in checks if one.check_key.asset_key.path[-1] == table.name)


def test_every_trade_needs_a_delta_of_its_own(fill: Any, delta: Any, export: Export, evaluate: Any) -> None:
    """Two equal trades need two equal deltas; block trades and unknown takers need none."""
    fill(ORDERBOOK_DELTAS, delta(0, side=False, price=440_000, size_delta=-300))
    fill(TRADES, _trade(1), _trade(2, is_block_trade=True, size=9), _trade(3, taker_side=None, size=8))
    export(TRADES)
    assert evaluate(trade_delta_coupling).passed
    fill(TRADES, _trade(4))
    found = evaluate(trade_delta_coupling)
    assert not found.passed
    assert found.description == "2026-11-20: hour 2026-11-20 12:00: KXA: 1 trades without a delta"
    fill(ORDERBOOK_DELTAS, delta(0, side=False, price=440_000, size_delta=-300, occurrence=1))
    assert evaluate(trade_delta_coupling).passed


@pytest.mark.parametrize(
    "wrong",
    [{"side": True}, {"price": 560_000}, {"size_delta": 300}, {"ticker": "KXB"}, {"exchange_ts": NOON + MINUTE}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_another_delta_does_not_do(wrong: Any, fill: Any, delta: Any, export: Export, evaluate: Any) -> None:
    """Same millisecond, the maker's side and price, minus the size."""
    fill(ORDERBOOK_DELTAS, delta(0, **({"side": False, "price": 440_000, "size_delta": -300} | wrong)))
    fill(TRADES, _trade(1))
    export(TRADES)
    assert not evaluate(trade_delta_coupling).passed


@pytest.mark.parametrize("ticker", ["KXA", ""], ids=["the market", "every market"])
def test_a_trade_that_nobody_could_hear_is_explained(
    ticker: str, fill: Any, delta: Any, note: Any, export: Export, evaluate: Any
) -> None:
    """The interval is `coverage`'s to report; one of another market explains nothing. Nor is a day proven by it."""
    fill(TRADES, _trade(1))
    export(TRADES)
    gap = {"hour": NOON, "channel": "orderbook_delta", "from_at": NOON - MINUTE, "until_at": NOON + MINUTE}
    note("uncovered_intervals", ticker="KXB", **gap)
    assert not evaluate(trade_delta_coupling).passed
    note("uncovered_intervals", ticker=ticker, **gap)
    found = evaluate(trade_delta_coupling)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN), "green for nothing"
    assert "nobody heard the books of any of 1 trades" in str(found.description)
    fill(ORDERBOOK_DELTAS, delta(0, ticker="KXC", side=False, price=440_000, size_delta=-300))
    fill(TRADES, _trade(2, ticker="KXC"))
    export(TRADES)
    found = evaluate(trade_delta_coupling)
    assert found.passed
    assert found.metadata["explained"].value == 1


@pytest.mark.parametrize(
    ("ticker", "heard", "explained"),
    [("KXA", MINUTE, 1), ("KXA", -MINUTE, 0), ("KXMVE-1", None, 1), ("KXMVE-1", -MINUTE, 0), ("KXA", None, 0)],
    ids=["before it was heard", "after", "a combo that nobody follows", "one that is followed", "a market left out"],
)
def test_a_trade_before_its_book_was_heard_is_explained(
    ticker: str, heard: timedelta | None, explained: int, fill: Any, delta: Any, note: Any, export: Export,
    evaluate: Any,
) -> None:  # fmt: skip
    """It came over REST, or is a combo's; a market that was left out while others were heard is a defect."""
    for name, since in (("KXB", -HOUR), (ticker, heard)):
        if since is not None:
            note(
                "capture_sessions", started_at=NOON + since, gatherer_id="g", connection="c",
                channel="orderbook_delta", ticker=name, sid=1,
            )  # fmt: skip
    fill(ORDERBOOK_DELTAS, delta(0, ticker="KXB", side=False, price=440_000, size_delta=-300))
    fill(TRADES, _trade(1, ticker=ticker), _trade(2, ticker="KXB"))
    export(TRADES)
    found = evaluate(trade_delta_coupling)
    assert (found.passed, found.metadata["explained"].value) == (bool(explained), explained)


@pytest.fixture
def replayable(fill: Any, delta: Any) -> None:
    """An hour of two markets that fits: one with a checkpoint in its middle, one that was quiet before."""
    fill(
        ORDERBOOK_SNAPSHOTS,
        _checkpoint(NOON, {500_000: 100}, {400_000: 200}),
        _checkpoint(NOON + 30 * MINUTE, {500_000: 150}, {400_000: 200}),
        _checkpoint(NOON + HOUR, {500_000: 150}, {}),
        _checkpoint(NOON - 5 * HOUR, {}, {300_000: 700}, ticker="KXQUIET"),
        _checkpoint(NOON + HOUR, {}, {300_000: 600}, ticker="KXQUIET"),
    )
    fill(
        ORDERBOOK_DELTAS,
        delta(1_000, price=500_000, size_delta=50),
        delta(2_400_000, side=False, price=400_000, size_delta=-200),
        delta(5_000, ticker="KXQUIET", side=False, price=300_000, size_delta=-100),
        delta(5_000, ticker="KXNEW", price=500_000, size_delta=100),
    )


def test_an_hour_that_leads_from_checkpoint_to_checkpoint_passes(
    replayable: None, export: Export, evaluate: Any
) -> None:
    """What comes before a market's first checkpoint is counted, for no proof speaks of it."""
    export(ORDERBOOK_DELTAS)
    found = evaluate(replay_check)
    assert found.passed
    assert {name: entry.value for name, entry in found.metadata.items()} == {
        "markets": 3, "deltas_replayed": 3, "deltas_before_first_checkpoint": 1,
        "checkpoints_compared": 3, "breaks": 0, "breaks_explained": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ({"price": 500_000, "size_delta": 1}, "KXA at 2026-11-20 12:30: does not end at the next checkpoint"),
        ({"price": 500_000, "size_delta": -101}, "KXA at 2026-11-20 12:00:00.500: yes level 0.5000 would hold -0.01"),
        ({"price": 600_000, "size_delta": 1}, "KXA at 2026-11-20 12:00:00.500: bid meets ask"),
    ],
    ids=["another end", "negative", "crossed"],
)
def test_a_change_too_many_breaks_the_replay(
    defect: Any, said: str, replayable: None, fill: Any, delta: Any, export: Export, evaluate: Any, note: Any
) -> None:
    """Market, moment and kind of break are named; an interval that nobody heard explains it."""
    fill(ORDERBOOK_DELTAS, delta(500, **defect))
    export(ORDERBOOK_DELTAS)
    found = evaluate(replay_check)
    assert not found.passed
    assert f"2026-11-20-12:00: {said}" in str(found.description)
    gap = {"hour": NOON, "channel": "orderbook_delta", "from_at": NOON, "until_at": NOON + 1.5 * HOUR}
    note("uncovered_intervals", ticker="KXA", **gap)
    assert evaluate(replay_check).passed


def test_a_book_that_the_exchange_emptied_needs_no_changes(
    replayable: None, fill: Any, delta: Any, export: Export, evaluate: Any
) -> None:
    """A market that closes: an empty book by socket, then a checkpoint without levels."""
    closed = NOON + 40 * MINUTE
    fill(ORDERBOOK_SNAPSHOTS, _checkpoint(NOON, {500_000: 100}, {}, ticker="KXCLOSED"))
    export(ORDERBOOK_DELTAS)
    emptied = _checkpoint(closed + MINUTE, {}, {}, ticker="KXCLOSED")
    fill(ORDERBOOK_SNAPSHOTS, emptied)
    assert "KXCLOSED at 2026-11-20 12:41" in str(evaluate(replay_check).description)
    told = {"source": "ws", "gatherer_id": "gatherer-1"}
    fill(ORDERBOOK_SNAPSHOTS, _checkpoint(closed, {}, {}, ticker="KXCLOSED") | told)
    assert evaluate(replay_check).passed


def test_a_lost_change_breaks_the_replay(
    replayable: None, production_database: str, export: Export, evaluate: Any, lake: Lake
) -> None:
    """The very defect that it is for: the file lacks one delta of the hour."""
    start = NOON
    with read_window(production_database, ORDERBOOK_DELTAS, start, start + HOUR) as batches:
        rows = batches.read_all()
    write_partition(lake, RAW[ORDERBOOK_DELTAS.name], start, rows.slice(1).to_batches())
    assert not evaluate(replay_check).passed


@pytest.mark.parametrize("table", [TRADES, ORDERBOOK_SNAPSHOTS], ids=lambda table: table.name)
def test_copies_that_disagree_fail(table: Table, fill: Any, note: Any, export: Export, evaluate: Any) -> None:
    """Who brought the other version is named; a conflict of another day is that day's."""
    check = _of(BOOK_CHECKS, table)
    fill(table, _trade(1) if table is TRADES else _checkpoint(NOON, {500_000: 100}, {}))
    export(table)
    conflict = {"table_name": table.name, "gatherer_id": "gatherer-3", "ticker": "KXA", "refused": "{}"}
    kept = f'{{"{table.time_column}": "%s"}}'
    note("merge_conflicts", row_key="[1]", kept=kept % "2026-11-21T12:00:00+00:00", **conflict)
    found = evaluate(check)
    assert found.passed
    assert "nothing to compare" in str(found.description)
    note("merge_conflicts", row_key="[2]", kept=kept % "2026-11-20T12:00:00+00:00", **conflict)
    found = evaluate(check)
    assert not found.passed
    assert found.description == "2026-11-20: KXA at 2026-11-20 12:00: gatherer-3 brought another version"
    assert found.metadata["conflicts"].value == 1


@pytest.mark.parametrize("table", [TRADES, ORDERBOOK_DELTAS, TICKERS], ids=lambda table: table.name)
def test_what_nobody_heard_fails_coverage(table: Table, note: Any, export: Export, evaluate: Any) -> None:
    """The market, the interval and the hour are named."""
    check = _of(COVERAGE_CHECKS, table)
    channel = {"trades": "trade", "orderbook_deltas": "orderbook_delta", "tickers": "ticker"}[table.name]
    export(table)
    hour = {"channel": channel, "gatherers": "gatherer-1,gatherer-2", "behind": "{}", "is_stale": False, "markets": 9}
    note("coverage_hours", hour=NOON, uncovered_markets=0, uncovered_us=0, **hour)
    assert evaluate(check).passed
    note("coverage_hours", hour=NOON + HOUR, uncovered_markets=0, uncovered_us=0, **hour)  # the next file's
    gap = {"channel": channel, "from_at": NOON + MINUTE, "until_at": NOON + 2 * MINUTE}
    note("uncovered_intervals", hour=NOON, ticker="KXA", **gap)
    note("coverage_hours", hour=NOON - 12 * HOUR, uncovered_markets=1, uncovered_us=60_000_000, **hour)
    assert evaluate(check).passed is (table is not TRADES)  # another hour's, but a day is one file of trades


def test_an_uncovered_hour_is_told(note: Any, export: Export, evaluate: Any) -> None:
    """With its length, where it begins, and how many markets it concerns."""
    export(ORDERBOOK_DELTAS)
    note(
        "coverage_hours", hour=NOON, channel="orderbook_delta", gatherers="gatherer-1", behind='{"gatherer-2": null}',
        is_stale=False, markets=9, uncovered_markets=1, uncovered_us=60_000_000,
    )  # fmt: skip
    note(
        "uncovered_intervals", hour=NOON, channel="orderbook_delta", ticker="KXA", from_at=NOON + MINUTE,
        until_at=NOON + 2 * MINUTE,
    )  # fmt: skip
    found = evaluate(_of(COVERAGE_CHECKS, ORDERBOOK_DELTAS))
    assert not found.passed
    assert found.description == "2026-11-20-12:00: KXA: 60.0 s from 2026-11-20 12:01 on heard by nobody"
    facts = {name: entry.value for name, entry in found.metadata.items()}
    assert facts["uncovered_seconds"] == 60
    assert facts["gatherers_behind"] == "gatherer-2"


def test_an_hour_that_is_not_reckoned_fails_coverage(
    note: Any, export: Export, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody listened, so the deduplicator owes the hour; it is waited for, but not for ever."""
    monkeypatch.setattr(coverage_module, "_WAIT_SECONDS", 0.0)
    export(ORDERBOOK_DELTAS)
    check = _of(COVERAGE_CHECKS, ORDERBOOK_DELTAS)
    found = evaluate(check)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN), "green for nothing"
    assert "nobody listened yet" in str(found.description)
    note(
        "capture_sessions", started_at=NOON, gatherer_id="gatherer-1", connection="c", channel="orderbook_delta",
        ticker="KXA", sid=1,
    )  # fmt: skip
    assert evaluate(check).description == "2026-11-20-12:00: hour 2026-11-20 12:00: not reckoned yet"


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_production_that_lags_fails_freshness(
    table: Table, merged_until: Any, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a warning, then an error; without any watermark nobody can say that it is fresh."""
    check = _of(PRODUCTION_FRESHNESS, table)
    assert not evaluate(check).passed
    merged_until(table, datetime.now(UTC) - 10 * MINUTE)
    found = evaluate(check)
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    monkeypatch.setenv("KALSHI_LAG_ERROR_SECONDS", "300")
    assert evaluate(check).severity is dg.AssetCheckSeverity.ERROR
    merged_until(table, datetime.now(UTC))
    assert evaluate(check).passed


def test_a_lake_that_lags_fails_freshness(
    fill: Any, delta: Any, merged_until: Any, export: Export, evaluate: Any
) -> None:
    """An hour has half an hour until its file must be there."""
    check = _of(LAKE_FRESHNESS, ORDERBOOK_DELTAS)
    fill(ORDERBOOK_DELTAS, delta(0), delta(3_600_000))
    merged_until(ORDERBOOK_DELTAS, None)
    found = evaluate(check)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN), "green for nothing"
    merged_until(ORDERBOOK_DELTAS, NOON + HOUR + 20 * MINUTE)
    assert evaluate(check).passed
    merged_until(ORDERBOOK_DELTAS, NOON + HOUR + 31 * MINUTE)
    found = evaluate(check)
    assert found.description == "files reach to nowhere, due is 2026-11-20 13:00"
    export(ORDERBOOK_DELTAS)
    assert evaluate(check).passed
    merged_until(ORDERBOOK_DELTAS, NOON + 2 * HOUR + 31 * MINUTE)
    assert evaluate(check).description == "files reach to 2026-11-20 13:00, due is 2026-11-20 14:00"
