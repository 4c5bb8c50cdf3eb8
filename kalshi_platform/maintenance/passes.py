"""One pass of care for a database: hours proven, what is due dropped, partitions ahead, closed ones finished.

Run as the tables' owner, every so often, by `kalshi-platform maintain` or by Dagster. Each step says what it did and
why it left something; one that fails keeps none of the others from being taken, and fails the pass at its end. A pass
that was killed is simply repeated. Kept out: how each step works (the rooms database and lake).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import asyncpg

from kalshi_platform.core.errors import IntegrityError, PlatformError
from kalshi_platform.core.masking import masked
from kalshi_platform.core.schema import STREAM_TABLES, Home, Table
from kalshi_platform.database import export
from kalshi_platform.database.closing import close_partitions
from kalshi_platform.database.compression import apply_compression
from kalshi_platform.database.errors import DatabaseUnreachableError
from kalshi_platform.database.forgetting import forget_notes
from kalshi_platform.database.locks import lock_shortage
from kalshi_platform.database.migrations import check_revision
from kalshi_platform.database.partition_list import Partition
from kalshi_platform.database.partitions import ensure_ahead
from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.database.proofs import Proof, proofs_between, record_proof
from kalshi_platform.database.retention import Verdict, drop_merged, drop_proven, due_partitions
from kalshi_platform.database.statistics import better_statistics
from kalshi_platform.lake.datasets import RAW, Period
from kalshi_platform.lake.evidence import FileFacts, fault_of, read_again, tally
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.manifest import mend_manifest

_ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(hashtext('kalshi_platform'), hashtext('maintain'))"
_NOW = "SELECT now()"
_FAILURES: tuple[type[Exception], ...] = (PlatformError, *DATABASE_FAILURES)
_EVER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

_CLOCKS_APART = timedelta(hours=1)
"""At the most; a file that is no older than that when it was proven is read once more, by a later pass."""


@dataclass(slots=True)
class Report:
    """What a pass did.

    Attributes:
        made: Partitions' days that were made ahead.
        warning: What an administrator should change; empty where nothing.
        compressed: Tables whose compression by TimescaleDB was set anew.
        closed: Partitions that were finished.
        unsorted: Those of them that stay in the order of time, with what hindered a sorted copy.
        waiting: Partitions that could not be finished, with the reason.
        proven: Files of the lake that were found to hold what production holds, as "table hour" or "table day".
        disputed: Files that do not, with the difference.
        verdicts: What became of each partition older than its policy.
        forgotten: How many old rows of a gatherer's notes were deleted, by table.
    """

    made: int = 0
    warning: str = ""
    compressed: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    unsorted: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    proven: list[str] = field(default_factory=list)
    disputed: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    forgotten: dict[str, int] = field(default_factory=dict)


class _Steps:
    """Steps that do not need each other: where the lake is away, partitions are made and closed all the same."""

    def __init__(self) -> None:
        self._failed: list[Exception] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        """One of them; its failure waits for the others."""
        try:
            yield
        except _FAILURES as error:
            self._failed.append(error)

    def end(self) -> None:
        """Fail with the first that failed; those behind it often do for the same cause."""
        if self._failed:
            raise self._failed[0]


async def maintain_production(url: str, lake: Lake, now: datetime, silence: float = 60.0) -> Report:
    """One pass over production.

    Args:
        url: Production, as the tables' owner.
        lake: Where the files are that prove what may be dropped.
        now: The time.
        silence: Seconds after which a gatherer does not hold back the watermark.

    Raises:
        Exception: What the first step that failed says, after the others.
    """
    await check_revision(url, Home.PRODUCTION)
    marks = await asyncio.to_thread(export.watermark, url, STREAM_TABLES, silence)
    report, steps = Report(), _Steps()
    async with _session(url) as connection:
        await _alone(connection)
        # what gives room on the disk comes before what takes some: where it is full, nothing else would ever end that
        report.warning = await lock_shortage(connection)
        # where proofs find no room, what was proven before may be dropped; if that is not enough, more fails
        with steps.step(), suppress(asyncpg.DiskFullError):
            for table in STREAM_TABLES:
                if (mark := marks[table.name]) is not None:
                    await _prove_new(connection, url, lake, table, mark, report)
        with steps.step():
            for table in STREAM_TABLES:
                await _drop_due(connection, url, lake, table, now, report)
        await _prepare(connection, now, report, steps)
        with steps.step():
            await better_statistics(connection, STREAM_TABLES, now)
        with steps.step():
            report.closed, report.unsorted, report.waiting = await close_partitions(connection, STREAM_TABLES, marks)
    steps.end()
    return report


async def maintain_gatherer(url: str, gatherer_id: str, production_url: str | None, now: datetime) -> Report:
    """One pass over a gatherer; without production's address, which knows what was merged, nothing is dropped.

    Raises:
        Exception: What the first step that failed says, after the others.
    """
    await check_revision(url, Home.GATHERER)
    report, steps = Report(), _Steps()
    async with _session(url) as connection:
        await _alone(connection)
        report.warning = await lock_shortage(connection)
        due = await due_partitions(connection, STREAM_TABLES, now)
        if production_url is None:
            reason = "nobody knows whether it was merged: KALSHI_PRODUCTION_DATABASE_URL is not set"
            report.verdicts = [Verdict(partition.name, 0, reason) for partition in due]
        else:
            with steps.step():
                async with _session(production_url) as production:
                    await _drop_merged(connection, due, gatherer_id, production, report)
                    report.forgotten = await forget_notes(connection, gatherer_id, production, now)
        await _prepare(connection, now, report, steps)
    steps.end()
    return report


async def _prepare(connection: asyncpg.Connection, now: datetime, report: Report, steps: _Steps) -> None:
    """Behind what gives room on a disk that is full."""
    with steps.step():
        report.made = await ensure_ahead(connection, now.date())
    with steps.step():
        report.compressed = await apply_compression(connection)


async def _drop_merged(
    connection: asyncpg.Connection,
    due: Sequence[Partition],
    gatherer_id: str,
    production: asyncpg.Connection,
    report: Report,
) -> None:
    for table in STREAM_TABLES:
        for partition in [one for one in due if one.table is table]:
            verdict = await drop_merged(connection, partition, gatherer_id, production, _file_fault)
            report.verdicts.append(verdict)
            if verdict.kept_because:
                break  # the earliest goes first: batches are forgotten in order


async def _drop_due(
    connection: asyncpg.Connection, url: str, lake: Lake, table: Table, now: datetime, report: Report
) -> None:
    for partition in await due_partitions(connection, [table], now):
        await _prove_changed(connection, url, lake, table, (partition.start, partition.end), report)
        report.verdicts.append(await drop_proven(connection, partition, _file_fault))
        if report.verdicts[-1].is_in_use:
            break


async def prove(connection: asyncpg.Connection, url: str, lake: Lake, table: Table, start: datetime) -> str:
    """Compare one file with production, by a hash of every whole row; note it where they agree.

    Args:
        connection: To production, as the tables' owner.
        url: The same database, for reading it as Arrow.
        lake: Where the file is.
        table: Whose rows.
        start: Of which hour or day.

    Returns:
        Why it is not proven; empty where it is.
    """
    began: datetime = await connection.fetchval(_NOW)
    try:
        facts, difference = await asyncio.to_thread(_compared, url, lake, table, start)
    except IntegrityError as error:
        return str(error)
    if difference:
        return difference
    proof = Proof(start, RAW[table.name].end(start), facts.tally.rows, facts.sha256, facts.path, began)
    if not await record_proof(connection, table, proof):
        return f"{facts.path} was proven before its rows were dropped, and has been written anew since"
    return ""


def _compared(url: str, lake: Lake, table: Table, start: datetime) -> tuple[FileFacts, str]:
    dataset = RAW[table.name]
    facts, end = read_again(lake, dataset, start), dataset.end(start)
    if (facts.window_start, facts.window_end) != (start, end):
        return facts, f"{facts.path} does not hold its whole {dataset.period.name.lower()}"
    with export.read_window(url, table, start, end) as batches:
        found = tally(dataset, batches)
    if found == facts.tally:
        mend_manifest(lake, dataset, start, facts.sha256)
        return facts, ""
    if found.rows != facts.tally.rows:
        return facts, f"{facts.path} holds {facts.tally.rows} rows, production {found.rows}"
    return facts, f"{facts.path} holds other values than production"


async def _prove_new(
    connection: asyncpg.Connection, url: str, lake: Lake, table: Table, mark: datetime, report: Report
) -> None:
    """Prove the files of hours and days that are complete and that nobody has looked at since they were written.

    Those that late rows or a repair had written again too, and those of a lake that was moved: until then gatherers
    keep what they have of them.
    """
    dataset = RAW[table.name]
    known = {proof.window_start: proof for proof in await proofs_between(connection, table, *_EVER)}
    for start, written_at in lake.written(dataset).items():
        proof, path = known.get(start), lake.path(dataset, start)
        if dataset.end(start) > mark:
            continue
        if proof is not None and (proof.dropped_at or (proof.path == path and _is_older(written_at, proof))):
            continue
        if proof is None or not await _is_the_same(connection, table, replace(proof, path=path)):
            _note(report, table, start, await prove(connection, url, lake, table, start))


def _is_older(written_at: datetime, proof: Proof) -> bool:
    """Whether a file was there when it was proven, by two clocks: the file store's may be behind production's."""
    return written_at <= proof.checked_at - _CLOCKS_APART


async def _is_the_same(connection: asyncpg.Connection, table: Table, proof: Proof) -> bool:
    """Whether a file that was moved, or written anew, is the one that was proven; exports repeat themselves exactly."""
    began: datetime = await connection.fetchval(_NOW)
    return not _file_fault(proof) and await record_proof(connection, table, replace(proof, checked_at=began))


async def _prove_changed(
    connection: asyncpg.Connection,
    url: str,
    lake: Lake,
    table: Table,
    window: tuple[datetime, datetime],
    report: Report,
) -> None:
    """A file that is not what it was, though it is no younger, is compared while production can still say."""
    for proof in await proofs_between(connection, table, *window):
        if proof.dropped_at is None and _file_fault(proof):
            _note(report, table, proof.window_start, await prove(connection, url, lake, table, proof.window_start))


def _note(report: Report, table: Table, start: datetime, difference: str) -> None:
    shown = "%Y-%m-%d" if RAW[table.name].period is Period.DAY else "%Y-%m-%d %H:00"
    name = f"{table.name} {start.astimezone(UTC):{shown}}"
    if difference:
        report.disputed.append(f"{name}: {difference}")
    else:
        report.proven.append(name)


def _file_fault(proof: Proof) -> str:
    return fault_of(proof.path, proof.row_count, proof.sha256)


async def _alone(connection: asyncpg.Connection) -> None:
    if not await connection.fetchval(_ONE_AT_A_TIME):
        raise PlatformError("another `kalshi-platform maintain` is at work on this database; let it finish")


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(url, server_settings={"application_name": "kalshi-platform maintain"})
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnreachableError(f"cannot use the database at {masked(url)}: {error}") from error
    try:
        yield connection
    finally:
        await connection.close()


def lines(report: Report) -> Sequence[str]:
    """A report for people."""
    said = [f"made {report.made} partitions ahead"] if report.made else []
    said += [f"WARNING: {report.warning}"] if report.warning else []
    said += [f"TimescaleDB compresses {name} as table_policies says" for name in report.compressed]
    said += [f"finished {name}" for name in report.closed]
    said += [f"{name} stays in the order of time: {reason}" for name, reason in report.unsorted.items()]
    said += [f"NOT finished {name}: {reason}; the next pass tries again" for name, reason in report.waiting.items()]
    said += [f"proven {name}" for name in report.proven]
    said += [f"NOT proven {reason}" for reason in report.disputed]
    for verdict in report.verdicts:
        kept = f"kept {verdict.name}: {verdict.kept_because}"
        said.append(kept if verdict.kept_because else f"dropped {verdict.name}, {verdict.rows} rows")
    said += [f"forgot {rows} rows of {name}" for name, rows in report.forgotten.items()]
    return said
