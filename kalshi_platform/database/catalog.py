"""What a database says about itself.

Here belongs reading catalogs and control data. Kept out: our own tables.
"""

import asyncpg

# The timeline is taken from the log's write position, because control data lags behind a promotion until the next
# checkpoint. A standby has no write position; it follows one timeline and asks for it in control data.
_SOURCE_IDENTITY = """
SELECT (SELECT system_identifier FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END,
       (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def source_identity(connection: asyncpg.Connection) -> str:
    """Which cluster, timeline and database this is, as "system identifier/timeline/database oid".

    Transaction ids mean something only together with it: a rebuilt, restored or promoted database gives them out anew.
    """
    record = await connection.fetchrow(_SOURCE_IDENTITY)
    assert record is not None  # noqa: S101 - the query has no FROM, so it has one row
    return "/".join(str(part) for part in record)
