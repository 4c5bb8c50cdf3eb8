"""A minute at full rate: simulator, one gatherer and its database on this machine, every message accounted for.

Prints what was sent and what is committed, the CPU of each process per message, and where the gatherer spends its own
(py-spy samples, sorted into stages). Needs `pip install -e '.[benchmarks]'`, Linux, and the right to look into
one's own processes. Run: python benchmarks/sustained.py [MESSAGES_PER_SECOND] [SECONDS]
"""

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from measure import arguments
from postgres_cpu import process_cpu, server_cpu

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, TICKERS, TRADES, Home
from kalshi_platform.database.migrations import migrate
from kalshi_platform.simulator import write_key_pair
from kalshi_platform.tools.children import Child, plain_environment, platform_command
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform.tools.verify import Judge

STAGES: dict[str, tuple[str, ...]] = {
    "socket": ("_Listener.on_ws_frame", "_read_ready", "ws_connect"),
    "decode": ("decode (kalshi_platform/core/messages.py",),
    "session": ("kalshi_platform/exchange/session.py", "next_changes", "kalshi_platform/core/sequence.py"),
    "capture and book": ("core/capture.py", "core/usual_changes.py", "core/book.py", "core/occurrences.py"),
    "writer": ("kalshi_platform/database/writer.py", "kalshi_platform/database/commits.py"),
    "metrics": ("kalshi_platform/service/tallies.py", "_note_lag", "_note_changes"),
    "routing and queue": ("kalshi_platform/gatherer/router.py", "kalshi_platform/database/sink.py"),
}
"""What marks a stage in a stack; the first that matches, in this order, takes the sample."""


@dataclass
class World:
    """What runs."""

    server: EmbeddedPostgres
    simulator: Child
    gatherer: Child

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of each part."""
        assert self.server.pid is not None
        return {
            "simulator": process_cpu(self.simulator.pid or 0),
            "gatherer": process_cpu(self.gatherer.pid or 0),
            "database": server_cpu(self.server.pid),
        }

    def rows(self) -> int:
        """Rows committed."""
        return asyncio.run(_count(self.server.url("kalshi")))


async def _count(url: str) -> int:
    connection = await asyncpg.connect(url)
    counts = [
        await connection.fetchval(f"SELECT coalesce(sum(row_count), 0) FROM ingest_batches WHERE table_name = '{one}'")  # noqa: S608
        for one in (ORDERBOOK_DELTAS.name, TRADES.name, TICKERS.name)
    ]
    await connection.close()
    return int(sum(counts))


def measure(folder: Path, rate: int, seconds: int) -> bool:
    """Run, wait until everything is written, judge."""
    with ExitStack() as stack:
        world = start(folder, rate, stack)
        until(lambda: world.rows() > rate)
        profile = subprocess.Popen(  # noqa: S603 - ours
            [
                str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(world.gatherer.pid),
                "--rate", "100", "--duration", str(seconds), "--format", "raw", "--output", str(folder / "profile"),
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        cpu, rows, started = world.cpu(), world.rows(), time.monotonic()
        time.sleep(seconds)
        spent = {name: used - cpu[name] for name, used in world.cpu().items()}
        committed, elapsed = world.rows() - rows, time.monotonic() - started
        profile.wait(60)
        stop(world)
        report(committed, elapsed, spent, stages(folder / "profile"))
        return judge(folder, world)


def start(folder: Path, rate: int, stack: ExitStack) -> World:
    """Database, exchange, gatherer."""
    server = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
    stack.callback(server.delete)
    server.create_database("kalshi")
    migrate(server.url("kalshi"), Home.GATHERER)
    write_key_pair(folder / "private.pem", folder / "public.pem")
    ready = folder / "port"
    arguments = ["simulate", "--port", "0", "--markets", "2000", "--rate", str(rate), "--ready-file", str(ready)]
    arguments += ["--ledger", str(folder / "ledger.ndjson"), "--key", f"key-1={folder / 'public.pem'}"]
    arguments += ["--new-market-seconds", "0", "--close-market-seconds", "0"]
    simulator = Child("simulator", platform_command(*arguments), plain_environment(), folder, may_restart=False)
    simulator.start()
    stack.callback(simulator.stop)
    until(ready.exists)
    address = f"127.0.0.1:{ready.read_text().strip()}"
    environment = {
        "KALSHI_REST_URL": f"http://{address}/trade-api/v2", "KALSHI_WS_URL": f"ws://{address}/trade-api/ws/v2",
        "KALSHI_API_KEY_ID": "key-1", "KALSHI_PRIVATE_KEY_PATH": str(folder / "private.pem"),
        "KALSHI_GATHERER_DATABASE_URL": server.url("kalshi"), "KALSHI_SPOOL_DIRECTORY": str(folder / "spool"),
        "KALSHI_METRICS_PORT": "0", "KALSHI_TICKER_CONNECTIONS": "1", "KALSHI_TRADE_CONNECTIONS": "1",
        "KALSHI_LIFECYCLE_CONNECTIONS": "1", "KALSHI_ORDERBOOK_CONNECTIONS": "8",
    }  # fmt: skip
    gatherer = Child("gatherer", platform_command("gather"), plain_environment(**environment), folder)
    gatherer.start()
    stack.callback(gatherer.stop)
    return World(server, simulator, gatherer)


def stop(world: World) -> None:
    """End the traffic, and let the gatherer write what it has heard."""
    world.simulator.send(signal.SIGUSR1)
    last = -1
    while last != (last := world.rows()):
        time.sleep(2)
    world.gatherer.stop(45)


def report(committed: int, elapsed: float, spent: dict[str, float], found: Counter[str]) -> None:
    """What it cost."""
    say(f"{committed / elapsed:,.0f} messages/s committed over {elapsed:.0f} s")
    for name, used in spent.items():
        say(f"  {name}: {used / committed * 1e6:.1f} µs of CPU a message, {used / elapsed:.0%} of a core")
    total = sum(found.values())
    for name, samples in found.most_common():
        share = samples / total
        say(f"    gatherer, {name}: {share:.0%}, {share * spent['gatherer'] / committed * 1e6:.2f} µs a message")


def stages(profile: Path) -> Counter[str]:
    """Samples of the gatherer by stage; what matches none is the event loop and the rest."""
    found: Counter[str] = Counter()
    for line in profile.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        if "run_daemon" in stack and "selectors.py" not in frames[-1]:  # the main thread, at work
            found[_stage(frames)] += int(samples)
    return found


def _stage(frames: list[str]) -> str:
    """The stage of the innermost frame that has one."""
    for frame in reversed(frames):
        for name, marks in STAGES.items():
            if any(mark in frame for mark in marks):
                return name
    return "event loop and the rest"


def judge(folder: Path, world: World) -> bool:
    """What the ledger says was delivered, against what is there."""
    verdicts = Judge(folder / "ledger.ndjson").rows(world.server.url("kalshi"))
    for one in verdicts:
        say(f"  {one.kind}: {one.sent:,} sent, {one.kept:,} kept, {one.missing} missing, {one.surplus} too many")
    return all(one.surplus == 0 for one in verdicts)


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it does not come up; see the logs")
        time.sleep(0.2)


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asked, long = arguments(__doc__, messages_per_second=50_000, seconds=60)
    with tempfile.TemporaryDirectory(prefix="kalshi-bench-") as place:
        Path(place).chmod(0o711)
        sys.exit(not measure(Path(place), asked, long))
