"""Which failures of a database pass: the same work may succeed over a new connection.

Kept out: how often and when to try again.
"""

import asyncpg
from asyncpg.exceptions import InternalClientError

from kalshi_platform.database.errors import ForeignRowsError

PASSING_FAILURES: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    InternalClientError,  # what the driver says when a connection dies under one of its operations
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, killed, or not yet up
    asyncpg.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.LockNotAvailableError,
    ForeignRowsError,
)
"""Errors after which a connection is dropped and the work tried again."""

DATABASE_FAILURES: tuple[type[Exception], ...] = (*PASSING_FAILURES, asyncpg.PostgresError)
"""Whatever a database can say: daemons outlive all of it, since read-only after a failover or a lost right end too."""
