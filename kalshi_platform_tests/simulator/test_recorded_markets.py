"""What a recording is about, and how REST lists it."""

import json
from pathlib import Path

import pytest

from kalshi_platform.simulator.market import Status
from kalshi_platform.simulator.prices import CENTI_CENT, DECI_CENT, LINEAR_CENT, PriceStructure
from kalshi_platform.simulator.recorded_markets import RecordedCatalogue, fixed, open_tape
from kalshi_platform.simulator.recording import RecordingError


def _tape(folder: Path, *messages: tuple[str, dict[str, object]]) -> Path:
    path = folder / "tape.ndjson"
    lines = [{"recv_ms": 1000 * n, "event": {"type": kind, "msg": msg}} for n, (kind, msg) in enumerate(messages, 1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_texts_become_integers_exactly() -> None:
    """Prices in 1e-4 dollars, sizes in 1e-2 contracts; nothing is rounded."""
    assert [fixed(text, "price") for text in ("0.4900", "1", "0.0001", "0.560000")] == [4900, 10_000, 1, 5600]
    assert [fixed(text, "size") for text in ("-2.50", "0.1", "15600000.00")] == [-250, 10, 1_560_000_000]
    with pytest.raises(ValueError, match="finer"):
        fixed("0.12345", "price")
    with pytest.raises(ValueError, match="invalid"):
        fixed("much", "size")


@pytest.mark.parametrize(
    ("price", "structure"), [("0.4200", LINEAR_CENT), ("0.4210", DECI_CENT), ("0.4213", CENTI_CENT)]
)
def test_markets_and_grids_are_found(tmp_path: Path, price: str, structure: PriceStructure) -> None:
    """Every ticker is listed, with event and series by its name and the coarsest grid its prices fit."""
    path = _tape(
        tmp_path,
        (
            "orderbook_snapshot",
            {"market_ticker": "KXA-26AUG-T1", "market_id": "m1", "yes_dollars_fp": [["0.40", "1.00"]]},
        ),
        (
            "orderbook_delta",
            {"market_ticker": "KXA-26AUG-T2", "price_dollars": price, "delta_fp": "1.00", "side": "no"},
        ),
    )
    index = open_tape(path)
    catalogue = RecordedCatalogue(index)
    assert (index.frames, index.first_ms) == (2, 1000)
    assert list(catalogue.markets) == ["KXA-26AUG-T1", "KXA-26AUG-T2"]
    assert list(catalogue.events) == ["KXA-26AUG"]
    assert [event.ticker for event in catalogue.events_of_series("KXA")] == ["KXA-26AUG"]
    assert catalogue.markets["KXA-26AUG-T2"].structure is structure
    assert catalogue.markets["KXA-26AUG-T1"].listing.market_id == "m1"
    assert catalogue.markets["KXA-26AUG-T1"].status is Status.ACTIVE
    assert "KXA-26AUG-T3" not in catalogue.markets


def test_recorded_rest_bodies_add_what_they_know(tmp_path: Path) -> None:
    """Titles, times, strike and grid; files that are something else are passed over."""
    trade = {"market_ticker": "KXA-1-2", "yes_price_dollars": "0.4000", "count_fp": "1.00", "trade_id": "t"}
    _tape(tmp_path, ("trade", trade))
    (tmp_path / "metadata").mkdir()
    market = {"ticker": "KXA-1-2", "event_ticker": "KXA-1", "title": "Up?", "floor_strike": 12.5,
              "close_time": "2026-08-11T00:30:00Z", "price_level_structure": "deci_cent"}  # fmt: skip
    body = {
        "response": {"event": {"event_ticker": "KXA-1", "series_ticker": "KXB", "title": "Gold"}, "markets": [market]}
    }
    (tmp_path / "metadata" / "event.json").write_text(json.dumps(body))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    found = RecordedCatalogue(open_tape(tmp_path)).markets["KXA-1-2"]
    assert (found.listing.title, found.listing.series_ticker, found.listing.strike) == ("Up?", "KXB", 12.5)
    assert found.close_ms == 1_786_408_200_000
    assert found.structure is DECI_CENT


def test_what_holds_no_market_or_no_price_is_refused(tmp_path: Path) -> None:
    """By file and ticker."""
    with pytest.raises(RecordingError, match="no message about a market"):
        open_tape(_tape(tmp_path, ("event_lifecycle", {"event_ticker": "KXA-1"})))
    delta = {"market_ticker": "KXA-1", "price_dollars": "cheap", "delta_fp": "1.00", "side": "no"}
    with pytest.raises(RecordingError, match="a orderbook_delta of KXA-1 cannot be served"):
        open_tape(_tape(tmp_path, ("orderbook_delta", delta)))


def test_the_recorded_gold_windows(shared_data: Path) -> None:
    """Every published message of one window, and the markets of another recording."""
    index = open_tape(shared_data / "gold15m" / "events" / "KXGOLD15M-26AUG101800-00")
    assert (index.frames, list(index.markets)) == (33_746, ["KXGOLD15M-26AUG101800-00"])
    catalogue = RecordedCatalogue(open_tape(shared_data / "btc1h"))
    assert len(catalogue.markets) == 8
