"""Many rows into a table at COPY speed, each at most once.

Rows are copied into a temporary staging table of the session and inserted from there; rows whose key is there already
change nothing, but for the columns that a table calls revised. Here belongs the one way in for rows of streams. Kept
out: when, and in which transaction.
"""

from collections.abc import AsyncIterator, Sequence
from io import BytesIO
from typing import Any

import asyncpg

from kalshi_platform.core.schema import Default, Home, Table
from kalshi_platform.database.binary_copy import RowEncoder

_PIECE_BYTES = 2**19
_THIS_TRANSACTION = "SELECT pg_current_xact_id()::text"
_ONE_MERGE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('kalshi_merge'), hashtext($1))"
_BESIDE_OTHER_PARTS = "SELECT pg_advisory_xact_lock_shared(hashtext('kalshi_merge'), hashtext($1))"


class Stage:
    """The staging table of one table, in whichever session it is used.

    It is made once per session and empties itself at every commit. In production, inserts into one table take turns
    until their commit: two transactions that bring the same rows in another order would otherwise end in a deadlock.
    Whoever brings only a `part` of the rows, which is nobody else's, goes beside the other parts.

    Where a table has revised columns, a row whose key is there fills them in: what it leaves empty stays as it is, so
    that an old version that comes again erases nothing. Of several versions in one batch the last counts.
    """

    def __init__(self, table: Table, home: Home, part: str = "") -> None:
        self._encoder = RowEncoder(table, home)
        self._table = table.name
        self._name = f"stage_{table.name}"
        self._columns = [column.name for column in self._encoder.columns]
        self.staged = f"pg_temp.{self._name}"
        self._takes_turns = home is Home.PRODUCTION
        self._part = part
        self._key_indexes = [self._columns.index(name) for name in table.key] if table.revised else []
        columns = ", ".join(self._columns)
        self._create = (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self._name} ON COMMIT DELETE ROWS AS "  # noqa: S608 - schema's names
            f"SELECT {columns} FROM {table.name} WITH NO DATA"
        )
        insert = f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM"
        taken = f"WITH taken AS (DELETE FROM {self.staged} RETURNING {columns})"  # noqa: S608 - else two batches collide
        self._insert = (
            f"{taken} {insert} taken {_revision(table, home)}"
            if table.revised
            else f"{insert} {self.staged} ON CONFLICT DO NOTHING"
        )
        self._session: asyncpg.Connection | None = None
        self._made_in: str | None = None

    async def insert_new(self, connection: asyncpg.Connection, rows: Sequence[Sequence[Any]]) -> int:
        """Insert the rows whose key is not there yet, within the caller's transaction; returns how many they were.

        Rows that another version has revised count as well.

        Args:
            connection: In a transaction.
            rows: Values in the order of the table's written columns.

        Raises:
            UnencodableValueError: Where a value does not fit its column; nothing was sent then.
        """
        if self._key_indexes:
            rows = list({tuple(row[index] for index in self._key_indexes): row for row in rows}.values())
        return await self.insert_new_encoded(connection, BytesIO(self._encoder.encode(rows)))

    async def copy_new(self, connection: asyncpg.Connection, rows: Sequence[Sequence[Any]]) -> int:
        """Copy rows that are new straight into the table, within the caller's transaction; returns how many they were.

        Without the detour it takes a third less of the database's time; whoever cannot be sure that they are new must
        be ready for the end of the transaction.

        Raises:
            UnencodableValueError: Where a value does not fit its column; nothing was sent then.
            asyncpg.UniqueViolationError: Where a row is there already; the transaction is lost.
        """
        source = BytesIO(self._encoder.encode(rows))
        await connection.copy_to_table(self._table, source=_pieces(source), columns=self._columns, format="binary")
        return len(rows)

    async def insert_new_encoded(self, connection: asyncpg.Connection, rows: BytesIO) -> int:
        """`insert_new` for rows that are in binary COPY format already; of a revised table, each key once."""
        await self.load(connection, rows)
        return await self.insert_loaded(connection)

    async def load(self, connection: asyncpg.Connection, rows: BytesIO) -> None:
        """Copy rows in binary COPY format into the staging table, where `staged` names them."""
        await self._make_ready(connection)
        await connection.copy_to_table(
            self._name, source=_pieces(rows), columns=self._columns, schema_name="pg_temp", format="binary"
        )

    async def take_turn(self, connection: asyncpg.Connection) -> None:
        """Wait until nobody else inserts into the table, and hold the others off until the transaction ends."""
        if self._takes_turns and self._part:
            await connection.execute(_BESIDE_OTHER_PARTS, self._table)
            await connection.execute(_ONE_MERGE_AT_A_TIME, f"{self._table} {self._part}")
        elif self._takes_turns:
            await connection.execute(_ONE_MERGE_AT_A_TIME, self._table)

    async def insert_loaded(self, connection: asyncpg.Connection) -> int:
        """Insert what was loaded; returns as `insert_new`. Without revised columns it stays loaded until the commit."""
        await self.take_turn(connection)
        status = await connection.execute(self._insert)
        return int(status.rpartition(" ")[2])

    async def _make_ready(self, connection: asyncpg.Connection) -> None:
        """Make the staging table until it is known to have been committed in this session."""
        if not connection.is_in_transaction():
            raise ValueError("rows are inserted within the caller's transaction, and there is none")
        if self._session is not connection:
            self._session, self._made_in = connection, ""
        if self._made_in is None:
            return
        transaction: str = await connection.fetchval(_THIS_TRANSACTION)
        survived = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"pg_temp.{self._name}")
        if survived and self._made_in not in ("", transaction):
            self._made_in = None  # an earlier transaction of this session made it and was committed
        else:
            await connection.execute(self._create)
            self._made_in = transaction


async def _pieces(rows: BytesIO) -> AsyncIterator[bytes]:
    """What is to be sent; asyncpg would read a file in another thread, which costs more than the reading."""
    while piece := rows.read(_PIECE_BYTES):
        yield piece


def _revision(table: Table, home: Home) -> str:
    """What happens to a row that is there: its revised columns are filled in, and it counts as written anew."""
    filled = [f"{name} = coalesce(excluded.{name}, {table.name}.{name})" for name in table.revised]
    filled += [
        f"{column.name} = excluded.{column.name}"
        for column in table.columns_of(home)
        if column.default is Default.TRANSACTION
    ]
    news = " OR ".join(
        f"(excluded.{name} IS NOT NULL AND excluded.{name} IS DISTINCT FROM {table.name}.{name})"
        for name in table.revised
    )
    return f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {', '.join(filled)} WHERE {news}"
