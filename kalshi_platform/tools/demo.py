"""The demo: the whole path on one command, judged by the exchange's own ledger.

Starts the local stack, shows it at work, lets the tape end, exports it to Parquet, asks DuckDB, and says whether
every message stands in production exactly once. Kept out: how things look (demo_view) and how they are judged (verify).
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import duckdb
import httpx
from rich.console import Console
from rich.live import Live

from kalshi_platform.core.errors import ConfigurationError, PlatformError
from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.core.units import MILLISECOND, SECOND, datetime_from_us, us_from_datetime
from kalshi_platform.database.export import read_window, watermark
from kalshi_platform.exchange.rest.transport import address_of
from kalshi_platform.lake.books import book_at
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.reader import connect
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.service.settings import load_settings
from kalshi_platform.tools.credentials import required_signer
from kalshi_platform.tools.dagster_ui import show_dagster
from kalshi_platform.tools.demo_view import (
    GathererNumbers,
    Numbers,
    numbers_line,
    show_numbers,
    show_verdict,
)
from kalshi_platform.tools.local_stack import DEDUPLICATOR, GATHERERS, LocalStack, StackOptions
from kalshi_platform.tools.market_view import show_book, show_trades
from kalshi_platform.tools.scrape import Reading, scrape
from kalshi_platform.tools.union import compare_union, rows_read, rows_written
from kalshi_platform.tools.verify import Judge, Verdict

_LOOK_SECONDS = 0.5
_POLL_SECONDS = 0.2
_INTERRUPTED = 130
_LINE_SECONDS = 5.0
_MERGE_PATIENCE = 120.0
_HOUR = timedelta(hours=1)
_CHECKPOINT_ITSELF = timedelta(milliseconds=1)  # windows are half-open; the last checkpoint stands at the end

Found = TypeVar("Found")

_LAST_TRADES = """
SELECT exchange_ts, ticker, price, size, taker_side FROM trades ORDER BY exchange_ts DESC, trade_id LIMIT 5
"""
_LIVELIEST = """
SELECT ticker FROM orderbook_deltas
WHERE ticker IN (SELECT ticker FROM orderbook_snapshots WHERE source = 'checkpoint' AND len(no_prices) > 0)
GROUP BY ticker ORDER BY count(*) DESC, ticker LIMIT 1
"""


@dataclass
class Demo:
    """One run of the demo against the simulator.

    Attributes:
        stack: What runs.
        console: Where it is shown.
        seconds: How long to capture.
    """

    stack: LocalStack
    console: Console
    seconds: float

    def run(self) -> bool:
        """Capture, export, judge; true where the verdict is exact.

        Raises:
            PlatformError: Where a part cannot run.
        """
        for step in self.stack.start():
            self.console.print(f"starting {step} …")
        self._capture()
        end = self._end_of_tape()
        settled = self._next_checkpoint(end)
        self._wait_merged(settled)
        judge = Judge(self.stack.ledger)
        start, _ = judge.span()
        files = self._export(start, settled)
        lake = connect(str(self.stack.lake))
        self._show_lake(lake, settled)
        verdict = self._judge(judge, lake, end, settled)
        self.console.print(show_verdict(verdict, files))
        return verdict.is_exact

    def _capture(self) -> None:
        """Show the platform at work until the time is up."""
        if self.console.is_terminal:
            with Live(console=self.console, refresh_per_second=4) as live:
                self._watch(lambda numbers: live.update(show_numbers(numbers)), _LOOK_SECONDS)
        else:
            self._watch(lambda numbers: self.console.print(numbers_line(numbers)), _LINE_SECONDS)

    def _watch(self, show: Callable[[Numbers], None], every: float) -> None:
        for numbers in self._observe(every):
            show(numbers)

    def _observe(self, every: float) -> Iterator[Numbers]:
        """Numbers at each interval; starts again what has died."""
        start = last = time.monotonic()
        before: dict[str, Reading] = {}
        with httpx.Client(timeout=2.0) as client:
            while (now := time.monotonic()) < start + self.seconds:
                time.sleep(min(every, max(0.0, start + self.seconds - now)))
                for name in self.stack.keep_running():
                    self.console.print(f"{name} died and was started again")
                readings = {name: scrape(client, port) for name, port in self.stack.metrics_ports.items()}
                now = time.monotonic()
                yield self._numbers(readings, before, now - last, now - start)
                before, last = readings, now

    def _numbers(
        self, readings: dict[str, Reading], before: dict[str, Reading], interval: float, elapsed: float
    ) -> Numbers:
        restarts = {child.name: child.restarts for child in self.stack.children}

        def rate(name: str, metric: str) -> float:
            earlier = before.get(name, Reading()).total(metric)
            return max(0.0, readings[name].total(metric) - earlier) / interval

        dedup = readings[DEDUPLICATOR]
        return Numbers(
            elapsed=elapsed,
            remaining=max(0.0, self.seconds - elapsed),
            gatherers=[
                GathererNumbers(
                    name=name,
                    markets=int(readings[name].total("kalshi_gatherer_markets_active")),
                    connections=int(readings[name].total("kalshi_gatherer_websocket_connections", state="open")),
                    frames_per_second=rate(name, "kalshi_gatherer_frames_total"),
                    rows=int(readings[name].total("kalshi_gatherer_rows_written_total")),
                    gaps=int(readings[name].total("kalshi_gatherer_sequence_gaps_total")),
                    lag_seconds=readings[name].quantile("kalshi_gatherer_message_lag_seconds", 0.5, stage="committed"),
                    restarts=restarts[name],
                )
                for name in GATHERERS
            ],
            rows_read=int(dedup.total("kalshi_deduplicator_rows_read_total")),
            rows_merged=int(dedup.total("kalshi_deduplicator_rows_merged_total")),
            merged_per_second=rate(DEDUPLICATOR, "kalshi_deduplicator_rows_merged_total"),
            lag_seconds=dedup.quantile("kalshi_deduplicator_lag_seconds", 0.5),
            deduplicator_restarts=restarts[DEDUPLICATOR],
        )

    def _end_of_tape(self) -> datetime:
        """When the last message was sent; the simulator is told to stop and writes the end of its ledger."""
        self.console.print("the tape ends …")
        self.stack.stop_traffic()
        end = self._wait_for(lambda: _ledger_end(self.stack.ledger), "the simulator does not end its ledger")
        return datetime_from_us(end * MILLISECOND)

    def _next_checkpoint(self, end: datetime) -> datetime:
        """The first boundary well behind the end: its checkpoints hold the whole tape."""
        step = self.stack.options.checkpoint_seconds * SECOND
        return datetime_from_us((us_from_datetime(end) + SECOND) // step * step + step)

    def _wait_merged(self, until: datetime) -> None:
        self.console.print("waiting until the deduplicator has merged everything …")
        url = self.stack.production_url()

        def merged() -> bool:
            marks = watermark(url, STREAM_TABLES).values()
            return all(mark is not None and mark >= until for mark in marks)

        self._wait_for(merged, "the deduplicator does not get to the end of the tape")

    def _wait_for(self, condition: Callable[[], Found | None], complaint: str) -> Found:
        """What the condition finds; dead parts are started again meanwhile."""
        deadline = time.monotonic() + _MERGE_PATIENCE
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            self.stack.keep_running()
            time.sleep(_POLL_SECONDS)
        raise PlatformError(f"{complaint} within {_MERGE_PATIENCE:.0f} s; see the logs in {self.stack.folder / 'logs'}")

    def _export(self, start: datetime, end: datetime) -> dict[str, int]:
        """Every hour or day that [start, end] touches, each table, to Parquet; returns rows by file."""
        lake, url = Lake(str(self.stack.lake)), self.stack.production_url()
        files: dict[str, int] = {}
        for table in STREAM_TABLES:
            dataset = RAW[table.name]
            begin = dataset.period.floor(start)
            while begin <= end:
                until = min(dataset.end(begin), end + _CHECKPOINT_ITSELF)
                with read_window(url, table, begin, until) as batches:
                    facts = write_partition(lake, dataset, begin, batches, until)
                files[facts.path] = facts.rows
                begin = dataset.end(begin)
        self.console.print(f"exported {sum(files.values()):,} rows to {self.stack.lake}")
        return files

    def _show_lake(self, lake: duckdb.DuckDBPyConnection, when: datetime) -> None:
        """One book and the last trades, as a researcher would ask for them."""
        found = lake.execute(_LIVELIEST).fetchall()
        if found:
            book = book_at(lake, found[0][0], when)
            self.console.print(show_book(book.ticker, book.when, book.yes, book.no))
        self.console.print(show_trades(lake.execute(_LAST_TRADES).fetchall()))

    def _judge(self, judge: Judge, lake: duckdb.DuckDBPyConnection, end: datetime, settled: datetime) -> Verdict:
        start, _ = judge.span()
        middle = start + (end - start) / 2
        middle = middle.replace(microsecond=middle.microsecond // 1000 * 1000)
        return Verdict(
            rows=judge.rows(self.stack.production_url()),
            books=[
                judge.books(lake, middle, must_know_all=False),
                judge.books(lake, settled, must_know_all=True),
            ],
        )


def _ledger_end(ledger: Path) -> int | None:
    """The time (ms) in the ledger's last line, once that is its end."""
    if not ledger.exists():
        return None
    with ledger.open("rb") as lines:
        lines.seek(0, 2)
        lines.seek(max(0, lines.tell() - 4096))
        last = lines.read().splitlines()[-1:]
    try:
        line = json.loads(last[0]) if last else {}
    except json.JSONDecodeError:
        return None
    return int(line["ts_ms"]) if line.get("kind") == "end" else None


class LiveDemo(Demo):
    """One run against the exchange that the settings name; judged by the union of what the gatherers hold."""

    def run(self) -> bool:
        """Capture, export, judge; true where production is exactly the union.

        Raises:
            PlatformError: Where a part cannot run.
        """
        start = datetime.now(UTC) - _HOUR
        for step in self.stack.start():
            self.console.print(f"starting {step} …")
        self._capture()
        self.console.print("the gatherers write what they have heard and stop …")
        self.stack.stop_gatherers()
        self._wait_all_read()
        end = datetime.now(UTC) + _HOUR
        files = self._export(start, end)
        self._show_lake(connect(str(self.stack.lake)), datetime.now(UTC))
        gatherers = {name: self.stack.gatherer_url(name) for name in GATHERERS}
        verdict = Verdict(rows=compare_union(gatherers, self.stack.production_url(), start, end))
        self.console.print(show_verdict(verdict, files))
        return verdict.is_exact

    def _wait_all_read(self) -> None:
        """Wait until the deduplicator has read every row that the gatherers recorded."""

        def is_read() -> bool:
            written = {name: rows_written(self.stack.gatherer_url(name)) for name in GATHERERS}
            return all(rows_read(self.stack.production_url(), name) == rows for name, rows in written.items())

        self._wait_for(is_read, "the deduplicator does not read all that was gathered")


def run_demo(options: StackOptions, console: Console, seconds: float, *, with_dagster: bool) -> bool:
    """Run the demo to its verdict, then the Dagster UI until Ctrl-C; true where the verdict is exact.

    Raises:
        ConfigurationError: Where the folder, the key or an address cannot be used.
        PlatformError: Where a part cannot run.
    """
    demo_class = LiveDemo if options.live else Demo
    if options.live:
        settings = load_settings()
        required_signer(settings)  # what is wrong with it is said before anything is started
        address_of(settings.rest_url)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write below {options.folder}: {error.strerror}; name another --folder"
        ) from error
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job is born deaf to SIGINT
        signal.signal(number, signal.default_int_handler)
    is_exact: bool | None = None
    try:
        with LocalStack(options) as stack:
            is_exact = demo_class(stack, console, seconds).run()
            console.print("everything is in", *stack.places())
            console.print(f"notebooks/ draws it with KALSHI_LAKE_URL={stack.lake}", soft_wrap=True)
            if with_dagster:
                show_dagster(stack, console)
    except KeyboardInterrupt:
        console.print(f"\nstopped; what was captured is in {options.folder}")
        if is_exact is None:
            raise SystemExit(_INTERRUPTED) from None
    return bool(is_exact)
