"""A closed partition written anew in the order of its markets, so that a market's day lies on few pages.

Rows come in the order of time: each row of a market lies on another page. A copy, sorted, takes the partition's place
in an instant, once it holds as many rows: rows are only ever added, so it holds the same. Readers and late rows are
stopped for that instant only, and a transaction that began before reads the copy as well: its rows are frozen. Whoever
is killed leaves the partition as it was, or a copy that the next call goes on with. Kept out: which partitions, and
when (`closing`).
"""

from dataclasses import dataclass

import asyncpg

from kalshi_platform.database.partition_list import Partition

_BOUNDS = "within_the_partition"
_MAKE_LIKE = "CREATE TABLE {copy} (LIKE {source} INCLUDING ALL EXCLUDING INDEXES)"
_KEEP_OUT_VACUUM = "LOCK TABLE {source} IN SHARE UPDATE EXCLUSIVE MODE"
_SORT_IN_MEMORY = "SELECT set_config('work_mem', current_setting('maintenance_work_mem'), true)"
# bytes compare several times faster than the words of a language, and any order that keeps markets together will do
_FILL = 'INSERT INTO {copy} SELECT * FROM {source} ORDER BY ticker COLLATE "C", {time}'
_INDEXES = """
SELECT x.relname::text AS name, i.indisprimary AS is_key, i.indisunique AS is_unique, coalesce(spcname, '') AS place,
       split_part(pg_get_indexdef(i.indexrelid), ' USING ', 2) AS definition
FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid LEFT JOIN pg_tablespace AS t ON t.oid = x.reltablespace
WHERE i.indrelid = $1::text::regclass AND i.indisvalid ORDER BY x.relname
"""
_LOOKS = """
SELECT quote_ident(pg_get_userbyid(relowner)) AS owner, array_to_string(reloptions, ', ') AS options,
       (SELECT coalesce(max(spcname), '') FROM pg_tablespace AS t WHERE t.oid = reltablespace) AS place
FROM pg_class WHERE oid = $1::text::regclass
"""
_SET_PLACE = "SELECT set_config('default_tablespace', $1, true)"
# all that the copy has by its making, then what the partition has; nothing where both have the usual
_RIGHTS = """
WITH made AS (SELECT relacl, relowner FROM pg_class WHERE oid = '{copy}'::regclass),
     wanted AS (SELECT relacl, relowner FROM pg_class WHERE oid = '{source}'::regclass),
     change AS (
    SELECT DISTINCT false AS is_given, grantee, 'ALL' AS what, false AS is_grantable
    FROM made, aclexplode(coalesce(relacl, acldefault('r', relowner)))
    UNION ALL
    SELECT true, grantee, privilege_type, is_grantable
    FROM wanted, aclexplode(coalesce(relacl, acldefault('r', relowner)))
)
SELECT format(CASE WHEN is_given THEN 'GRANT %s ON {copy} TO %s' ELSE 'REVOKE %s ON {copy} FROM %s' END, what,
              CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
       || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
FROM change WHERE (SELECT relacl FROM made) IS DISTINCT FROM (SELECT relacl FROM wanted) ORDER BY is_given
"""
# the copy's rows are of one transaction; what is older than the oldest that is not frozen, is
_IS_FROZEN = """
SELECT coalesce(age(relfrozenxid) < (SELECT age(xmin) FROM {copy} LIMIT 1), true)
FROM pg_class WHERE oid = '{copy}'::regclass
"""
_PATIENCE = "SET LOCAL lock_timeout = '{}'"
_VACUUM_YIELDS, _READERS_YIELD = "5s", "200ms"
"""A vacuum on its own ends a second after somebody waits for it; behind us, readers and late rows wait no longer."""


@dataclass(frozen=True, slots=True)
class _Index:
    name: str
    copied: str
    is_key: bool
    unique: str
    place: str
    definition: str


async def put_in_order(connection: asyncpg.Connection, partition: Partition) -> bool:
    """Replace a native partition by a sorted copy; false where that must wait for the next call.

    That is so while somebody reads or writes the table for long, and where a row came meanwhile. Takes as much disk
    again as the partition until it is done. The copy keeps name, owner, rights, storage parameters, tablespaces and
    indexes, and is frozen and analysed. Comments, triggers, policies, rights to single columns and parameters of the
    TOAST table, where somebody gave them to this partition alone, are lost.

    Args:
        connection: As the tables' owner, in no transaction.
        partition: One to which rows come late only.
    """
    copy = f"{partition.schema}.{copy_name(partition)}"
    indexes = await _indexes(connection, partition)
    try:
        if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", copy):
            await _make(connection, partition, copy, indexes)
        if not await connection.fetchval(_IS_FROZEN.format(copy=copy)):
            await connection.execute(f"VACUUM (FREEZE, ANALYZE) {copy}")
        is_frozen = await connection.fetchval(_IS_FROZEN.format(copy=copy))
        return bool(is_frozen) and await _replace(connection, partition, copy, indexes)
    except asyncpg.LockNotAvailableError:
        return False
    except asyncpg.PostgresError:
        if not connection.is_closed():  # a copy that does not fit, of an earlier schema for instance, is in the way
            await connection.execute(f"DROP TABLE IF EXISTS {copy}")
        raise


def copy_name(partition: Partition) -> str:
    """What a partition's copy is called until it takes its place."""
    return f"{partition.name}_sorted"


async def _indexes(connection: asyncpg.Connection, partition: Partition) -> list[_Index]:
    return [
        _Index(
            record["name"],
            f"{partition.name}_sorted_{number}",
            record["is_key"],
            "UNIQUE" if record["is_unique"] else "",
            record["place"],
            record["definition"],
        )
        for number, record in enumerate(await connection.fetch(_INDEXES, partition.qualified))
    ]


async def _make(connection: asyncpg.Connection, partition: Partition, copy: str, indexes: list[_Index]) -> None:
    """The copy with its indexes, whole or not at all."""
    source, time = partition.qualified, partition.table.time_column
    looks = await connection.fetchrow(_LOOKS, source)
    assert looks is not None  # noqa: S101 - it was found in the catalog a moment ago
    async with connection.transaction():
        await connection.execute(_PATIENCE.format(_VACUUM_YIELDS))
        await connection.execute(_KEEP_OUT_VACUUM.format(source=source))
        await connection.fetchval(_SORT_IN_MEMORY)
        await connection.fetchval(_SET_PLACE, looks["place"])
        await connection.execute(_MAKE_LIKE.format(copy=copy, source=source))
        if looks["options"]:
            await connection.execute(f"ALTER TABLE {copy} SET ({looks['options']})")
        await connection.execute(
            f"ALTER TABLE {copy} ADD CONSTRAINT {_BOUNDS} CHECK "
            f"({time} >= '{partition.start.isoformat()}' AND {time} < '{partition.end.isoformat()}')"
        )
        await connection.execute(_FILL.format(copy=copy, source=source, time=time))
        for index in indexes:
            await connection.fetchval(_SET_PLACE, index.place)
            await connection.execute(f"CREATE {index.unique} INDEX {index.copied} ON {copy} USING {index.definition}")
            if index.is_key:
                await connection.execute(
                    f"ALTER TABLE {copy} ADD CONSTRAINT {index.copied} PRIMARY KEY USING INDEX {index.copied}"
                )
        await connection.execute(f"ALTER TABLE {copy} OWNER TO {looks['owner']}")


async def _replace(connection: asyncpg.Connection, partition: Partition, copy: str, indexes: list[_Index]) -> bool:
    """Put the copy in the partition's place; without it, where a row has come since it was made."""
    source, parent = partition.qualified, f"{partition.schema}.{partition.table.name}"
    async with connection.transaction():
        await connection.execute(_PATIENCE.format(_VACUUM_YIELDS))
        await connection.execute(_KEEP_OUT_VACUUM.format(source=source))
        await connection.execute(_PATIENCE.format(_READERS_YIELD))
        await connection.execute(f"LOCK TABLE {source} IN SHARE MODE")
        if await connection.fetchval(f"SELECT (SELECT count(*) FROM {source}) <> (SELECT count(*) FROM {copy})"):  # noqa: S608 - names of ours
            await connection.execute(f"DROP TABLE {copy}")
            return False
        for statement in (
            *[record[0] for record in await connection.fetch(_RIGHTS.format(copy=copy, source=source))],
            f"ALTER TABLE {parent} DETACH PARTITION {source}",
            f"DROP TABLE {source}",
            f"ALTER TABLE {copy} RENAME TO {partition.name}",
            f"ALTER TABLE {parent} ATTACH PARTITION {source} "
            f"FOR VALUES FROM ('{partition.start.isoformat()}') TO ('{partition.end.isoformat()}')",
            f"ALTER TABLE {source} DROP CONSTRAINT {_BOUNDS}",
            *(f"ALTER INDEX {partition.schema}.{index.copied} RENAME TO {index.name}" for index in indexes),
        ):
            await connection.execute(statement)
    return True
