"""Whether a server can lock as many partitions as a query without a time touches.

Such a query locks every partition and its indexes; where the lock table is too small it ends with "out of shared
memory". Kept out: making partitions fewer, which is `table_policies`.
"""

import asyncpg

_COUNT = """
SELECT current_setting('max_locks_per_transaction')::bigint
       * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) AS room,
       coalesce(max(relations), 0)::bigint AS relations
FROM (SELECT count(*) + sum((SELECT count(*) FROM pg_index WHERE indrelid = inhrelid)) AS relations
      FROM pg_inherits JOIN pg_class AS p ON p.oid = inhparent
      WHERE p.relkind = 'p' AND p.relnamespace = 'public'::regnamespace GROUP BY inhparent) AS one
"""


async def lock_shortage(connection: asyncpg.Connection) -> str:
    """What to change where the largest table's partitions would fill more than half of the lock table; else empty."""
    record = await connection.fetchrow(_COUNT)
    assert record is not None  # noqa: S101 - an aggregate has one row
    if record["relations"] * 2 <= record["room"]:
        return ""
    return (
        f"one table has {record['relations']} partitions and indexes, this server room for {record['room']} locks: "
        "raise max_locks_per_transaction (needs a restart), or cut by the day (table_policies.partition_hours = 24)"
    )
