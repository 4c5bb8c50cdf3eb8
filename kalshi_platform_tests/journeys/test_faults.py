"""Random faults on every connection of one gatherer: whatever is missing afterwards, its record of holes names.

`KALSHI_TEST_FAULTS=1000` runs it at full length, `KALSHI_TEST_FAULTS_SEED` throws the dice otherwise.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kalshi_platform.core.units import us_from_datetime
from kalshi_platform.service.metrics import GathererMetrics
from kalshi_platform.simulator import FaultKind, FaultOptions, running
from kalshi_platform.tools.verify import Judge
from kalshi_platform_tests.gatherer.exchange_at_hand import gatherer, gathering, keys, options
from kalshi_platform_tests.queries import fetch
from kalshi_platform_tests.waiting import until

FAULTS = int(os.environ.get("KALSHI_TEST_FAULTS", "120"))
"""How many; a thousand take two minutes."""

SEED = int(os.environ.get("KALSHI_TEST_FAULTS_SEED", "1"))

LEAST_MARGIN_US = 400_000
"""The exchange's stamps are held against the gatherer's clock at the socket: so much they differ on a quiet machine."""

SILENT_END_US = 5_000_000
"""A number that is missing shows with the next one: what goes wrong in the last moments nobody can see."""

_log = logging.getLogger(__name__)

_SOME_DELTAS = "SELECT exchange_ts, ticker FROM orderbook_deltas ORDER BY random() LIMIT 2000"

_CHANNELS = {
    "orderbook_delta": "orderbook_delta", "orderbook_snapshot": "orderbook_delta", "trade": "trade",
    "market_lifecycle_v2": "market_lifecycle_v2", "event_lifecycle": "market_lifecycle_v2",
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What the gatherer wrote down of holes and sessions, and how late frames came at the most; times in µs."""

    margin_us: int

    gaps: list[dict[str, Any]]
    sessions: list[dict[str, Any]]

    def names(self, fault: dict[str, Any]) -> bool:
        """Whether a hole on the same connection says that this message did not come."""
        channel, at = _CHANNELS[fault["type"]], fault["ts_ms"] * 1000
        homes = self.homes(channel, fault["ticker"])
        on_it = [gap for gap in self.gaps if gap["channel"] == channel and gap["connection"] in homes]
        return any(_has_number(gap, fault, self.margin_us) or _lasts(gap, at, self.margin_us) for gap in on_it)

    def shows(self, torn: dict[str, Any]) -> bool:
        """Whether a hole has exactly the numbers that the exchange knows to be missing, at that time."""
        at = torn["ts_ms"] * 1000
        near = (gap for gap in self.gaps if _numbers(gap) == _numbers(torn))
        return any(gap["from_at"] - self.margin_us <= at <= gap["detected_at"] + self.margin_us for gap in near)

    def lasted(self, torn: dict[str, Any]) -> bool:
        """Whether everything of a market that is missing there, or of the channel, was given up at that time.

        So it is where the frame that would have shown the hole was itself lost with its connection.
        """
        at, channel = torn["ts_ms"] * 1000, torn["channel"]
        homes = set().union(*(self.homes(channel, ticker) for ticker in torn["missed"] or [""]))
        on_it = (gap for gap in self.gaps if gap["channel"] == channel and gap["connection"] in homes)
        return any(_lasts(gap, at, self.margin_us) for gap in on_it)

    def homes(self, channel: str, ticker: str) -> set[str]:
        """The connections that heard a market, or the channel where it has no list of markets."""
        name = ticker if channel == "orderbook_delta" else ""
        return {one["connection"] for one in self.sessions if (one["channel"], one["ticker"]) == (channel, name)}

    def covers(self, channel: str, ticker: str, at_us: int) -> bool:
        """Whether the record claims that everything of a market was heard at this time."""
        name = ticker if channel == "orderbook_delta" else ""
        homes = {
            one["connection"]
            for one in self.sessions
            if (one["channel"], one["ticker"]) == (channel, name)
            and one["started_at"] + self.margin_us <= at_us <= (one["ended_at"] or at_us) - self.margin_us
        }
        return bool(homes) and not any(
            gap["connection"] in homes
            and gap["ticker"] in ("", ticker)
            and gap["from_at"] - self.margin_us <= at_us <= (gap["until_at"] or at_us) + self.margin_us
            for gap in self.gaps
        )


def _numbers(gap: dict[str, Any]) -> tuple[object, ...]:
    return gap["channel"], gap["sid"], gap["expected_seq"], gap["seen_seq"]


def _has_number(gap: dict[str, Any], fault: dict[str, Any], margin_us: int) -> bool:
    is_near = gap["from_at"] - margin_us <= fault["ts_ms"] * 1000 <= gap["detected_at"] + SILENT_END_US
    return is_near and gap["sid"] == fault["sid"] and gap["expected_seq"] <= fault["seq"] < gap["seen_seq"]


def _lasts(gap: dict[str, Any], at_us: int, margin_us: int) -> bool:
    """Whether a hole of everything (not of single numbers) was open at this time."""
    is_open = gap["from_at"] - margin_us <= at_us <= (gap["until_at"] or at_us) + margin_us
    return is_open and gap["cause"] != "sequence"


def latest_us(metrics: GathererMetrics) -> int:
    """How late a frame came at the most, by the gatherer's own histogram."""
    (family,) = metrics.lag.collect()
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels["stage"] == "received"
    ]
    all_of_them = max(count for _, count in buckets)
    return round(min(bound for bound, count in buckets if count == all_of_them) * 1e6)


async def record(database: str, latest: int) -> Record:
    """What stands in the database."""
    found = [await fetch(database, f"SELECT * FROM {table}") for table in ("capture_gaps", "capture_sessions")]  # noqa: S608
    return Record(LEAST_MARGIN_US + latest, *([_in_us(row) for row in rows] for rows in found))


def _in_us(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: us_from_datetime(at) if hasattr(at, "tzinfo") else at for name, at in dict(row).items()}


def noted(ledger: Path, kind: str) -> list[dict[str, Any]]:
    """The ledger's lines of a kind: `fault` is what went wrong on purpose, `gap` what it tore into a sequence."""
    start = f'{{"kind":"{kind}"'
    with ledger.open() as lines:
        return [json.loads(line) for line in lines if line.startswith(start)]


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_whatever_is_missing_is_named(tmp_path: Path, gatherer_database: str) -> None:
    """Faults of every kind on twenty connections: each hole has its row, and no other row is missing."""
    private, public = keys(tmp_path)
    kinds = tuple(kind for kind in FaultKind if kind is not FaultKind.LATE)
    plan = FaultOptions(rate=0.003, kinds=kinds, seconds=0.3, seed=SEED)
    ledger = tmp_path / "ledger.ndjson"
    async with running(options(tmp_path, public, markets=100, faults=plan)) as simulator:
        one = gatherer(
            gatherer_database, simulator.rest_url, simulator.ws_url, private, orderbook_connections=17,
            handshakes_per_second=50,
        )  # fmt: skip
        async with gathering(one):
            await until(lambda: len(noted(ledger, "fault")) >= FAULTS, seconds=600)
            simulator.stop_traffic()
            await until(lambda: not one.health()["queued"]["orderbook_deltas"])
    known = await record(gatherer_database, latest_us(one.metrics))
    planted = noted(ledger, "fault")
    check_that_faults_are_named(known, planted)
    check_that_gaps_are_found(known, noted(ledger, "gap"), planted)
    missing = await check_that_the_rest_is_there(known, ledger, gatherer_database)
    await check_that_planted_losses_are_found(known, ledger, gatherer_database, missing)


def check_that_faults_are_named(known: Record, planted: list[dict[str, Any]]) -> None:
    """Of the messages that the exchange withheld, each is in a hole; tickers have no numbers to tell by."""
    assert len({fault["connection"] for fault in planted}) > 20
    end_ms = max(fault["ts_ms"] for fault in planted) - SILENT_END_US // 1000
    withheld = [
        fault for fault in planted
        if fault["withheld"] and fault["type"] in _CHANNELS and fault["sid"] and fault["ts_ms"] < end_ms
    ]  # fmt: skip
    unnamed = [fault for fault in withheld if not known.names(fault)]
    _log.info("%d faults, %d messages withheld, %d of them not named", len(planted), len(withheld), len(unnamed))
    _log.info("frames came at most %.1f s late", (known.margin_us - LEAST_MARGIN_US) / 1e6)
    _log.info("holes: %s", Counter((gap["cause"], gap["healed_by"]) for gap in known.gaps))
    assert len(withheld) > FAULTS // 4
    assert not unnamed, "\n".join(map(json.dumps, unnamed[:5]))


def check_that_gaps_are_found(known: Record, torn: list[dict[str, Any]], planted: list[dict[str, Any]]) -> None:
    """Where numbers jumped at the exchange, the same numbers jumped here, and no others ever did.

    A number also counts as missing where its frame came and nothing in it could be read.
    """
    end_ms = max(fault["ts_ms"] for fault in planted)
    torn = [gap for gap in torn if gap["channel"] in set(_CHANNELS.values()) and gap["ts_ms"] < end_ms]
    unseen = [gap for gap in torn if not known.shows(gap)]
    lost = [gap for gap in unseen if not known.lasted(gap)]
    by_number, in_longer = len(torn) - len(unseen), len(unseen) - len(lost)
    _log.info("%d holes injected: %d found by number, %d in longer ones", len(torn), by_number, in_longer)
    assert not lost, "\n".join(map(json.dumps, lost[:5]))
    unreadable = {
        (_CHANNELS[fault["type"]], fault["sid"], fault["seq"])
        for fault in planted if fault["fault"] == "wrong_types" and fault["type"] in _CHANNELS
    }  # fmt: skip
    real = {_numbers(gap) for gap in torn}
    seen = [gap for gap in known.gaps if gap["cause"] == "sequence" and gap["from_at"] < (end_ms - 1000) * 1000]
    invented = [
        gap for gap in seen
        if _numbers(gap) not in real and (gap["channel"], gap["sid"], gap["expected_seq"]) not in unreadable
    ]  # fmt: skip
    assert not invented, invented[:5]


async def check_that_the_rest_is_there(known: Record, ledger: Path, database: str) -> int:
    """What was handed to a connection and is not in the database fell into a hole."""
    lost = _missing(ledger, database)
    claimed = [one for one in lost if known.covers(*one)]
    _log.info("%d messages were handed to dying connections and lost", len(lost))
    assert not claimed, claimed[:5]
    return len(lost)


async def check_that_planted_losses_are_found(known: Record, ledger: Path, database: str, before: int) -> None:
    """The check can fail: rows taken away where the record claims to have heard everything are noticed."""
    covered = [
        row for row in await fetch(database, _SOME_DELTAS)
        if known.covers("orderbook_delta", row["ticker"], us_from_datetime(row["exchange_ts"]))
    ]  # fmt: skip
    _log.info("%d of 2,000 deltas by lot are in covered time", len(covered))
    assert len(covered) > 20
    for row in covered[:20]:
        await fetch(
            database,
            "DELETE FROM orderbook_deltas WHERE (exchange_ts, ticker) = ($1, $2)",
            row["exchange_ts"],
            row["ticker"],
        )
    lost = _missing(ledger, database)
    assert len(lost) > before
    assert sum(known.covers(*one) for one in lost) >= 10


def _missing(ledger: Path, database: str) -> list[tuple[str, str, int]]:
    """Channel, ticker and time (µs) of deltas and trades that were handed to somebody and are not there."""
    judge = Judge(ledger)
    (deltas, trades, tickers) = judge.rows(database)
    assert (deltas.surplus, trades.surplus, tickers.invented) == (0, 0, 0), "nothing is invented"
    findings = ledger.with_name("findings.ndjson")
    judge.write_findings(findings)
    found = [json.loads(line) for line in findings.read_text().splitlines()]
    channels = {"delta": "orderbook_delta", "trade": "trade"}
    return [
        (channels[one["kind"]], one["ticker"], us_from_datetime(datetime.fromisoformat(one["exchange_ts"])))
        for one in found
        if one["kind"] in channels
    ]
