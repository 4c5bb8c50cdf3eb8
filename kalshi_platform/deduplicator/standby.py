"""One deduplicator of each shard works, others stand by: who holds a lock of production's leads.

The lock belongs to a session, so the server gives it to the next as soon as the leader's process or machine is gone.
Two leaders at once would be slow, not wrong: each merge compares the cursor that it began with. For the same reason,
who is set to another number of shards than those who lead waits until they are gone, and says so. Kept out: the work.
"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum

import asyncpg
import structlog

from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.deduplicator.shards import WHOLE, Shard
from kalshi_platform.service.lifecycle import pause

_CLASS = "hashtext('kalshi_deduplicators')"
_ONE_TRIES = f"SELECT pg_advisory_xact_lock({_CLASS}, 0)"
_TRY = f"SELECT pg_try_advisory_lock({_CLASS}, $1)"
_PING = "SELECT 1"
_LEADERS = f"""
SELECT objid::int FROM pg_locks JOIN pg_database ON pg_database.oid = database AND datname = current_database()
WHERE locktype = 'advisory' AND classid = ({_CLASS}::bigint & 4294967295)::oid AND objid > 0 AND granted
"""  # noqa: S608 - ours
_PLACES = 1000
"""A lock's number is the count of shards times this, and the shard."""

_ROUND_SECONDS = 0.5
NOTICES_DEAD_CLIENTS = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Session settings with which the server gives up a client whose machine is gone after 25 s, and its locks with it."""

# servers that cannot look (on Windows) allow 0 only, which is the default and its least value
NOTICES_CLOSED_CLIENTS = """
DO $$ BEGIN
    SET client_connection_check_interval = '1s';
EXCEPTION WHEN invalid_parameter_value THEN NULL;
END $$
"""
"""With it the server ends the query of a client that has hung up, and gives its locks back."""

_log = structlog.get_logger()


class Role(StrEnum):
    """What this process does."""

    STARTING = "starting"
    ACTIVE = "active"
    STANDBY = "standby"
    CUT_OFF = "production does not answer"
    REFUSED = "others are set to another number of shards"


class Lead:
    """The lead among the deduplicators of one shard of one production database.

    Args:
        url: The production database.
        shard: Which shard.

    Attributes:
        role: What this process does now.
        leaders: Shards that are led by anybody, this process included, as far as it knows.
    """

    def __init__(self, url: str, shard: Shard = WHOLE) -> None:
        self._url = url
        self._shard = shard
        self.role = Role.STARTING
        self.leaders: frozenset[Shard] = frozenset()
        self._why = ""

    def problems(self) -> list[str]:
        """What a person must mend, in plain words."""
        if self.role is Role.REFUSED:
            others = ", ".join(sorted(str(one) for one in self.leaders if one.of != self._shard.of))
            return [
                f"this deduplicator is set to shard {self._shard} and waits, because others merge as {others}; "
                "stop them, or set KALSHI_DEDUPLICATOR_SHARD to the same number of shards everywhere"
            ]
        if self.role is Role.CUT_OFF:
            return [
                f"production does not answer ({self._why}): nothing is merged and nothing is lost, gatherers keep "
                "their rows; it goes on by itself once production is back: see to its server, and to "
                "KALSHI_PRODUCTION_DATABASE_URL"
            ]
        if self.role is not Role.ACTIVE:
            return []
        absent = {Shard(number, self._shard.of) for number in range(1, self._shard.of + 1)} - self.leaders
        return [f"shard {one} is merged by nobody: start its deduplicator" for one in sorted(absent, key=str)]

    async def run(self, stop: asyncio.Event, work: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
        """Run `work` whenever the lead is ours, until `stop` is set; the event that it gets ends it earlier."""
        while not stop.is_set():
            try:
                await self._try(stop, work)
            except DATABASE_FAILURES as error:
                self._became(Role.CUT_OFF, error=f"{type(error).__name__}: {error}")
                await pause(stop, _ROUND_SECONDS)

    async def _try(self, stop: asyncio.Event, work: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
        connection = await asyncpg.connect(
            self._url,
            server_settings={"application_name": "deduplicator's lead", **NOTICES_DEAD_CLIENTS},
            timeout=10,
            command_timeout=10,
        )
        try:
            while not stop.is_set() and await self._stands_by(connection):
                await pause(stop, _ROUND_SECONDS)
            if not stop.is_set():
                await self._work(connection, stop, work)
        finally:
            connection.terminate()

    async def _stands_by(self, connection: asyncpg.Connection) -> bool:
        """Take the lead where nobody has it; false where that is done."""
        async with connection.transaction():
            await connection.execute(_ONE_TRIES)
            await self._look(connection)
            if any(one.of != self._shard.of for one in self.leaders):
                self._became(Role.REFUSED)
                return True
            leads = await connection.fetchval(_TRY, self._shard.of * _PLACES + self._shard.number)
        self._became(Role.ACTIVE if leads else Role.STANDBY)
        self.leaders |= {self._shard}
        return not leads

    async def _look(self, connection: asyncpg.Connection) -> None:
        numbers = [record[0] for record in await connection.fetch(_LEADERS)]
        self.leaders = frozenset(Shard(number % _PLACES, number // _PLACES) for number in numbers)

    async def _work(
        self,
        connection: asyncpg.Connection,
        stop: asyncio.Event,
        work: Callable[[asyncio.Event], Coroutine[None, None, None]],
    ) -> None:
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work(ended))
            await self._until_lost(connection, stop)
            ended.set()

    async def _until_lost(self, connection: asyncpg.Connection, stop: asyncio.Event) -> None:
        """Return when we are to stop, or when the session that holds the lock is gone."""
        while not stop.is_set():
            try:
                await (connection.fetchval(_PING) if self._shard.of == 1 else self._look(connection))
            except DATABASE_FAILURES as error:
                self._became(Role.CUT_OFF, error=f"{type(error).__name__}: {error}")
                return
            await pause(stop, _ROUND_SECONDS)

    def _became(self, role: Role, **facts: str) -> None:
        self._why = facts.get("error", "")
        if role is not self.role:
            self.role = role
            _log.info("deduplicator's role", role=role.value, shard=str(self._shard), **facts)
            for problem in self.problems() if role is Role.REFUSED else ():
                _log.warning(problem)
