"""The spool: batches that the database does not take now, on disk, in order, until it does.

One SQLite file in WAL mode with `synchronous=FULL`: a batch is on disk before `put` returns, SQLite's checksums cut
off whatever a kill or a power cut tore, and `max_page_count` is an exact bound. Chosen over files of our own (the same
guarantees, by code that nobody has tried to break for twenty years), persist-queue (no bound in bytes, pickles),
diskcache (evicts, unsynced by default) and lmdb (as good, but a native dependency for what Python brings along).
Kept out: what the batches mean, and when they are written.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import structlog

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.database.errors import SpoolError, SpoolFullError

SMALLEST = 2**20
"""Bytes below which a spool makes no sense: one batch would not fit."""

_PAGE = 8_192
_FILE = "spool.sqlite"
_PRAGMAS = (
    "locking_mode=EXCLUSIVE",  # one process; also spares the shared memory file
    f"page_size={_PAGE}",
    "journal_mode=WAL",
    "synchronous=FULL",
    f"journal_size_limit={16 * 2**20}",
)
_CREATE = (
    "CREATE TABLE IF NOT EXISTS batches (id INTEGER PRIMARY KEY AUTOINCREMENT, kept_at REAL NOT NULL, "
    "table_name TEXT NOT NULL, layout TEXT NOT NULL, row_count INTEGER NOT NULL, data BLOB NOT NULL)"
)
_CREATE_INDEX = "CREATE INDEX IF NOT EXISTS batches_of_a_table ON batches (table_name, id, row_count)"
_PUT = "INSERT INTO batches (kept_at, table_name, layout, row_count, data) VALUES (?, ?, ?, ?, ?)"
_SIZES = "SELECT id, row_count FROM batches WHERE table_name = ? AND id > ? ORDER BY id LIMIT ?"
_HEAD = (
    "SELECT id, kept_at, layout, row_count, data FROM batches WHERE table_name = ? AND id > ? AND id <= ? ORDER BY id"
)
_DELETE = "DELETE FROM batches WHERE table_name = ? AND id <= ?"
_LEFT = "SELECT table_name, sum(row_count), min(kept_at) FROM batches GROUP BY table_name"
_LAST = "SELECT table_name, max(id) FROM batches GROUP BY table_name"
_MOST_BATCHES = 100  # read at once, however small they are

T = TypeVar("T")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SpooledBatch:
    """A batch as it was put: `kept_at` in seconds since 1970, `layout` and `data` of `spool_rows.RowPacker`."""

    number: int
    kept_at: float
    layout: str
    row_count: int
    data: bytes


class Spool:
    """Batches of all tables of one gatherer; use as an async context manager.

    Args:
        folder: Where it lies; made where it is missing. One process at a time.
        most_bytes: Bound of the file; what does not fit is refused, never evicted.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.path = folder / _FILE
        self.size = 0
        self._most_bytes = max(most_bytes, SMALLEST)
        self._rows: dict[str, int] = {}
        self._oldest: dict[str, float] = {}
        self._filled: dict[str, asyncio.Event] = {}
        self._removed: dict[str, int] = {}
        self._is_littered = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._database: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Open the file, with what an earlier process left in it.

        Raises:
            ConfigurationError: Where the folder cannot be written, or another process uses it.
        """
        await self._do(self._open)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._do(self._close)
        self._thread.shutdown()

    def rows(self, table: str) -> int:
        """Rows of a table that lie here."""
        return self._rows.get(table, 0)

    def oldest(self, table: str) -> float | None:
        """When the oldest batch of a table was put here, seconds since 1970; None where there is none."""
        return self._oldest.get(table) if self.rows(table) else None

    def filled(self, table: str) -> asyncio.Event:
        """Set while rows of a table lie here."""
        event = self._filled.setdefault(table, asyncio.Event())
        if self.rows(table):
            event.set()
        return event

    async def put(self, table: str, layout: str, row_count: int, data: bytes) -> None:
        """Keep a batch behind the others of its table; it is on disk when this returns.

        Raises:
            SpoolFullError: Where it does not fit; nothing was kept.
            SpoolError: Where the disk cannot be written; nothing is promised.
        """
        now = time.time()
        await self._do(lambda: self._write(_PUT, (now, table, layout, row_count, data)))
        self._oldest.setdefault(table, now)
        self._rows[table] = self.rows(table) + row_count
        self.filled(table).set()

    async def head(self, table: str, most_rows: int) -> Sequence[SpooledBatch]:
        """The oldest batches of a table, in order: one at least, more while they hold `most_rows` together."""
        batches = await self._do(lambda: self._read(table, most_rows))
        if batches:
            self._oldest[table] = batches[0].kept_at
        return batches

    async def remove(self, table: str, batches: Sequence[SpooledBatch]) -> None:
        """Forget these first batches of a table: they are in the database.

        A full disk does not even let anything be deleted. What is forgotten stays on it then, until the next time, or
        until all is forgotten and the file goes; a process that dies before leaves it to the next, whose rows the
        database knows by their keys.
        """
        last = self._removed[table] = max(one.number for one in batches)
        try:
            await self._do(lambda: self._write(_DELETE, (table, last)))
        except SpoolError as error:
            self._is_littered = True
            _log.warning("cannot delete from the spool what is written", table=table, error=str(error))
        self._rows[table] = max(0, self.rows(table) - sum(one.row_count for one in batches))
        if not self._rows[table]:
            self.filled(table).clear()
            self._oldest.pop(table, None)
        if not any(self._rows.values()):
            await self._do(self._shrink)

    def _read(self, table: str, most_rows: int) -> Sequence[SpooledBatch]:
        with _plain_words(self.path):
            database = self._connected()
            last, so_far, removed = 0, 0, self._removed.get(table, 0)
            for number, rows in database.execute(_SIZES, (table, removed, _MOST_BATCHES)):
                so_far += rows
                if last and so_far > most_rows:
                    break
                last = number
            return [SpooledBatch(*one) for one in database.execute(_HEAD, (table, removed, last))]

    async def _do(self, work: Callable[[], T]) -> T:
        """Work in the spool's own thread, where waiting for the disk holds nobody up."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _write(self, statement: str, values: Sequence[object]) -> None:
        with _plain_words(self.path):
            database = self._connected()
            with database:
                database.execute(statement, values)
            self._measure(database)

    def _shrink(self) -> None:
        """Give the disk back once everything is in the database."""
        if self._is_littered:
            with suppress(SpoolError):  # the next put tries again
                self._start_afresh()
            return
        with suppress(sqlite3.Error):  # it can wait
            database = self._connected()
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._measure(database)

    def _start_afresh(self) -> None:
        """A file that could not be emptied is replaced, once nothing in it is needed any more."""
        if self._database is not None and self._holds_more():
            return
        self._close()
        for suffix in ("", "-wal"):
            self.path.with_name(_FILE + suffix).unlink(missing_ok=True)
        self._removed.clear()
        try:
            self._open()
        except ConfigurationError as error:
            raise SpoolError(str(error)) from error
        self._is_littered = False

    def _holds_more(self) -> bool:
        """Whether the file holds a batch that was not removed; one may just have been put."""
        with _plain_words(self.path):
            last = dict(self._connected().execute(_LAST))
        return any(number > self._removed.get(table, 0) for table, number in last.items())

    def _measure(self, database: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):  # a figure for people: what was kept is kept whether it can be had or not
            pages, free = (
                database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
            )
            self.size = (pages - free) * _PAGE

    def _connected(self) -> sqlite3.Connection:
        if self._database is None and self._is_littered:
            self._start_afresh()
        if self._database is None:
            raise SpoolError(f"the spool {self.path} is not open")
        return self._database

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._prepared()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._set_aside(error)
                self._database = self._prepared()
        except (OSError, sqlite3.OperationalError) as error:
            raise ConfigurationError(
                f"cannot use the spool {self.path} ({error}): give each gatherer a KALSHI_SPOOL_DIRECTORY of its own "
                "that it may write to"
            ) from error

    def _prepared(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=1, check_same_thread=False)
        try:
            for pragma in _PRAGMAS:
                database.execute(f"PRAGMA {pragma}")
            with database:
                database.execute(_CREATE)
                database.execute(_CREATE_INDEX)
            database.execute(f"PRAGMA max_page_count={self._most_bytes // _PAGE}")
            self._rows.clear()  # of a damaged file, which may have been counted in part
            self._oldest.clear()
            for table, rows, oldest in database.execute(_LEFT):
                self._rows[table], self._oldest[table] = rows, oldest
            self._measure(database)
        except BaseException:
            database.close()
            raise
        return database

    def _set_aside(self, error: sqlite3.Error) -> None:
        """A damaged file is kept for a person to recover; capture goes on with a new one."""
        kept = self.path.with_name(f"{_FILE}.damaged-{int(time.time())}")
        _log.error("the spool is damaged; it is kept, recover it with `sqlite3 … .recover`", kept=kept, error=error)
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                self.path.with_name(_FILE + suffix).rename(kept.with_name(kept.name + suffix))

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


@contextmanager
def _plain_words(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise SpoolFullError(
                f"the spool {path} is full: bring the database back, or raise KALSHI_SPOOL_BYTES"
            ) from error
        raise SpoolError(f"the spool {path} cannot be written: {error}") from error
