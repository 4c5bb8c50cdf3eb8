"""One deduplicator works, others stand by: who holds a lock of production's leads.

The lock belongs to a session, so the server gives it to the next as soon as the leader's process or machine is gone.
Two leaders at once would be slow, not wrong: each merge compares the cursor that it began with. Kept out: the work.
"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum

import asyncpg
import structlog

from kalshi_platform.database.passing import DATABASE_FAILURES
from kalshi_platform.service.lifecycle import pause

_TRY = "SELECT pg_try_advisory_lock(hashtext('kalshi_platform'), hashtext('deduplicate'))"
_PING = "SELECT 1"
_ROUND_SECONDS = 0.5
NOTICES_DEAD_CLIENTS = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Session settings with which the server gives up a client whose machine is gone after 25 s, and its locks with it."""

_log = structlog.get_logger()


class Role(StrEnum):
    """What this process does."""

    STARTING = "starting"
    ACTIVE = "active"
    STANDBY = "standby"
    CUT_OFF = "production does not answer"


class Lead:
    """The lead among the deduplicators of one production database.

    Args:
        url: The production database.

    Attributes:
        role: What this process does now.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.role = Role.STARTING

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
            while not stop.is_set() and not await connection.fetchval(_TRY):
                self._became(Role.STANDBY)
                await pause(stop, _ROUND_SECONDS)
            if not stop.is_set():
                self._became(Role.ACTIVE)
                await self._work(connection, stop, work)
        finally:
            connection.terminate()

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
                await connection.fetchval(_PING)
            except DATABASE_FAILURES as error:
                self._became(Role.CUT_OFF, error=f"{type(error).__name__}: {error}")
                return
            await pause(stop, _ROUND_SECONDS)

    def _became(self, role: Role, **facts: str) -> None:
        if role is not self.role:
            self.role = role
            _log.info("deduplicator's role", role=role.value, **facts)
